import { EMPTY_BYTES } from "../base/bytes.ts";
import type { RaftIndex, Term } from "../base/units.ts";
import type { ConfState, Entry, HardState } from "../raft/types.ts";
import { EntryType } from "../raft/types.ts";

/**
 * The log's units on disk, as etcd's `storage/wal` has them.
 *
 * A frame is an 8-byte little-endian header, a `walpb.Record` and zero padding to a multiple of 8 bytes.
 * The header's low 56 bits are the record's length; its top byte is 0 without padding and `0x80 | pad` with
 * it. A header of zero ends the log. Example, an entry of term 1 at index 3 with data "a":
 *
 *     12 00 00 00 00 00 00 86   length 18, pad 6
 *     08 02                     Record.type = 2, an entry
 *     10 xx xx xx xx xx         Record.crc: CRC-32C of all data since the first segment, this one included
 *     1a 09                     Record.data: raftpb.Entry
 *       08 00 10 01 18 03 22 01 61
 *     00 00 00 00 00 00
 */
export const FRAME_HEADER_BYTES = 8;

/** `Record.type`. */
export const RecordType = { metadata: 1, entry: 2, state: 3, crc: 4, snapshot: 5 } as const;
export type RecordType = (typeof RecordType)[keyof typeof RecordType];

export const TYPE_TAG = 0x08;
export const CRC_TAG = 0x10;
export const DATA_TAG = 0x1a;
/**
 * Field 15 of the record that begins a save, always 1. Go's readers skip a field they do not know. A save
 * starts only when the one before it is durable, so this mark says "all before me was synced", which is
 * what tells damage to acknowledged records from a save that a crash cut short.
 */
export const SAVE_TAG = 0x78;

/** Where a snapshot stands in the log; opening a log at it skips what it covers. */
export interface SnapshotPosition {
  readonly index: RaftIndex;
  readonly term: Term;
}

/** A `walpb.Snapshot`. Only the record of a new log, and those of etcd before 3.5, have no `confState`. */
export interface SnapshotRecord extends SnapshotPosition {
  readonly confState: ConfState | undefined;
}

/** The bytes are not the message they should be. Never leaves this module: readers add file and offset. */
export class MalformedError extends Error {
  override readonly name = "MalformedError";
}

/** Zero bytes after a record of `length` bytes. */
export function paddingAfter(length: number): number {
  return (8 - (length & 7)) & 7;
}

/**
 * Length of the record that a frame header announces: 0 for the end of the log, -1 when no writer makes
 * such a header (wrong padding, or a length past 2^53).
 */
export function recordLengthAt(bytes: Uint8Array, at: number): number {
  const low = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  const high = bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16);
  const flags = bytes[at + 7]!;
  if (high >= 1 << 21) return -1;
  const length = high * 0x1_0000_0000 + low;
  const padding = paddingAfter(low);
  if (flags !== (padding === 0 ? 0 : 0x80 | padding)) return -1;
  return length;
}

/** The fields of a record before its data; one object is reused for all records of a log. */
export class RecordHead {
  type = 0;
  crc = 0;
  /** Whether the record begins a save. Records of other programs do not say so. */
  beginsSave = false;
  /** Data is `bytes[dataStart, dataEnd)`. */
  dataStart = 0;
  dataEnd = 0;

  /**
   * Reads `bytes[start, end)`, the beginning of a record of `length` bytes; false when it is none. Fields
   * must stand in the order in which all writers put them, and the data must end where the record does:
   * the second length makes a damaged header visible.
   */
  parse(bytes: Uint8Array, start: number, end: number, length: number): boolean {
    const reader = new MessageReader(bytes, start, end);
    try {
      if (reader.byte() !== TYPE_TAG) return false;
      this.type = reader.varint();
      if (reader.byte() !== CRC_TAG) return false;
      this.crc = reader.varint();
      if (this.crc > 0xffffffff) return false;
      const recordEnd = start + length;
      let tag = reader.at === recordEnd ? -1 : reader.byte();
      this.beginsSave = tag === SAVE_TAG;
      if (this.beginsSave) {
        if (reader.byte() !== 1) return false;
        tag = reader.at === recordEnd ? -1 : reader.byte();
      }
      let dataLength = 0;
      if (tag === DATA_TAG) dataLength = reader.varint();
      else if (tag !== -1) return false;
      this.dataStart = reader.at;
      this.dataEnd = reader.at + dataLength;
      return this.dataEnd === recordEnd;
    } catch (error) {
      if (error instanceof MalformedError) return false;
      throw error;
    }
  }
}

/** Bytes of a record before its data, at most: type, CRC, save mark, tag and length of the data. */
export const RECORD_HEAD_BYTES_MAX = 2 + 6 + 2 + 11;

/** Reads a protobuf message; throws `MalformedError`, and never reads past `end`. */
class MessageReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  at: number;

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes;
    this.at = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.at >= this.#end;
  }

  byte(): number {
    if (this.at >= this.#end) throw new MalformedError("message ends inside a field");
    return this.#bytes[this.at++]!;
  }

  /** A whole number below 2^53. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i += 1) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) {
        if (value > Number.MAX_SAFE_INTEGER) throw new MalformedError("number is past 2^53 - 1");
        return value;
      }
      scale *= 128;
    }
    throw new MalformedError("number has more than ten bytes");
  }

  varint64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new MalformedError("number has more than ten bytes");
  }

  /** The end of a length-delimited field whose length stands here. */
  fieldEnd(): number {
    const length = this.varint();
    if (length > this.#end - this.at) throw new MalformedError("field is longer than its message");
    return this.at + length;
  }
}

/**
 * A `raftpb.Entry`. Its data is a view of `bytes`. Fields it does not have are refused: the type of a
 * record is not covered by its CRC, so a flipped bit may present another message here.
 */
export function decodeEntry(bytes: Uint8Array, start: number, end: number): Entry {
  const reader = new MessageReader(bytes, start, end);
  let type = 0;
  let term = 0;
  let index = 0;
  let data = EMPTY_BYTES;
  while (!reader.done) {
    const tag = reader.byte();
    if (tag === 0x08) type = reader.varint();
    else if (tag === 0x10) term = reader.varint();
    else if (tag === 0x18) index = reader.varint();
    else if (tag === 0x22) {
      const dataEnd = reader.fieldEnd();
      if (dataEnd > reader.at) data = bytes.subarray(reader.at, dataEnd);
      reader.at = dataEnd;
    } else throw new MalformedError(`entry has a field with tag ${tag}`);
  }
  if (type !== EntryType.normal && type !== EntryType.confChange && type !== EntryType.confChangeV2) {
    throw new MalformedError(`entry is of type ${type}`);
  }
  if (term === 0 || index === 0) throw new MalformedError(`entry has term ${term}, index ${index}`);
  return { term: term as Term, index: index as RaftIndex, type, data };
}

/** A `raftpb.HardState`. */
export function decodeHardState(bytes: Uint8Array, start: number, end: number): HardState {
  const reader = new MessageReader(bytes, start, end);
  let term = 0;
  let vote = 0n;
  let commit = 0;
  while (!reader.done) {
    const tag = reader.byte();
    if (tag === 0x08) term = reader.varint();
    else if (tag === 0x10) vote = reader.varint64();
    else if (tag === 0x18) commit = reader.varint();
    else throw new MalformedError(`hard state has a field with tag ${tag}`);
  }
  return { term: term as Term, vote, commit: commit as RaftIndex };
}

/** A `walpb.Snapshot`. */
export function decodeSnapshot(bytes: Uint8Array, start: number, end: number): SnapshotRecord {
  const reader = new MessageReader(bytes, start, end);
  let index = 0;
  let term = 0;
  let confState: ConfState | undefined;
  while (!reader.done) {
    const tag = reader.byte();
    if (tag === 0x08) index = reader.varint();
    else if (tag === 0x10) term = reader.varint();
    else if (tag === 0x1a) {
      const fieldEnd = reader.fieldEnd();
      confState = decodeConfState(bytes, reader.at, fieldEnd);
      reader.at = fieldEnd;
    } else throw new MalformedError(`snapshot has a field with tag ${tag}`);
  }
  return { index: index as RaftIndex, term: term as Term, confState };
}

/** A `raftpb.ConfState`; its repeated fields may be packed or not. */
function decodeConfState(bytes: Uint8Array, start: number, end: number): ConfState {
  const reader = new MessageReader(bytes, start, end);
  const idsByField: bigint[][] = [[], [], [], []];
  let autoLeave = false;
  while (!reader.done) {
    const tag = reader.byte();
    const ids = idsByField[(tag >> 3) - 1];
    if (tag === 0x28) autoLeave = reader.varint() !== 0;
    else if (ids !== undefined && (tag & 7) === 0) ids.push(reader.varint64());
    else if (ids !== undefined && (tag & 7) === 2) {
      const fieldEnd = reader.fieldEnd();
      while (reader.at < fieldEnd) ids.push(reader.varint64());
      if (reader.at !== fieldEnd) throw new MalformedError("packed ids end inside one");
    } else throw new MalformedError(`conf state has a field with tag ${tag}`);
  }
  const [voters, learners, votersOutgoing, learnersNext] = idsByField as [
    bigint[],
    bigint[],
    bigint[],
    bigint[],
  ];
  return { voters, learners, votersOutgoing, learnersNext, autoLeave };
}
