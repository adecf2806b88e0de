import type { Clock } from "./clock.ts";
import type { Compression } from "./compression.ts";
import type { Digest } from "./digest.ts";
import type { Entropy } from "./entropy.ts";
import type { Files } from "./files.ts";
import type { LinkNative } from "./native_calls.ts";
import type { Process } from "./process.ts";
import type { Sockets } from "./sockets.ts";

/** Everything the outside supplies, as one runtime implements it. */
export interface Runtime {
  readonly files: Files;
  readonly clock: Clock;
  readonly entropy: Entropy;
  readonly digest: Digest;
  readonly compression: Compression;
  readonly process: Process;
  readonly sockets: Sockets;
  readonly linkNative: LinkNative;
}
