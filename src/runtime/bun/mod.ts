import type { Runtime } from "../../ports/runtime.ts";
import { clock } from "../node_compat/clock.ts";
import { compression } from "../node_compat/compression.ts";
import { digest } from "../node_compat/digest.ts";
import { entropy } from "../node_compat/entropy.ts";
import { files } from "../node_compat/files.ts";
import { createProcess } from "../node_compat/process.ts";
import { createSockets } from "../node_compat/sockets.ts";
import { bunSocketStream } from "./byte_stream.ts";
import { linkNative } from "./native_calls.ts";

export const runtime: Runtime = {
  files,
  clock,
  entropy,
  digest,
  compression,
  process: createProcess("bun"),
  sockets: createSockets({ streamOf: bunSocketStream, closesWhenFull: false }),
  linkNative,
};
