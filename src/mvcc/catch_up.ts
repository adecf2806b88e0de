import { binaryString } from "../base/binary_string.ts";
import type { Backend } from "./backend.ts";
import { EventBatch, eventKind } from "./event_batch.ts";
import { Fanout, type FanoutHost, type TurnBudget } from "./fanout.ts";
import { encodeTransientDeleted, KeyValueReader } from "./key_value.ts";
import type { Watcher } from "./watcher.ts";
import { type WatchedRange, type WatcherGroup, WatcherIndex } from "./watcher_group.ts";

/** Revisions that one response may cover, and the distance at which watchers share a reader. etcd has 1000. */
const SLICE_REVISIONS = 500;
/** Encoded events of one slice, and bytes read for it, beyond which it ends with the revision. */
const SLICE_BYTES_MAX = 512 * 1024;
const SLICE_READ_BYTES_MAX = 2 * 1024 * 1024;
/** Records read in one turn of the event loop: some 0.1 ms, which other clients hardly feel. */
const TURN_RECORDS = 64;
const TURN_READ_BYTES_MAX = 1024 * 1024;
/** Watchers cancelled, and groups that change their index, in one turn. */
const TURN_MOVES_MAX = 500;

/** What catching up needs of its surroundings. */
export interface HistorySource extends FanoutHost {
  readonly backend: Backend;
  readonly compactRevision: number;
  /** A watcher has ended, since compaction has removed what it needs. */
  expire(watcher: Watcher, compactRevision: number): void;
}

/** Watchers that read the history together. */
class HistoryCursor {
  readonly watchers = new WatcherIndex();
  /** Everything below has been sent to those of its watchers that want it. */
  position: number;
  /**
   * True until it has read anything: while it is, `Watcher.from` alone says what each watcher lacks, and
   * the position may be set back for one that begins earlier.
   */
  isFresh: boolean;

  constructor(position: number, isFresh: boolean) {
    this.position = position;
    this.isFresh = isFresh;
  }
}

/** Where the slice in hand has been read to. */
interface Slice {
  readonly cursor: HistoryCursor;
  /** The next record to read. */
  main: number;
  sub: number;
  readBytes: number;
  /** Set when it is complete: the cursor's next position. */
  end: number | undefined;
}

/**
 * Brings watchers that are behind up to the current revision, out of the backend: one slice of history at a
 * time, read once for all watchers of a cursor, the cursors in turn. A watcher that begins a little after a
 * cursor's position joins it, so that there are no more cursors than the history has slices,
 * but for those that had begun before.
 *
 * Invariant: cursors in the queue are between slices. The one in hand takes no watchers.
 */
export class CatchUp {
  readonly #source: HistorySource;
  readonly #fanout: Fanout;
  readonly #batch = new EventBatch();
  readonly #reader = new KeyValueReader();
  /** In turn order. */
  readonly #queue = new Set<HistoryCursor>();
  /** The cursor that may be joined, by the number of the slice it stands in. */
  readonly #joinable = new Map<number, HistoryCursor>();
  #slice: Slice | undefined;

  constructor(source: HistorySource) {
    this.#source = source;
    this.#fanout = new Fanout(source);
  }

  get isIdle(): boolean {
    return this.#slice === undefined && this.#queue.size === 0;
  }

  /** Events sent since start. */
  get sentEvents(): number {
    return this.#fanout.sentEvents;
  }

  /** Adds a watcher that lacks everything from `watcher.from` on. */
  add(watcher: Watcher, range: WatchedRange): void {
    const cursor = this.#joinable.get(bucketOf(watcher.from));
    if (cursor === undefined || (cursor.position > watcher.from && !cursor.isFresh)) {
      const own = new HistoryCursor(watcher.from, true);
      own.watchers.add(watcher, range);
      this.#joinable.set(bucketOf(watcher.from), own);
      this.#queue.add(own);
      return;
    }
    cursor.position = Math.min(cursor.position, watcher.from);
    cursor.watchers.add(watcher, range);
  }

  /** Takes over groups that have been sent everything below `position`. */
  adopt(groups: Iterable<WatcherGroup>, position: number): void {
    const cursor = new HistoryCursor(position, false);
    for (const group of groups) if (group.size > 0) cursor.watchers.adopt(group);
    this.#queue.add(cursor);
  }

  /** One bounded piece of work. Groups that have caught up move to `synced`. */
  step(synced: WatcherIndex, budget: TurnBudget): void {
    this.#slice ??= this.#takeTurn();
    const slice = this.#slice;
    if (slice === undefined) return;
    if (slice.end === undefined) {
      if (!this.#expire(slice)) return;
      this.#read(slice);
      if (slice.end === undefined) return;
      this.#fanout.begin(this.#batch);
    }
    if (!this.#fanout.run(budget)) return;
    this.#slice = undefined;
    this.#finish(slice.cursor, slice.end, synced);
  }

  /** Begins a slice of the cursor whose turn it is. */
  #takeTurn(): Slice | undefined {
    for (const cursor of this.#queue) {
      this.#queue.delete(cursor);
      const bucket = bucketOf(cursor.position);
      if (this.#joinable.get(bucket) === cursor) this.#joinable.delete(bucket);
      if (cursor.watchers.size > 0) {
        return { cursor, main: cursor.position, sub: 0, readBytes: 0, end: undefined };
      }
    }
    return undefined;
  }

  /** Ends the watchers that compaction has overtaken; false when there are more of them than a turn may end. */
  #expire(slice: Slice): boolean {
    const { compactRevision } = this.#source;
    const { cursor } = slice;
    if (cursor.position >= compactRevision) return true;
    const { position } = cursor;
    const lost: Watcher[] = [];
    for (const group of cursor.watchers.groups()) {
      for (let watcher = group.first; watcher !== undefined; watcher = watcher.next) {
        if (Math.max(position, watcher.from) < compactRevision) lost.push(watcher);
        if (lost.length === TURN_MOVES_MAX) break;
      }
      if (lost.length === TURN_MOVES_MAX) break;
    }
    for (const watcher of lost) this.#source.expire(watcher, compactRevision);
    if (lost.length === TURN_MOVES_MAX) return false;
    // What was read of the slice may have been half compacted.
    this.#batch.clear();
    cursor.position = slice.main = compactRevision;
    slice.sub = slice.readBytes = 0;
    return true;
  }

  /** Reads on, up to the end of the slice or as much as a turn allows. */
  #read(slice: Slice): void {
    const { cursor } = slice;
    const { backend, currentRevision } = this.#source;
    const batch = this.#batch;
    const found: WatcherGroup[] = [];
    let turnBytes = 0;
    let records = 0;
    let isEnd = true;
    backend.scanRevisions(slice, TURN_RECORDS, (main, sub, tombstone, keyValue) => {
      if (main !== slice.main && this.#isFull(slice, main)) {
        slice.end = main;
        isEnd = false;
        return false;
      }
      slice.main = main;
      slice.sub = sub + 1;
      slice.readBytes += keyValue.length;
      turnBytes += keyValue.length;
      records += 1;
      const { key, createMain, modMain } = this.#reader.read(keyValue);
      found.length = 0;
      cursor.watchers.match(binaryString(key), found);
      if (found.length > 0) {
        if (tombstone) {
          const deleted = encodeTransientDeleted(key, main);
          batch.append(main, eventKind.deleted, deleted, found);
        } else {
          const kind = createMain === modMain ? eventKind.created : eventKind.modified;
          batch.append(main, kind, keyValue, found);
        }
      }
      isEnd = turnBytes < TURN_READ_BYTES_MAX;
      return isEnd;
    });
    if (isEnd && records < TURN_RECORDS) slice.end = currentRevision + 1;
  }

  /** Whether a slice ends before revision `main`. */
  #isFull({ cursor, readBytes }: Slice, main: number): boolean {
    // Slices end where others do, so that cursors which follow each other closely meet and become one.
    return bucketOf(main) !== bucketOf(cursor.position) || this.#batch.bytes >= SLICE_BYTES_MAX ||
      readBytes >= SLICE_READ_BYTES_MAX;
  }

  /** Puts a cursor where its next turn begins: at the end of the history, with others, or by itself. */
  #finish(cursor: HistoryCursor, position: number, synced: WatcherIndex): void {
    const { watchers } = cursor;
    cursor.position = position;
    cursor.isFresh = false;
    if (position > this.#source.currentRevision && watchers.moveTo(synced, TURN_MOVES_MAX)) return;
    if (watchers.size === 0) return;
    const bucket = bucketOf(position);
    const other = this.#joinable.get(bucket);
    if (other === undefined) this.#joinable.set(bucket, cursor);
    else if (other.position === position && watchers.groupCount <= TURN_MOVES_MAX) {
      other.isFresh = false;
      watchers.moveTo(other.watchers, TURN_MOVES_MAX);
      return;
    }
    this.#queue.add(cursor);
  }
}

function bucketOf(revision: number): number {
  return Math.floor(revision / SLICE_REVISIONS);
}
