/** What a server needs to know, resolved: every field has its value, times are milliseconds. */
export interface ServerConfig {
  readonly name: string;
  readonly dataDir: string;
  /** Own directory of the log; "" puts it under the data directory. */
  readonly walDir: string;
  /** Members named at bootstrap: name to peer URLs. */
  readonly initialCluster: ReadonlyMap<string, readonly string[]>;
  readonly initialClusterToken: string;
  readonly advertiseClientUrls: readonly string[];
  readonly heartbeatMs: number;
  readonly electionMs: number;
  readonly preVote: boolean;
  /** Entries applied between two releases of the log. */
  readonly snapshotCount: number;
  readonly maxWals: number;
  /** Size past which a new file of the log begins, a multiple of 512. Default: etcd's 64 MB; it has no flag. */
  readonly walSegmentBytes?: number;
  /** Values applied that may wait in memory to become durable. Default: `PENDING_BYTES_MAX`; it has no flag. */
  readonly pendingBytesMax?: number;
  readonly maxTxnOps: number;
  /** Largest raft entry a client's request may become. */
  readonly maxRequestBytes: number;
  /** 0 for etcd's default of 2 GiB, below 0 for no quota. */
  readonly quotaBackendBytes: number;
  readonly backendBatchIntervalMs: number;
  readonly backendBatchLimit: number;
  readonly compactionBatchLimit: number;
  readonly compactionSleepMs: number;
  readonly autoCompaction: AutoCompaction;
  /** How often the time left of a long lease is noted in the log; undefined for never. */
  readonly leaseCheckpointIntervalMs?: number | undefined;
  readonly warningApplyMs: number;
  readonly warningUnaryRequestMs: number;
  /** Between two notifications of a watcher that wants them and has no events; at least 100. */
  readonly watchProgressNotifyMs: number;
  /** Skips syncs: for tests only, since a power cut then loses acknowledged writes. */
  readonly unsafeNoFsync: boolean;
}

export type AutoCompaction =
  | { readonly mode: "off" }
  /** Keeps what is younger than this. */
  | { readonly mode: "periodic"; readonly retentionMs: number }
  /** Keeps this many revisions. */
  | { readonly mode: "revision"; readonly retention: number };

/**
 * With more than this, entries wait to be applied. A disk that keeps up never comes near it, one that does not
 * slows its clients down instead of filling the memory.
 */
export const PENDING_BYTES_MAX = 256 * 1024 * 1024;

export const DEFAULT_QUOTA_BYTES = 2 * 1024 * 1024 * 1024;

/** How long a request waits for raft: etcd's 5 s, and two elections on top. */
export function requestTimeoutMs(config: ServerConfig): number {
  return 5_000 + 2 * config.electionMs;
}

/** The shortest TTL a lease can have: one and a half elections, in whole seconds. */
export function leaseTtlMinSeconds({ electionMs, heartbeatMs }: ServerConfig): number {
  const ticks = Math.floor((3 * Math.floor(electionMs / heartbeatMs)) / 2);
  return Math.ceil((ticks * heartbeatMs) / 1_000);
}
