import { equalBytes } from "../base/bytes.ts";
import type { RaftIndex } from "../base/units.ts";
import type { Files, ReadableFile } from "../ports/files.ts";
import { type Log, silentLog } from "../ports/log.ts";
import type { Entry, HardState } from "../raft/types.ts";
import { type Fault, RecordReader, WalError, WINDOW_BYTES } from "./decoder.ts";
import {
  decodeEntry,
  decodeHardState,
  decodeSnapshot,
  RecordType,
  type SnapshotPosition,
  type SnapshotRecord,
} from "./record.ts";
import { firstNonZero, isTornSave } from "./repair.ts";
import { listSegments, type Segment, segmentFor } from "./segment.ts";

/** Is told what a log holds, in the order in which it was written. */
export interface LogVisitor {
  /**
   * An entry past the snapshot that reading started at. Its index is at most one past the one before it;
   * an entry that is not past it replaces that one and all behind it. The data is the visitor's to keep: a
   * view of about 1 MiB of log, which stays in memory as long as one of its entries does.
   */
  entry(entry: Entry): void;
  /** A snapshot record, wherever reading started. */
  snapshot?(snapshot: SnapshotRecord): void;
}

/** What reading a log to its end found out. */
export interface LogSummary {
  readonly metadata: Uint8Array;
  /** The last hard state, or undefined in a new log. */
  readonly hardState: HardState | undefined;
  /** Index of the last entry, or of a snapshot past it. */
  readonly lastIndex: RaftIndex;
  /** Segments in the directory, also those before the ones read. */
  readonly segments: readonly Segment[];
  /** Where the log ends in the last segment. */
  readonly endOffset: number;
  /** Checksum of all data up to there. */
  readonly crc: number;
  /** Whether a save that was cut short stands at `endOffset` and has to be cut off. */
  readonly torn: boolean;
}

/**
 * Reads a log that nobody writes to and checks it on the way: the chain of checksums, the metadata, the
 * index of each entry, what a crash may leave at the end. Reads from the segment that covers `from`, whose
 * snapshot record must be there; without `from`, from the first segment. Throws `WalError`. Changes nothing.
 */
export function replayWal(
  files: Files,
  dir: string,
  from: SnapshotPosition | undefined,
  visitor: LogVisitor,
  log: Log = silentLog,
): LogSummary {
  const segments = listSegments(files, dir);
  const first = from === undefined ? firstOfLastRun(segments) : segmentFor(segments, from.index);
  if (first < 0) {
    const what = from === undefined ? "no segment" : `no segment reaches back to index ${from.index}`;
    throw new WalError("not found", dir, 0, what);
  }
  const replay = new Replay(segments[first]!, from, visitor);
  let end: SegmentEnd | undefined;
  for (let i = first; i < segments.length; i += 1) {
    const segment = segments[i]!;
    if (segment.sequence !== segments[first]!.sequence + i - first) {
      throw new WalError("not found", segment.path, 0, `segment ${segment.sequence - 1} is missing`);
    }
    end = readSegment(files, segment, i === segments.length - 1, replay, log);
  }
  return replay.finish(segments, end!);
}

/**
 * The newest snapshot at or before `indexMax`, an index that is known to be committed: where a member whose
 * store has applied that much starts. Snapshot records stand near the end of a log, so it is read segment by
 * segment from there; undefined when the log has none. Throws `WalError`.
 */
export function newestSnapshot(
  files: Files,
  dir: string,
  indexMax: RaftIndex,
  log: Log = silentLog,
): SnapshotRecord | undefined {
  const segments = listSegments(files, dir);
  // Nothing of what is read is kept.
  const memory = new Uint8Array(WINDOW_BYTES);
  for (let i = segments.length - 1; i >= 0; i -= 1) {
    let newest: SnapshotRecord | undefined;
    const visitor: LogVisitor = {
      entry() {},
      snapshot(snapshot) {
        if (snapshot.index <= indexMax && snapshot.index >= (newest?.index ?? 0)) newest = snapshot;
      },
    };
    const segment = segments[i]!;
    const isLast = i === segments.length - 1;
    readSegment(files, segment, isLast, new Replay(segment, undefined, visitor), log, memory);
    if (newest !== undefined) return newest;
  }
  return undefined;
}

/** Purging may leave a gap when power fails in it; what is before the gap is not needed. */
function firstOfLastRun(segments: readonly Segment[]): number {
  let first = segments.length - 1;
  while (first > 0 && segments[first - 1]!.sequence === segments[first]!.sequence - 1) first -= 1;
  return first;
}

interface SegmentEnd {
  readonly path: string;
  readonly offset: number;
  readonly torn: boolean;
}

function readSegment(
  files: Files,
  segment: Segment,
  isLast: boolean,
  replay: Replay,
  log: Log,
  memory?: Uint8Array,
): SegmentEnd {
  const file = files.openRead(segment.path);
  replay.beginSegment();
  try {
    const reader = new RecordReader(file, segment.path, replay.crc, memory);
    let step = reader.next();
    for (; step === "record"; step = reader.next()) replay.take(reader);
    replay.crc = reader.crc;
    const { offset } = reader;
    const fault = step === "fault" ? reader.fault : faultAtEnd(file, offset, replay.segmentBegun);
    if (fault === undefined) return { path: segment.path, offset, torn: false };
    // A segment's head is durable before the segment gets its name, and all of it before the next one does.
    if (!isLast || !replay.segmentBegun || !isTornSave(file, offset)) {
      throw reader.error(fault.kind, fault.message);
    }
    log.warn("found a torn record at the end of the WAL", { path: segment.path, offset });
    return { path: segment.path, offset, torn: true };
  } finally {
    file.close();
  }
}

/** What is wrong with a segment whose records end without a fault; a record that was zeroed ends them too. */
function faultAtEnd(file: ReadableFile, offset: number, begun: boolean): Fault | undefined {
  if (!begun) return { kind: "corrupt", message: "the segment has no complete head" };
  const nonZero = firstNonZero(file, offset);
  if (nonZero === file.sizeBytes) return undefined;
  return { kind: "corrupt", message: `the log ends before bytes at ${nonZero} that are not zero` };
}

/** What has been read so far, and the rules that records must keep among each other. */
class Replay {
  crc: number | undefined;
  readonly #from: SnapshotPosition | undefined;
  readonly #visitor: LogVisitor;
  #metadata: Uint8Array | undefined;
  #hardState: HardState | undefined;
  #fromFound: boolean;
  /** Records of the segment at hand. */
  #records = 0;
  /** Index of the last entry that the visitor has; of a snapshot past it when reading starts at none. */
  #lastIndex: number;

  constructor(first: Segment, from: SnapshotPosition | undefined, visitor: LogVisitor) {
    this.#from = from;
    this.#fromFound = from === undefined;
    this.#visitor = visitor;
    this.#lastIndex = from?.index ?? Math.max(0, first.firstIndex - 1);
  }

  beginSegment(): void {
    this.#records = 0;
  }

  /** Whether the checksum and the metadata, with which each segment begins, are read. */
  get segmentBegun(): boolean {
    return this.#records >= 2;
  }

  take(reader: RecordReader): void {
    // The checksum of a record does not cover its type. The rules here and in `record.ts` see to it that a
    // damaged type is not believed: each message has only its own fields, a segment begins with a checksum
    // and the metadata, nothing goes back, no entry is left out or replaced after it was committed.
    const type = reader.head.type;
    this.#records += 1;
    if (
      this.#records === 1 && type !== RecordType.crc || this.#records === 2 && type !== RecordType.metadata
    ) {
      throw reader.error("corrupt", `record of type ${type} stands in the head of the segment`);
    }
    switch (type) {
      case RecordType.entry:
        return this.#takeEntry(reader);
      case RecordType.state:
        return this.#takeHardState(reader);
      case RecordType.metadata:
        return this.#takeMetadata(reader);
      case RecordType.snapshot:
        return this.#takeSnapshot(reader);
      case RecordType.crc:
        return;
      default:
        throw reader.error("unknown record", `unexpected record type ${type}`);
    }
  }

  #takeEntry(reader: RecordReader): void {
    const entry = reader.decode(decodeEntry);
    const { index } = entry;
    const commit = this.#hardState?.commit ?? 0;
    if (index <= commit) {
      throw reader.error("corrupt", `entry ${index} stands behind a hard state with commit index ${commit}`);
    }
    if (this.#from !== undefined && index <= this.#from.index) return;
    if (index > this.#lastIndex + 1) {
      throw reader.error("entries missing", `entry ${index} follows entry ${this.#lastIndex}`);
    }
    this.#lastIndex = index;
    this.#visitor.entry(entry);
  }

  #takeHardState(reader: RecordReader): void {
    const state = reader.decode(decodeHardState);
    const before = this.#hardState;
    if (state.term === 0) throw reader.error("corrupt", "hard state has term 0");
    if (before !== undefined && (state.term < before.term || state.commit < before.commit)) {
      const change = `${before.term}/${before.commit} to ${state.term}/${state.commit}`;
      throw reader.error("corrupt", `term and commit index go back from ${change}`);
    }
    this.#hardState = state;
  }

  #takeMetadata(reader: RecordReader): void {
    const metadata = reader.bytes.slice(reader.head.dataStart, reader.head.dataEnd);
    if (this.#metadata !== undefined && !equalBytes(this.#metadata, metadata)) {
      throw reader.error("metadata conflict", "conflicting metadata found");
    }
    this.#metadata = metadata;
  }

  #takeSnapshot(reader: RecordReader): void {
    const snapshot = reader.decode(decodeSnapshot);
    const from = this.#from;
    if (from === undefined) this.#lastIndex = Math.max(this.#lastIndex, snapshot.index);
    else if (snapshot.index === from.index) {
      if (snapshot.term !== from.term) {
        const terms = `term ${snapshot.term}, not ${from.term}`;
        throw reader.error("snapshot mismatch", `snapshot ${snapshot.index} has ${terms}`);
      }
      this.#fromFound = true;
    }
    this.#visitor.snapshot?.(snapshot);
  }

  finish(segments: readonly Segment[], end: SegmentEnd): LogSummary {
    const from = this.#from;
    if (this.#metadata === undefined || this.crc === undefined) {
      throw new WalError("corrupt", end.path, end.offset, "the log ends before its metadata");
    }
    if (!this.#fromFound) {
      const what = `no record of snapshot ${from?.index} of term ${from?.term}`;
      throw new WalError("snapshot not found", end.path, end.offset, what);
    }
    const commit = this.#hardState?.commit ?? 0;
    if (commit > this.#lastIndex) {
      const what = `commit index is ${commit} but the last entry is ${this.#lastIndex}`;
      throw new WalError("entries missing", end.path, end.offset, what);
    }
    return {
      metadata: this.#metadata,
      hardState: this.#hardState,
      lastIndex: this.#lastIndex as RaftIndex,
      segments,
      endOffset: end.offset,
      crc: this.crc,
      torn: end.torn,
    };
  }
}
