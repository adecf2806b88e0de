import { assert } from "../base/assert.ts";
import { utf8 } from "../base/bytes.ts";
import type { Backend } from "./backend.ts";
import type { CompactionHolds } from "./compaction_hold.ts";
import { type CompactionHashes, HASH_SLICE_BYTES, type KvHash, KvHasher } from "./hash.ts";
import type { KeyIndex } from "./key_index_api.ts";
import { KeyValueReader } from "./key_value.ts";
import { revisionKey, revisionKeyMain } from "./revision.ts";

/** Main revision that compaction was last asked for, as a revision key; bucket "meta". */
const SCHEDULED_KEY = utf8("scheduledCompactRev");
/** Main revision up to which compaction is complete, as a revision key; bucket "meta". */
const FINISHED_KEY = utf8("finishedCompactRev");

/** Keys of the index per step: about as long as a batch of the backend. */
const INDEX_KEYS_PER_STEP = 2000;

/** What a finished compaction did, for the log. */
export interface CompactionReport {
  readonly compactRevision: number;
  /** Revisions removed from the backend. */
  readonly removed: number;
  readonly hash: KvHash;
  /** False when an earlier compaction was unfinished: such a hash is not comparable and not kept. */
  readonly hashKept: boolean;
}

/** `held` means that a read in progress needs what would be removed: try again later. */
export type CompactionState = "idle" | "working" | "held" | "finished";

export function readScheduledCompaction(backend: Backend): number | undefined {
  return readRevision(backend, SCHEDULED_KEY);
}

export function readFinishedCompaction(backend: Backend): number | undefined {
  return readRevision(backend, FINISHED_KEY);
}

function readRevision(backend: Backend, name: Uint8Array): number | undefined {
  const value = backend.get("meta", name);
  return value === undefined ? undefined : revisionKeyMain(value);
}

/** Physical compaction: removes from index and backend, step by step, what no read can reach any more. */
export class Compactor {
  readonly #index: KeyIndex;
  readonly #backend: Backend;
  readonly #holds: CompactionHolds;
  readonly #hashes: CompactionHashes;
  readonly #batchLimit: number;
  #running: CompactionJob | undefined;
  /**
   * The next compaction. One asked for while another waits replaces it: it removes all that the other would
   * have, and neither has a comparable hash.
   */
  #waiting: CompactionJob | undefined;
  #report: CompactionReport | undefined;

  constructor(
    parts: { index: KeyIndex; backend: Backend; holds: CompactionHolds; hashes: CompactionHashes },
    batchLimit: number,
  ) {
    this.#index = parts.index;
    this.#backend = parts.backend;
    this.#holds = parts.holds;
    this.#hashes = parts.hashes;
    this.#batchLimit = batchLimit;
  }

  /** True while there is work left, held off or not. */
  get isPending(): boolean {
    return this.#running !== undefined;
  }

  /** Whether the next step works on the index. */
  get isIndexing(): boolean {
    return this.#running?.isIndexing === true;
  }

  /** What the last compaction that finished did. */
  get report(): CompactionReport | undefined {
    return this.#report;
  }

  /** Records that everything before `main` may go. `previousMain` is the compacted revision until now. */
  schedule(main: number, previousMain: number): void {
    const hashKept = readScheduledCompaction(this.#backend) === readFinishedCompaction(this.#backend);
    this.#backend.put("meta", SCHEDULED_KEY, revisionKey(main, 0));
    const job = new CompactionJob(this.#index, this.#backend, main, previousMain, hashKept);
    if (this.#running === undefined) this.#running = job;
    else this.#waiting = job;
  }

  /** One bounded piece of work. */
  step(): CompactionState {
    const job = this.#running;
    if (job === undefined) return "idle";
    if (this.#holds.blocks(job.main)) return "held";
    if (!job.step(this.#batchLimit)) return "working";
    this.#backend.put("meta", FINISHED_KEY, revisionKey(job.main, 0));
    this.#report = job.report();
    if (job.hashKept) this.#hashes.add(this.#report.hash);
    this.#running = this.#waiting;
    this.#waiting = undefined;
    return "finished";
  }
}

/**
 * One compaction: first the index forgets, key by key, what lies before `main`; then a walk over the backend
 * removes each revision that the index no longer knows. Done again from the start after a crash, it
 * ends in the same state.
 */
class CompactionJob {
  readonly main: number;
  readonly hashKept: boolean;
  readonly #index: KeyIndex;
  readonly #backend: Backend;
  readonly #previousMain: number;
  readonly #hasher: KvHasher;
  readonly #reader = new KeyValueReader();
  readonly #next = { main: 0, sub: 0 };
  #indexIsDone = false;
  #keptInIndex = 0;
  #removed = 0;

  constructor(index: KeyIndex, backend: Backend, main: number, previousMain: number, hashKept: boolean) {
    this.#index = index;
    this.#backend = backend;
    this.main = main;
    this.#previousMain = previousMain;
    this.hashKept = hashKept;
    this.#hasher = new KvHasher(previousMain, main);
  }

  get isIndexing(): boolean {
    return !this.#indexIsDone;
  }

  /** True when the compaction is complete. */
  step(recordsMax: number): boolean {
    if (this.#indexIsDone) return this.#removeBatch(recordsMax);
    this.#indexIsDone = this.#index.compactSlice(this.main, INDEX_KEYS_PER_STEP, () => {
      this.#keptInIndex += 1;
    });
    return false;
  }

  report(): CompactionReport {
    return {
      compactRevision: this.main,
      removed: this.#removed,
      hash: this.#hasher.result(),
      hashKept: this.hashKept,
    };
  }

  #removeBatch(recordsMax: number): boolean {
    const doomed: { readonly main: number; readonly sub: number; readonly tombstone: boolean }[] = [];
    let visited = 0;
    let bytes = 0;
    let isPast = false;
    this.#backend.scanRevisions(this.#next, recordsMax, (main, sub, tombstone, keyValue) => {
      isPast = main > this.main;
      if (isPast) return false;
      visited += 1;
      bytes += keyValue.length;
      this.#next.main = main;
      this.#next.sub = sub + 1;
      const kept = this.#isKept(main, sub, tombstone, keyValue);
      // As etcd does, a compaction that keeps nothing hashes everything that is still there.
      const counts = main > this.#previousMain || kept || this.#keptInIndex === 0;
      this.#hasher.add(main, sub, tombstone, keyValue, counts);
      if (!kept) doomed.push({ main, sub, tombstone });
      return bytes < HASH_SLICE_BYTES;
    });
    for (const { main, sub, tombstone } of doomed) this.#backend.deleteRevision(main, sub, tombstone);
    this.#removed += doomed.length;
    return isPast || (visited < recordsMax && bytes < HASH_SLICE_BYTES);
  }

  /**
   * The index, already compacted, knows at most one revision of a key at or before `main`. A tombstone stays
   * only at `main` itself, where watchers that start there still have to see it (etcd issue 19179).
   */
  #isKept(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): boolean {
    assert(main <= this.main, "Revision % is past the compaction at %", main, this.main);
    if (tombstone) return main === this.main;
    const index = this.#index;
    return index.seek(this.#reader.read(keyValue).key, main) && index.hitMain === main &&
      index.hitSub === sub;
  }
}
