import type { Clock } from "../ports/clock.ts";
import type { Digest } from "../ports/digest.ts";
import type { Entropy } from "../ports/entropy.ts";
import type { Files } from "../ports/files.ts";
import type { Log } from "../ports/log.ts";

/** What a server needs of the outside. */
export interface ServerPorts {
  readonly files: Files;
  readonly clock: Clock;
  readonly digest: Digest;
  readonly entropy: Entropy;
  readonly log: Log;
}
