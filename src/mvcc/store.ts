import { assert } from "../base/assert.ts";
import { EtcdError } from "../base/errors.ts";
import type { Backend } from "./backend.ts";
import {
  type CompactionReport,
  type CompactionState,
  Compactor,
  readFinishedCompaction,
  readScheduledCompaction,
} from "./compaction.ts";
import { type CompactionHold, CompactionHolds } from "./compaction_hold.ts";
import type { EventSink } from "./event_sink.ts";
import { BackendHashJob, CompactionHashes, type KvHash, KvHashJob } from "./hash.ts";
import type { KeyIndex } from "./key_index_api.ts";
import type { KeyLeases } from "./key_leases.ts";
import {
  loadHit,
  type RangeCursor,
  type RangeOptions,
  type RangeResult,
  type RangeSource,
  readMainOf,
} from "./range.ts";
import { openRange, readRange } from "./read_txn.ts";
import { Restorer } from "./restore.ts";
import { WriteTxn } from "./write_txn.ts";

/** etcd's `--compaction-batch-limit`. */
const COMPACTION_BATCH_LIMIT = 1000;
/** Revision of a store that has never been written to; the first write makes it 2. */
const FIRST_REVISION = 1;
/** Compacted revision of a store that never was. */
const NEVER_COMPACTED = -1;

export interface StoreOptions {
  readonly backend: Backend;
  /** Empty; the store fills it. */
  readonly index: KeyIndex;
  readonly leases: KeyLeases;
  readonly events?: EventSink;
  /** Most revisions that one step of a compaction looks at in the backend. */
  readonly compactionBatchLimit?: number;
}

/**
 * The multi-version key-value store: synchronous, on an index in memory and a durable backend. Every write
 * transaction that changes something is a new main revision; every revision from the compacted one on
 * can be read. Call `restore` (or `restoreSlice` until it returns true) before anything else when the backend
 * is not new.
 *
 * Example: put a (revision 2), put b (3), delete a (4). A range of everything gives [b]; at revision 3 it
 * gives [a, b]; after `scheduleCompaction(4)` it fails there.
 */
export class Store implements RangeSource {
  readonly backend: Backend;
  readonly index: KeyIndex;
  readonly leases: KeyLeases;
  events: EventSink | undefined;

  /** Totals since start, for metrics. `deletes` counts calls, `changes` counts puts and tombstones. */
  puts = 0;
  deletes = 0;
  ranges = 0;
  /** Transactions of more than one operation. */
  txns = 0;
  changes = 0;
  /** Bytes of keys and values in puts. */
  putBytes = 0;

  readonly #txn: WriteTxn = new WriteTxn(this);
  readonly #holds = new CompactionHolds();
  readonly #hashes = new CompactionHashes();
  readonly #compactor: Compactor;
  #restorer: Restorer | undefined;
  #currentMain = FIRST_REVISION;
  #compactMain = NEVER_COMPACTED;

  constructor(options: StoreOptions) {
    this.backend = options.backend;
    this.index = options.index;
    this.leases = options.leases;
    this.events = options.events;
    this.#compactor = new Compactor(
      { index: this.index, backend: this.backend, holds: this.#holds, hashes: this.#hashes },
      options.compactionBatchLimit ?? COMPACTION_BATCH_LIMIT,
    );
  }

  /** Main revision of the last write; reads without a revision see it. */
  get currentRevision(): number {
    return this.#currentMain;
  }

  /** Oldest revision that can be read; -1 when the store was never compacted. */
  get compactRevision(): number {
    return this.#compactMain;
  }

  /** Keys that are there now. */
  get keyCount(): number {
    return this.index.liveCount;
  }

  // Start-up.

  restore(): void {
    while (!this.restoreSlice(100_000));
  }

  /** Goes on with the restore by about `recordsMax` records; true when the store is ready. Throws `corrupt`. */
  restoreSlice(recordsMax: number): boolean {
    this.#restorer ??= new Restorer(this.backend, this.index, this.leases);
    if (!this.#restorer.slice(recordsMax)) return false;
    this.#compactMain = readFinishedCompaction(this.backend) ?? NEVER_COMPACTED;
    const scheduledMain = readScheduledCompaction(this.backend) ?? NEVER_COMPACTED;
    // The newest revision may have been a tombstone that a compaction has removed, finished or not: the
    // store must not fall behind a revision that it once had (etcd issue 17780).
    this.#currentMain = Math.max(
      FIRST_REVISION,
      this.#restorer.lastMain,
      this.#compactMain,
      scheduledMain,
    );
    this.#restorer = undefined;
    if (scheduledMain > this.#compactMain) this.scheduleCompaction(scheduledMain);
    return true;
  }

  /** Records that `restoreSlice` has read so far. */
  get restoredRecords(): number {
    return this.#restorer?.records ?? 0;
  }

  // Reads.

  /** The KeyValue of a key at a revision; 0 or less is the current one. Throws `compacted`, `futureRevision`. */
  get(key: Uint8Array, revision = 0): Uint8Array | undefined {
    const main = readMainOf(revision, this.#currentMain, this.#compactMain);
    this.ranges += 1;
    return this.index.seek(key, main) ? loadHit(this) : undefined;
  }

  /** A whole range at once, for small ones. Throws `compacted` and `futureRevision`. */
  range(options: RangeOptions): RangeResult {
    this.ranges += 1;
    return readRange(this, this.#currentMain, options);
  }

  /**
   * A range in pieces. With `holdCompaction` it cannot fail in the middle, and compaction waits until it is
   * done or closed: only for a reader that does not wait for a client. Throws `compacted`, `futureRevision`.
   */
  openRange(options: RangeOptions, holdCompaction: boolean): RangeCursor {
    this.ranges += 1;
    const main = readMainOf(options.revision ?? 0, this.#currentMain, this.#compactMain);
    const hold = holdCompaction ? this.#holds.hold(main) : undefined;
    return openRange(this, this.#currentMain, options, hold);
  }

  // Writes.

  /** Writes one key in a transaction of its own; returns the new revision. `lease` is 0 or exists. */
  put(key: Uint8Array, value: Uint8Array, lease: bigint): number {
    const txn = this.#txn.begin(this.#currentMain);
    txn.put(key, value, lease);
    return txn.end();
  }

  /** Deletes [key, rangeEnd), `rangeEnd` as on the wire; returns how many keys there were. */
  deleteRange(key: Uint8Array, rangeEnd: Uint8Array, previous?: Uint8Array[]): number {
    const txn = this.#txn.begin(this.#currentMain);
    const deleted = txn.deleteRange(key, rangeEnd, previous);
    txn.end();
    return deleted;
  }

  /** Begins the one write transaction there can be; it ends in the same turn, by `end()`. */
  beginWrite(): WriteTxn {
    return this.#txn.begin(this.#currentMain);
  }

  /** For `WriteTxn.end`: makes a transaction's revision the current one. */
  advance(main: number, changes: number): void {
    assert(main === this.#currentMain + 1, "Revision % does not follow %", main, this.#currentMain);
    this.#currentMain = main;
    this.changes += changes;
  }

  // Compaction and hashes.

  /**
   * Makes `revision` the oldest that can be read, at once; `compactionStep` does the removing. Throws
   * `compacted` when it is not past the compacted one, and `futureRevision`.
   */
  scheduleCompaction(revision: number): void {
    assert(!this.#txn.isOpen, "A compaction is scheduled inside a write transaction");
    if (revision <= this.#compactMain) {
      throw new EtcdError("compacted", `Revision ${revision} is not past ${this.#compactMain}`);
    }
    if (revision > this.#currentMain) {
      throw new EtcdError("futureRevision", `Revision ${revision} is past ${this.#currentMain}`);
    }
    this.#compactor.schedule(revision, this.#compactMain);
    this.#compactMain = revision;
  }

  /** One bounded piece of a scheduled compaction; to be called until it returns `idle`. */
  compactionStep(): CompactionState {
    assert(!this.#txn.isOpen, "Compaction goes on inside a write transaction");
    return this.#compactor.step();
  }

  /** Until it is released no revision leaves the backend: for a copy of all that is there now. */
  holdCompaction(): CompactionHold {
    return this.#holds.hold(-Infinity);
  }

  /** True while compaction has work left: what `physical` compaction requests wait for. */
  get compactionPending(): boolean {
    return this.#compactor.isPending;
  }

  /** Whether the next `compactionStep` works on the index; else on the backend, if there is work. */
  get isCompactingIndex(): boolean {
    return this.#compactor.isIndexing;
  }

  /** What the last finished compaction did. */
  get compactionReport(): CompactionReport | undefined {
    return this.#compactor.report;
  }

  /** Reads under way that go on for longer than a turn, and keep compaction off the revisions they need. */
  get openReads(): number {
    return this.#holds.size;
  }

  /** Hashes of the last ten compactions, by revision. */
  get compactionHashes(): readonly KvHash[] {
    return this.#hashes.list;
  }

  /**
   * The hash of everything up to a revision, 0 for the current one: either at once, when a compaction there
   * has left one, or as a job to step through. Throws `compacted` and `futureRevision`.
   */
  hashKv(revision: number): KvHash | KvHashJob {
    const kept = this.#hashes.at(revision);
    if (kept !== undefined) return kept;
    if (revision > 0) readMainOf(revision, this.#currentMain, this.#compactMain);
    const main = revision === 0 ? this.#currentMain : revision;
    return new KvHashJob(this, main, this.#holds.hold(this.#compactMain));
  }

  /** The hash of the whole backend, as a job to step through. */
  hashBackend(): BackendHashJob {
    return new BackendHashJob(this);
  }
}
