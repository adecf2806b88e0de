import { crc32c } from "../base/crc32c.ts";
import type { ReadableFile } from "../ports/files.ts";
import {
  FRAME_HEADER_BYTES,
  MalformedError,
  paddingAfter,
  RecordHead,
  recordLengthAt,
  RecordType,
} from "./record.ts";

/** How much of a segment is in memory at a time; a longer record is read by itself. */
export const WINDOW_BYTES = 1 << 20;

export type WalErrorKind =
  /** No segment, or none that goes back to the snapshot asked for. */
  | "not found"
  /** Bytes that no writer leaves behind, even when power fails. */
  | "corrupt"
  | "crc mismatch"
  | "unknown record"
  | "metadata conflict"
  /** The log has a snapshot record of this index with another term. */
  | "snapshot mismatch"
  | "snapshot not found"
  /** Entries are missing: an index jumps, or the commit index is past the last entry. */
  | "entries missing"
  /** An earlier write or sync failed: what is on disk is not known any more. */
  | "broken";

/** A log that cannot be read or written. Names the segment and the offset of the record at fault. */
export class WalError extends Error {
  override readonly name = "WalError";
  readonly kind: WalErrorKind;
  /** Path of the segment, or of the directory. */
  readonly file: string;
  /** Byte offset of the record's frame in the file. */
  readonly offset: number;

  constructor(kind: WalErrorKind, file: string, offset: number, message: string, options?: ErrorOptions) {
    super(`wal: ${kind}: ${message} (file ${file}, offset ${offset})`, options);
    this.kind = kind;
    this.file = file;
    this.offset = offset;
  }
}

/** Why no record can be read where one should be. */
export interface Fault {
  readonly kind: "corrupt" | "crc mismatch";
  readonly message: string;
}

/** What `RecordReader.next` found. A "fault" may be a save cut short or damage: `repair.ts` judges. */
export type ReadStep = "record" | "end" | "fault";

/**
 * Reads the records of one segment in order and checks the chain of checksums. After "record", `head` and
 * `bytes` hold it. The bytes are the reader's to give away, since a window is never written to again, unless
 * there is a `memory` for all windows to share.
 */
export class RecordReader {
  readonly path: string;
  readonly head = new RecordHead();
  /** Memory that `head.dataStart` and `head.dataEnd` index into. */
  bytes: Uint8Array = new Uint8Array(0);
  /** Offset of the record found last; of the end or the fault when there is none. */
  offset = 0;
  /** Offset of the frame that comes next. */
  nextOffset = 0;
  /** Checksum of all data up to here; undefined until the first record of a log's first segment says it. */
  crc: number | undefined;
  /** Why `next` returned "fault". */
  fault: Fault = NO_FAULT;

  readonly #file: ReadableFile;
  readonly #memory: Uint8Array | undefined;
  #windowOffset = 0;

  constructor(file: ReadableFile, path: string, crc: number | undefined, memory?: Uint8Array) {
    this.#file = file;
    this.#memory = memory;
    this.path = path;
    this.crc = crc;
  }

  next(): ReadStep {
    this.offset = this.nextOffset;
    const rest = this.#file.sizeBytes - this.offset;
    if (rest === 0) return "end";
    if (rest < FRAME_HEADER_BYTES) return this.#fail("corrupt", "file ends inside a frame header");
    let at = this.#load(FRAME_HEADER_BYTES);
    const length = recordLengthAt(this.bytes, at);
    if (length === 0) return "end";
    if (length < 0) return this.#fail("corrupt", "frame header is malformed");
    const padding = paddingAfter(length);
    if (length + padding > rest - FRAME_HEADER_BYTES) {
      return this.#fail("corrupt", `record of ${length} bytes is longer than the rest of the file`);
    }
    at = this.#load(FRAME_HEADER_BYTES + length) + FRAME_HEADER_BYTES;
    const head = this.head;
    if (!head.parse(this.bytes, at, at + length, length)) return this.#fail("corrupt", "record is malformed");
    if (head.type === RecordType.crc) {
      if (head.dataEnd > head.dataStart) return this.#fail("corrupt", "checksum record has data");
      if (this.crc !== undefined && head.crc !== this.crc) {
        return this.#fail("crc mismatch", "the segment does not continue the one before it");
      }
      this.crc = head.crc;
    } else if (this.crc === undefined) {
      return this.#fail("corrupt", "the segment does not begin with a checksum record");
    } else {
      const crc = crc32c(this.bytes, head.dataStart, head.dataEnd, this.crc);
      if (crc !== head.crc) {
        return this.#fail("crc mismatch", `expected: ${head.crc.toString(16)} computed: ${crc.toString(16)}`);
      }
      this.crc = crc;
    }
    this.nextOffset = this.offset + FRAME_HEADER_BYTES + length + padding;
    return "record";
  }

  /** Decodes the data of the record at hand; a malformed one is damage, since its checksum is right. */
  decode<T>(decodeMessage: (bytes: Uint8Array, start: number, end: number) => T): T {
    try {
      return decodeMessage(this.bytes, this.head.dataStart, this.head.dataEnd);
    } catch (error) {
      if (!(error instanceof MalformedError)) throw error;
      throw this.error("corrupt", error.message);
    }
  }

  /** An error about the record at hand. */
  error(kind: WalErrorKind, message: string): WalError {
    return new WalError(kind, this.path, this.offset, message);
  }

  #fail(kind: Fault["kind"], message: string): ReadStep {
    this.fault = { kind, message };
    return "fault";
  }

  /** Brings `count` bytes at `offset` into memory and returns where in `bytes` they start. */
  #load(count: number): number {
    const at = this.offset - this.#windowOffset;
    if (at >= 0 && at + count <= this.bytes.length) return at;
    const size = Math.min(Math.max(count, WINDOW_BYTES), this.#file.sizeBytes - this.offset);
    this.bytes = this.#file.readAt(this.offset, size, this.#memory);
    this.#windowOffset = this.offset;
    if (this.bytes.length < count) throw this.error("corrupt", "file became shorter while it was read");
    return 0;
  }
}

const NO_FAULT: Fault = { kind: "corrupt", message: "" };
