import { assert } from "../base/assert.ts";
import type { RaftIndex, Term } from "../base/units.ts";
import { FileError, type Files, type WritableFile } from "../ports/files.ts";
import { type Log, silentLog } from "../ports/log.ts";
import type { Entry, HardState } from "../raft/types.ts";
import { WalError } from "./decoder.ts";
import { RecordEncoder } from "./encoder.ts";
import type { SnapshotPosition, SnapshotRecord } from "./record.ts";
import { cutTail } from "./repair.ts";
import { type LogVisitor, replayWal } from "./replay.ts";
import { parentDirectory, type Segment, SEGMENT_BYTES, segmentAt, walExists } from "./segment.ts";

/**
 * Preallocation. The file API has no `fallocate`, so a segment gets its size by `ftruncate`, and a small
 * save that would be the first to touch its disk blocks writes zeros ahead with the same write: the saves
 * after it then land in blocks that are allocated and initialized, and their fdatasync is one write
 * without a journal commit. A large save gains nothing from that and would pay for each byte twice.
 * Measured on ext4, write and fdatasync, mean in µs, called synchronously / through the thread pool:
 *
 *     bytes per save                     320         6,000       40,000      300,000
 *     file that grows                  123 / 187    151 / 226   239 / 245   352 / 427
 *     size set, blocks not allocated    88 / 138    141 / 194   169 / 223   276 / 324
 *     zeros 256 KiB ahead               83 / 124    101 / 126   162 / 166   322 / 376
 *     whole file zeroed (27-170 ms)     90 / 134     93 / 135   101 / 123   198 / 397
 *
 * The write that carries the zeros takes about 1 ms. Segments that are done are not used again: old
 * records behind the end of the log would hide where a save was cut short, from etcd's tools as well.
 */
const ZERO_AHEAD_BYTES = 256 * 1024;
const SMALL_SAVE_BYTES = 8 * 1024;
/** Up to here a write, a copy into the page cache, takes less time than its way to the thread pool and back. */
const DIRECT_WRITE_BYTES_MAX = 32 * 1024;
const ZERO_BLOCK = new Uint8Array(ZERO_AHEAD_BYTES);

/** The buffer of a save that was larger than this is not kept. */
const BUFFER_BYTES_KEPT = 4 * 1024 * 1024;
const BUFFER_BYTES_INITIAL = 512 * 1024;

const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

export interface WalOptions {
  /** Size past which a new segment begins; a multiple of 512. Default: etcd's 64 MB. */
  readonly segmentBytes?: number;
  /** etcd's `--unsafe-no-fsync`: saves are written, not synced. A crash of the machine may lose the log. */
  readonly unsafeNoSync?: boolean;
  readonly timing?: SaveTiming;
  readonly log?: Log;
}

/** Where the time of saves goes, for metrics; milliseconds. */
export interface SaveTiming {
  readonly now: () => number;
  readonly onWrite: (tookMs: number) => void;
  readonly onSync: (tookMs: number) => void;
}

/**
 * Makes a new log in `dir`, which must not hold one. It is complete when it gets its name: built in
 * `<dir>.tmp`, synced, renamed. Blocks for a few syncs. Throws `FileError`.
 */
export function createWal(files: Files, dir: string, metadata: Uint8Array, options: WalOptions = {}): Wal {
  if (walExists(files, dir)) throw new FileError("exists", dir, `${dir}: a WAL exists already`);
  const building = `${dir}.tmp`;
  files.makeDirectory(building, DIRECTORY_MODE);
  for (const name of files.list(building)) files.remove(`${building}/${name}`);

  const encoder = new RecordEncoder(0, BUFFER_BYTES_INITIAL);
  encoder.beginSave();
  encoder.previousCrc();
  encoder.metadata(metadata);
  encoder.snapshot({ index: 0 as RaftIndex, term: 0 as Term, confState: undefined });
  const path = segmentAt(building, 0, 0).path;
  const tail = files.openWrite(path, { create: true, mode: FILE_MODE });
  try {
    tail.truncate(options.segmentBytes ?? SEGMENT_BYTES);
    tail.writeAtSync(encoder.frames.bytes.subarray(0, encoder.frames.length), 0);
    tail.syncNow();
    files.syncDirectory(building);
    files.rename(building, dir);
    files.syncDirectory(parentDirectory(dir));
  } catch (error) {
    tail.close();
    throw error;
  }
  const position = encoder.frames.length;
  const segments = [segmentAt(dir, 0, 0)];
  return new Wal(files, dir, options, { metadata, encoder, tail, position, segments, lastIndex: 0 });
}

/** A log that was read to its end and is ready to be appended to. */
export interface OpenedWal {
  readonly wal: Wal;
  readonly metadata: Uint8Array;
  /** The last hard state saved, or undefined in a new log. */
  readonly hardState: HardState | undefined;
  /** Entries past the snapshot, without those that later ones replaced. */
  readonly entries: Entry[];
}

/**
 * Reads the log in `dir` from a snapshot that it has a record of ({0, 0} for the beginning) and opens it
 * for appending. A save that a crash cut short is cut off, with a line in the log; anything else that is
 * wrong throws `WalError` and leaves the files as they are. Blocks while it reads.
 */
export function openWal(
  files: Files,
  dir: string,
  from: SnapshotPosition,
  options: WalOptions = {},
): OpenedWal {
  const entries: Entry[] = [];
  const { wal, metadata, hardState } = openWalWith(files, dir, from, {
    entry(entry) {
      const at = entry.index - from.index - 1;
      if (at < entries.length) entries.length = at;
      entries.push(entry);
    },
  }, options);
  return { wal, metadata, hardState, entries };
}

/** As `openWal`, handing each entry to `visitor` instead of gathering them. */
export function openWalWith(
  files: Files,
  dir: string,
  from: SnapshotPosition,
  visitor: LogVisitor,
  options: WalOptions = {},
): Omit<OpenedWal, "entries"> {
  const summary = replayWal(files, dir, from, visitor, options.log);
  const { metadata, hardState, segments, endOffset, crc, lastIndex } = summary;
  const { path } = segments.at(-1)!;
  if (summary.torn) cutTail(files, path, endOffset, options.log ?? silentLog);
  for (const name of files.list(dir)) if (name.endsWith(".tmp")) files.remove(`${dir}/${name}`);
  const tail = files.openWrite(path, { create: false });
  if (options.unsafeNoSync !== true) {
    // The process before may have died between a write and its sync. From now on all that was read counts
    // as durable, so it has to be.
    tail.syncNow();
    files.syncDirectory(dir);
    files.syncDirectory(parentDirectory(dir));
  }
  const encoder = new RecordEncoder(crc, BUFFER_BYTES_INITIAL);
  const opened = { metadata, encoder, tail, position: endOffset, segments, lastIndex, hardState };
  return { wal: new Wal(files, dir, options, opened), metadata, hardState };
}

interface OpenLog {
  readonly metadata: Uint8Array;
  readonly encoder: RecordEncoder;
  readonly tail: WritableFile;
  readonly position: number;
  readonly segments: readonly Segment[];
  readonly lastIndex: number;
  readonly hardState?: HardState | undefined;
}

/** A file that becomes the next segment. */
interface SpareFile {
  readonly file: WritableFile;
  readonly path: string;
}

/**
 * The write-ahead log of a member, open for appending. What a save holds is durable when the save is done;
 * a crash in the middle leaves any number of its first records.
 *
 * After the first write or sync that fails nobody knows what is on disk: that call and all later ones
 * throw `WalError` "broken", and the process has to end.
 */
export class Wal {
  readonly #files: Files;
  readonly #dir: string;
  readonly #log: Log;
  readonly #metadata: Uint8Array;
  readonly #segmentBytes: number;
  readonly #syncs: boolean;
  readonly #timing: SaveTiming | undefined;

  /** Segments in the directory by number. Invariant: the last one is `#tail`. */
  readonly #segments: Segment[];
  #tail: WritableFile;
  #encoder: RecordEncoder;
  /** Where the next save goes. Invariant: the tail has only zeros from here on. */
  #position: number;
  /** Invariant: the tail's blocks below are allocated. */
  #zeroedTo: number;

  #hardState: HardState | undefined;
  /** Invariant: newer than what is on disk and allowed to be lost; the next save takes it along. */
  #unsavedState: HardState | undefined;
  #lastIndex: number;
  #releasedIndex = 0;
  #writtenBytes = 0;

  /** The write in flight; never rejects. Invariant: at most one, so that at most one sync is in flight. */
  #inFlight: Promise<void> | undefined;
  #saving = false;
  #spare: Promise<SpareFile | undefined> | undefined;
  #spareCount = 0;
  #broken: unknown;
  #purging: Promise<number> | undefined;
  #closing = false;
  #closed = false;

  /** Use `createWal` or `openWal`. */
  constructor(files: Files, dir: string, options: WalOptions, open: OpenLog) {
    this.#files = files;
    this.#dir = dir;
    this.#log = options.log ?? silentLog;
    this.#segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
    this.#syncs = options.unsafeNoSync !== true;
    this.#timing = options.timing;
    this.#metadata = open.metadata;
    this.#segments = [...open.segments];
    this.#tail = open.tail;
    this.#encoder = open.encoder;
    this.#encoder.frames.clear();
    this.#position = open.position;
    this.#zeroedTo = open.position;
    this.#lastIndex = open.lastIndex;
    this.#hardState = open.hardState;
    // etcd may have left the segment without its preallocated rest. What is behind the position is zero.
    if (open.position < this.#segmentBytes) this.#tail.truncate(this.#segmentBytes);
  }

  /** Index of the last entry saved, or of a snapshot saved past it. */
  get lastIndex(): RaftIndex {
    return this.#lastIndex as RaftIndex;
  }

  /** Bytes written to segments since the log was opened, padding included. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /**
   * Appends entries and then the hard state in one write, and resolves when they are durable. The caller
   * waits for one save before it begins the next, and may not change entries' data until then. Without
   * `sync`, for a hard state of which only the commit index is new, the state is kept in memory and
   * goes with the next save.
   */
  save(
    hardState: HardState | undefined,
    entries: readonly Entry[],
    options: { readonly sync: boolean },
  ): Promise<void> {
    assert(options.sync || entries.length === 0, "wal: entries saved without a sync");
    const error = this.#unusable();
    if (error !== undefined) return Promise.reject(error);
    if (hardState !== undefined) this.#unsavedState = hardState;
    if (!options.sync) return DONE;
    assert(!this.#saving, "wal: save called during a save");
    this.#saving = true;
    return this.#append(() => this.#encodeSave(entries)).finally(() => this.#saving = false);
  }

  /**
   * As `save` with a sync, but blocks until the save is durable and returns undefined: faster than the way
   * through the thread pool when nothing else could be done meanwhile. When there is more to do than one
   * write, a new segment or a snapshot record being written, it is as `save` and returns its promise.
   */
  saveNow(hardState: HardState | undefined, entries: readonly Entry[]): Promise<void> | undefined {
    const unusable = this.#unusable();
    if (unusable !== undefined) throw unusable;
    if (this.#inFlight !== undefined || this.#position >= this.#segmentBytes) {
      return this.save(hardState, entries, { sync: true });
    }
    if (hardState !== undefined) this.#unsavedState = hardState;
    try {
      const end = this.#encodeSave(entries);
      if (end === this.#position) return undefined;
      this.#tail.writeAtSync(this.#encoded(), this.#position);
      if (this.#syncs) this.#tail.syncNow();
      this.#saved(end);
    } catch (error) {
      throw this.#break(error);
    }
    return undefined;
  }

  /**
   * Notes durably that a snapshot at this index exists, so that the log may be opened at it. Called after
   * the snapshot itself is durable, and before the hard state that has its commit index; may be called
   * during a save.
   */
  saveSnapshot(snapshot: SnapshotRecord): Promise<void> {
    assert(snapshot.index === 0 || snapshot.confState !== undefined, "wal: snapshot without its conf state");
    return this.#append(() => {
      this.#beginSave();
      this.#encoder.snapshot(snapshot);
      // A snapshot from the leader may be past the log.
      this.#lastIndex = Math.max(this.#lastIndex, snapshot.index);
      return this.#endOfFrames();
    });
  }

  /** From now on nobody needs entries up to `index`: `purge` may remove segments that hold no later ones. */
  releaseTo(index: RaftIndex): void {
    this.#releasedIndex = Math.max(this.#releasedIndex, index);
  }

  /**
   * Removes the oldest segments, one after the other, while there are more than `segmentsMax` and they are released; 0
   * keeps all. Resolves to how many it removed; a call during another one joins it. Rejects with a `FileError`; the
   * log is sound then, and purging may be tried again.
   */
  purge(segmentsMax: number): Promise<number> {
    this.#purging ??= this.#purge(segmentsMax).finally(() => this.#purging = undefined);
    return this.#purging;
  }

  async #purge(segmentsMax: number): Promise<number> {
    // The last segment that begins before the released index also holds what follows it.
    const needed = this.#segments.findLastIndex((segment) => segment.firstIndex < this.#releasedIndex);
    const surplus = segmentsMax === 0 ? 0 : this.#segments.length - segmentsMax;
    const removable = Math.min(needed, surplus);
    let removed = 0;
    for (; removed < removable && !this.#closing; removed += 1) {
      const { path } = this.#segments[0]!;
      await this.#files.removeAside(path);
      this.#segments.shift();
      this.#log.info("purged", { path });
    }
    return removed;
  }

  /** Waits for what is in flight, saves a hard state that was kept in memory, and closes the files. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closing = true;
    await this.#purging?.catch(ignore);
    while (this.#inFlight !== undefined) await this.#inFlight;
    try {
      if (this.#broken === undefined && this.#unsavedState !== undefined) {
        await this.#append(() => this.#encodeSave([]));
      }
    } finally {
      this.#closed = true;
      const spare = await this.#spare;
      if (spare !== undefined) {
        spare.file.close();
        this.#files.remove(spare.path);
      }
      this.#tail.close();
    }
  }

  /** One write and sync of what `encode` leaves in the buffer; it returns the position behind it. */
  async #append(encode: () => number): Promise<void> {
    while (this.#inFlight !== undefined) await this.#inFlight;
    const unusable = this.#unusable();
    if (unusable !== undefined) throw unusable;
    const written = this.#write(encode);
    this.#inFlight = written.then(ignore, ignore);
    try {
      await written;
    } catch (error) {
      throw this.#break(error);
    } finally {
      this.#inFlight = undefined;
    }
  }

  async #write(encode: () => number): Promise<void> {
    if (this.#position >= this.#segmentBytes) await this.#beginSegment();
    const end = encode();
    if (end === this.#position) return;
    const timing = this.#timing;
    const startedMs = timing?.now() ?? 0;
    const bytes = this.#encoded();
    if (bytes.length <= DIRECT_WRITE_BYTES_MAX) this.#tail.writeAtSync(bytes, this.#position);
    else await this.#tail.writeAt(bytes, this.#position);
    const writtenMs = timing?.now() ?? 0;
    timing?.onWrite(writtenMs - startedMs);
    if (this.#syncs) {
      await this.#tail.sync();
      timing?.onSync(timing.now() - writtenMs);
    }
    this.#saved(end);
  }

  #encodeSave(entries: readonly Entry[]): number {
    const state = this.#unsavedState;
    const savesState = state !== undefined && (state.term !== 0 || state.vote !== 0n || state.commit !== 0);
    if (entries.length === 0 && !savesState) return this.#position;
    this.#beginSave();
    for (let i = 0; i < entries.length; i += 1) this.#encoder.entry(entries[i]!);
    if (entries.length > 0) this.#lastIndex = entries[entries.length - 1]!.index;
    if (savesState) {
      // Behind the entries: a commit index must not be on disk without the entries up to it.
      this.#encoder.hardState(state);
      this.#hardState = state;
    }
    this.#unsavedState = undefined;
    return this.#endOfFrames();
  }

  #beginSave(): void {
    this.#encoder.frames.clear();
    // The mark says that all before it is durable.
    if (this.#syncs) this.#encoder.beginSave();
  }

  /** The position behind the frames in the buffer; zeros to write ahead are put behind them. */
  #endOfFrames(): number {
    const frames = this.#encoder.frames;
    const bytes = frames.length;
    const end = this.#position + bytes;
    if (end > this.#zeroedTo) {
      if (bytes <= SMALL_SAVE_BYTES) {
        const zeros = Math.max(0, Math.min(ZERO_AHEAD_BYTES, this.#segmentBytes - end));
        frames.write(ZERO_BLOCK.subarray(0, zeros));
      }
      this.#zeroedTo = this.#position + frames.length;
    }
    return end;
  }

  #encoded(): Uint8Array {
    const frames = this.#encoder.frames;
    return frames.bytes.subarray(0, frames.length);
  }

  #saved(end: number): void {
    this.#writtenBytes += end - this.#position;
    this.#position = end;
    if (this.#encoder.frames.bytes.length > BUFFER_BYTES_KEPT) {
      this.#encoder = new RecordEncoder(this.#encoder.crc, BUFFER_BYTES_INITIAL);
    }
    if (end > this.#segmentBytes / 2 && this.#spare === undefined) {
      this.#spare = this.#makeSpare().catch((error) => {
        this.#log.warn("failed to preallocate space when creating a new WAL", { error: String(error) });
        return undefined;
      });
    }
  }

  /**
   * Goes on in a new segment. Its head repeats what a reader that starts there has to know, and is durable
   * before the segment gets its name; the name is durable before anything is saved under it.
   */
  async #beginSegment(): Promise<void> {
    const spare = await this.#spare ?? await this.#makeSpare();
    this.#spare = Promise.resolve(spare);
    const previous = this.#segments.at(-1)!;
    const segment = segmentAt(this.#dir, previous.sequence + 1, this.#lastIndex + 1);
    const encoder = this.#encoder;
    // The state saved last, and not one that is newer: its entries may be those still to be saved.
    const state = this.#hardState;
    this.#beginSave();
    encoder.previousCrc();
    encoder.metadata(this.#metadata);
    if (state !== undefined) encoder.hardState(state);
    await spare.file.writeAt(this.#encoded(), 0);
    if (this.#syncs) await spare.file.sync();
    this.#files.rename(spare.path, segment.path);
    this.#files.syncDirectory(this.#dir);
    this.#spare = undefined;
    this.#tail.close();
    this.#tail = spare.file;
    this.#segments.push(segment);
    this.#position = encoder.frames.length;
    this.#zeroedTo = Math.min(ZERO_AHEAD_BYTES, this.#segmentBytes);
    this.#log.info("created a new WAL segment", { path: segment.path });
  }

  /** Makes the file of the next segment; done ahead of time, and once more when that failed. */
  async #makeSpare(): Promise<SpareFile> {
    // Two names by turns, as etcd has them: the one before may just be getting its own name.
    const path = `${this.#dir}/${this.#spareCount++ % 2}.tmp`;
    this.#files.remove(path);
    const file = this.#files.openWrite(path, { create: true, mode: FILE_MODE });
    try {
      file.truncate(this.#segmentBytes);
      await file.writeAt(ZERO_BLOCK.subarray(0, Math.min(ZERO_AHEAD_BYTES, this.#segmentBytes)), 0);
      if (this.#syncs) await file.sync();
      return { file, path };
    } catch (error) {
      file.close();
      throw error;
    }
  }

  #unusable(): WalError | undefined {
    if (this.#broken !== undefined) return this.#brokenError();
    assert(!this.#closed, "wal: used after close");
    return undefined;
  }

  #break(error: unknown): WalError {
    this.#broken ??= error;
    return this.#brokenError();
  }

  #brokenError(): WalError {
    const cause = this.#broken;
    const message = cause instanceof Error ? cause.message : String(cause);
    return new WalError("broken", this.#segments.at(-1)!.path, this.#position, message, { cause });
  }
}

const DONE: Promise<void> = Promise.resolve();

function ignore(): void {}
