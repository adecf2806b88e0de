import type { RaftIndex } from "../base/units.ts";
import type { Backend } from "../mvcc/backend.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";
import type { RawNode } from "../raft/raw_node.ts";
import type { MemoryStorage } from "../raft/storage.ts";
import type { Wal } from "../wal/wal.ts";

export interface LogReleaseOptions {
  readonly backend: Backend;
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly wal: Wal;
  /** etcd's --snapshot-count: entries applied between two snapshot records in the log. */
  readonly snapshotCount: number;
  /** etcd's --max-wals. */
  readonly maxWals: number;
  readonly log: Log;
  readonly onFatal: (error: unknown) => void;
}

/** As often as etcd's purge loop. */
const PURGE_PERIOD_MS = 30_000;
/** Data of applied entries kept in memory before they are let go, if the store has them durably. */
const MEMORY_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Lets go of the log what the store has durably, and of nothing else: entries in memory early, since
 * nobody but a follower would read them, and segments on disk after a snapshot record says where a restart
 * may begin.
 */
export class LogRelease {
  readonly #options: LogReleaseOptions;
  #recordedIndex: RaftIndex;
  #bytesInMemory = 0;
  #recording = false;
  #timer: Timer | undefined;

  constructor(options: LogReleaseOptions) {
    this.#options = options;
    this.#recordedIndex = options.storage.firstIndex - 1;
  }

  start(clock: Clock): void {
    this.#timer = clock.every(PURGE_PERIOD_MS, () => this.#purge());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  onApplied(index: RaftIndex, dataBytes: number): void {
    this.#bytesInMemory += dataBytes;
    if (this.#bytesInMemory >= MEMORY_BYTES_MAX) this.#compactMemory();
    if (index - this.#recordedIndex >= this.#options.snapshotCount && !this.#recording) this.#record();
  }

  #purge(): void {
    const { wal, maxWals, log } = this.#options;
    wal.purge(maxWals).catch((error) => log.warn("failed to purge WAL files", { error: String(error) }));
  }

  /** Every other check finds the rest: a commit of the store is never far behind. */
  #compactMemory(): void {
    const { backend, storage } = this.#options;
    storage.compact(Math.min(backend.durableIndex, storage.lastIndex));
    this.#bytesInMemory = 0;
  }

  #record(): void {
    const { backend, node, storage, wal, onFatal } = this.#options;
    // The configuration is the one of this index only when no change came after it.
    const index = Math.min(backend.durableIndex, storage.lastIndex);
    const term = storage.term(index);
    if (index <= this.#recordedIndex || term === undefined) return;
    this.#recording = true;
    wal.saveSnapshot({ index, term, confState: node.confState }).then(() => {
      this.#recording = false;
      this.#recordedIndex = index;
      wal.releaseTo(index);
    }, onFatal);
  }
}
