/**
 * Reading and writing the protobuf wire format: what the generated codecs in `src/gen/codec` are made of.
 * The format: https://protobuf.dev/programming-guides/encoding/
 */
import type { ByteWriter } from "./byte_writer.ts";

/** Bytes that are not a protobuf message. The fault is the sender's. */
export class WireError extends Error {
  override readonly name = "WireError";
}

/** How deep messages may nest, the outermost counted. etcd's own depth comes from transactions in transactions. */
export const NESTING_MAX = 300;

/** A field that the schema does not know, in the shape of protobuf-es: `data` is all that follows the tag. */
export interface UnknownField {
  readonly no: number;
  readonly wireType: number;
  readonly data: Uint8Array;
}

/**
 * Where the last `read…` or `skip…` of this module ended, in `at`, because a function returns one value.
 * Take it before the next call. `low` and `high` are the halves of the last long varint.
 */
export const cursor = { at: 0, low: 0, high: 0 };

const VARINT = 0;
const FIXED64 = 1;
const LENGTH_DELIMITED = 2;
const FIXED32 = 5;

const TWO_POW_32 = 0x1_0000_0000;
const smallBigints: readonly bigint[] = Array.from({ length: 128 }, (_, value) => BigInt(value));

/** Joins two halves into a 64-bit integer without arithmetic on bigints. */
const signedWord = new BigInt64Array(1);
const unsignedWord = new BigUint64Array(signedWord.buffer);
const halves = new Uint32Array(signedWord.buffer);
const LOW = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

/** Reads a tag whose first byte says that more follow. `at` is that first byte. */
export function readLongTag(bytes: Uint8Array, at: number, end: number): number {
  let tag = 0;
  for (let i = 0; i < 5; i += 1) {
    if (at >= end) throw truncated();
    const byte = bytes[at++]!;
    tag += (byte & 127) * 2 ** (7 * i);
    if (byte < 128) {
      if (tag >= TWO_POW_32) break;
      cursor.at = at;
      return tag;
    }
  }
  throw new WireError("Tag does not fit 32 bits");
}

/** Reads the length of a field and checks that so many bytes follow; `cursor.at` is the first of them. */
export function readLength(bytes: Uint8Array, at: number, end: number): number {
  if (at >= end) throw truncated();
  let length = bytes[at]!;
  if (length < 128) {
    cursor.at = at + 1;
  } else {
    readVarint(bytes, at, end);
    length = cursor.high * TWO_POW_32 + cursor.low;
  }
  if (length > end - cursor.at) throw truncated();
  return length;
}

/** Reads a `bytes` field as a view on the input: it holds as long as the input does not change. */
export function readBytes(bytes: Uint8Array, at: number, end: number): Uint8Array {
  const length = readLength(bytes, at, end);
  const start = cursor.at;
  cursor.at = start + length;
  return bytes.subarray(start, start + length);
}

const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const TEXT_LOOP_MAX = 24;

/** Reads a `string` field. Throws a WireError when it is not UTF-8. */
export function readText(bytes: Uint8Array, at: number, end: number): string {
  const length = readLength(bytes, at, end);
  const start = cursor.at;
  const stop = start + length;
  cursor.at = stop;
  let text = "";
  if (length <= TEXT_LOOP_MAX) {
    let i = start;
    for (; i < stop && bytes[i]! < 128; i += 1) text += String.fromCharCode(bytes[i]!);
    if (i === stop) return text;
  }
  try {
    return textDecoder.decode(bytes.subarray(start, stop));
  } catch {
    throw new WireError("String is not UTF-8");
  }
}

export function readBool(bytes: Uint8Array, at: number, end: number): boolean {
  if (at >= end) throw truncated();
  const byte = bytes[at]!;
  if (byte < 128) {
    cursor.at = at + 1;
    return byte !== 0;
  }
  readVarint(bytes, at, end);
  return cursor.low !== 0 || cursor.high !== 0;
}

/** Reads an enum, known or not: the low 32 bits, signed. */
export function readEnum(bytes: Uint8Array, at: number, end: number): number {
  if (at >= end) throw truncated();
  const byte = bytes[at]!;
  if (byte < 128) {
    cursor.at = at + 1;
    return byte;
  }
  readVarint(bytes, at, end);
  return cursor.low | 0;
}

export function readInt64(bytes: Uint8Array, at: number, end: number): bigint {
  if (at >= end) throw truncated();
  const byte = bytes[at]!;
  if (byte < 128) {
    cursor.at = at + 1;
    return smallBigints[byte]!;
  }
  readVarint(bytes, at, end);
  halves[LOW] = cursor.low;
  halves[HIGH] = cursor.high;
  return signedWord[0]!;
}

export function readUint64(bytes: Uint8Array, at: number, end: number): bigint {
  if (at >= end) throw truncated();
  const byte = bytes[at]!;
  if (byte < 128) {
    cursor.at = at + 1;
    return smallBigints[byte]!;
  }
  readVarint(bytes, at, end);
  halves[LOW] = cursor.low;
  halves[HIGH] = cursor.high;
  return unsignedWord[0]!;
}

/** Reads a varint of up to 64 bits into `cursor.low` and `cursor.high`, both unsigned. */
export function readVarint(bytes: Uint8Array, at: number, end: number): void {
  let low = 0;
  let high = 0;
  for (let shift = 0; shift < 70; shift += 7) {
    if (at >= end) throw truncated();
    const byte = bytes[at++]!;
    const bits = byte & 127;
    if (shift < 28) {
      low |= bits << shift;
    } else if (shift === 28) {
      low |= bits << 28;
      high = bits >>> 4;
    } else {
      high |= bits << (shift - 32);
    }
    if (byte < 128) {
      if (shift === 63 && byte > 1) break;
      cursor.at = at;
      cursor.low = low >>> 0;
      cursor.high = high >>> 0;
      return;
    }
  }
  throw new WireError("Varint does not fit 64 bits");
}

/**
 * Reads a field that the schema does not know, or that has another wire type than the schema says, which
 * protobuf takes for the same thing. `at` is the first byte after the tag; returns where the next field begins.
 */
export function readUnknown(
  message: { $unknown?: UnknownField[] | undefined },
  tag: number,
  bytes: Uint8Array,
  at: number,
  end: number,
): number {
  const no = tag >>> 3;
  const wireType = tag & 7;
  if (no === 0) throw new WireError("Field number is 0");
  const next = skipField(wireType, bytes, at, end);
  const field = { no, wireType, data: bytes.subarray(at, next) };
  if (message.$unknown === undefined) message.$unknown = [field];
  else message.$unknown.push(field);
  return next;
}

function skipField(wireType: number, bytes: Uint8Array, at: number, end: number): number {
  switch (wireType) {
    case VARINT:
      readVarint(bytes, at, end);
      return cursor.at;
    case LENGTH_DELIMITED: {
      const length = readLength(bytes, at, end);
      return cursor.at + length;
    }
    case FIXED64:
    case FIXED32: {
      const next = at + (wireType === FIXED64 ? 8 : 4);
      if (next > end) throw truncated();
      return next;
    }
    default:
      // Groups (3, 4) are gone from the language since proto3; 6 and 7 were never defined.
      throw new WireError(`Wire type ${wireType} is not supported`);
  }
}

function truncated(): WireError {
  return new WireError("Message ends within a field");
}

/** Refuses a message at a depth (the outermost is at 1) past `NESTING_MAX`. */
export function checkDepth(depth: number): void {
  if (depth > NESTING_MAX) throw new WireError(`Messages nest deeper than ${NESTING_MAX} levels`);
}

/** Writes an integer or an enum, unless it is zero or absent. Numbers are safe integers. */
export function writeIntegerUnlessZero(
  out: ByteWriter,
  tag: number,
  value: bigint | number | undefined,
): void {
  if (value === undefined || value === 0 || value === 0n) return;
  writeInteger(out, tag, value);
}

/** Writes an integer or an enum. Numbers are safe integers. */
export function writeInteger(out: ByteWriter, tag: number, value: bigint | number): void {
  out.varint(tag);
  writeVarint(out, value);
}

/** A varint with no tag, as in packed fields. */
export function writeVarint(out: ByteWriter, value: bigint | number): void {
  if (typeof value === "bigint") out.varint64(value);
  else if (value < 0) out.varint64(BigInt(value));
  else out.varint(value);
}

export function writeBool(out: ByteWriter, tag: number, value: boolean): void {
  out.varint(tag);
  out.byte(value ? 1 : 0);
}

/** Writes a `bytes` field, or a message that is encoded already. */
export function writeBytes(out: ByteWriter, tag: number, value: Uint8Array): void {
  out.varint(tag);
  out.varint(value.length);
  out.write(value);
}

const textEncoder = new TextEncoder();

export function writeText(out: ByteWriter, tag: number, value: string): void {
  writeBytes(out, tag, textEncoder.encode(value));
}

/** Begins a message of unknown length. Returns what `endMessage` must be given when its fields are written. */
export function beginMessage(out: ByteWriter, tag: number): number {
  out.varint(tag);
  out.byte(0);
  return out.length;
}

/**
 * Writes the length of the message begun at `start`. One byte was left for it; a message of 128 bytes and
 * more is moved to make room, which is cheaper than a pass over every message to learn its size.
 */
export function endMessage(out: ByteWriter, start: number): void {
  const length = out.length - start;
  if (length < 128) {
    out.bytes[start - 1] = length;
    return;
  }
  const more = length < 0x4000 ? 1 : length < 0x20_0000 ? 2 : length < 0x1000_0000 ? 3 : 4;
  out.reserve(more);
  out.bytes.copyWithin(start + more, start, out.length);
  out.length = start - 1;
  out.varint(length);
  out.length += length;
}

/** Writes what a decoder did not know, as it came. */
export function writeUnknown(out: ByteWriter, fields: readonly UnknownField[]): void {
  for (const { no, wireType, data } of fields) {
    out.varint(no * 8 + wireType);
    out.write(data);
  }
}
