import type { LmdbBackendOptions } from "../backend/lmdb_backend.ts";
import type { Backend } from "../mvcc/backend.ts";
import type { Clock } from "../ports/clock.ts";
import type { Digest } from "../ports/digest.ts";
import type { Entropy } from "../ports/entropy.ts";
import type { Files } from "../ports/files.ts";
import type { Log } from "../ports/log.ts";
import type { LinkNative } from "../ports/native_calls.ts";

/** What a server needs of the outside. */
export interface ServerPorts {
  readonly files: Files;
  readonly clock: Clock;
  readonly digest: Digest;
  readonly entropy: Entropy;
  readonly log: Log;
  readonly linkNative?: LinkNative;
  /** Opens the durable side of the store. Default: LMDB. */
  readonly openBackend?: (options: LmdbBackendOptions) => ServerBackend;
}

/** The durable side of the store, as whoever runs it needs it. */
export interface ServerBackend extends Backend {
  /** Bytes of values that wait in memory for their commit. */
  readonly pendingBytes: number;
  /** Resolves when a transaction has become durable, so that fewer bytes wait. */
  nextCommit(): Promise<void>;
  /** Gives space back that is not in use. */
  defragment(): Promise<void>;
  /** Commits what is open and lets go of the file. */
  close(): Promise<void>;
}
