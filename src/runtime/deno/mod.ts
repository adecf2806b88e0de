import type { Runtime } from "../../ports/runtime.ts";
import { socketStream } from "../node_compat/byte_stream.ts";
import { compression } from "../node_compat/compression.ts";
import { digest } from "../node_compat/digest.ts";
import { entropy } from "../node_compat/entropy.ts";
import { files } from "../node_compat/files.ts";
import { linkNative } from "../node_compat/native_calls.ts";
import { createProcess } from "../node_compat/process.ts";
import { createSockets } from "../node_compat/sockets.ts";
import { clock } from "./clock.ts";

export const runtime: Runtime = {
  files,
  clock,
  entropy,
  digest,
  compression,
  process: createProcess("deno"),
  sockets: createSockets({ streamOf: socketStream, closesWhenFull: true }),
  linkNative,
};
