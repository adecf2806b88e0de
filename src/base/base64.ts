import type { ByteWriter } from "./byte_writer.ts";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_ALPHABET = ALPHABET.slice(0, 62) + "-_";
const PAD = 0x3d;
const INVALID = 64;

const encodeTable = Uint8Array.from(ALPHABET, (character) => character.charCodeAt(0));
const standardTable = decodeTable(ALPHABET);
const urlTable = decodeTable(URL_ALPHABET);

function decodeTable(alphabet: string): Uint8Array {
  const table = new Uint8Array(256).fill(INVALID);
  for (let i = 0; i < 64; i += 1) table[alphabet.charCodeAt(i)] = i;
  return table;
}

/** Appends the base64 text of bytes (RFC 4648 §4, padded). */
export function encodeBase64(out: ByteWriter, bytes: Uint8Array, start: number, end: number): void {
  out.reserve(Math.ceil((end - start) / 3) * 4);
  const target = out.bytes;
  let to = out.length;
  let at = start;
  for (const whole = end - 2; at < whole; at += 3) {
    const bits = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    target[to] = encodeTable[bits >>> 18]!;
    target[to + 1] = encodeTable[(bits >>> 12) & 63]!;
    target[to + 2] = encodeTable[(bits >>> 6) & 63]!;
    target[to + 3] = encodeTable[bits & 63]!;
    to += 4;
  }
  if (at < end) {
    const two = at + 1 < end;
    const bits = (bytes[at]! << 16) | (two ? bytes[at + 1]! << 8 : 0);
    target[to] = encodeTable[bits >>> 18]!;
    target[to + 1] = encodeTable[(bits >>> 12) & 63]!;
    target[to + 2] = two ? encodeTable[(bits >>> 6) & 63]! : PAD;
    target[to + 3] = PAD;
    to += 4;
  }
  out.length = to;
}

/**
 * Appends the bytes that base64 text stands for, after their number as a varint, and returns that number; or
 * appends nothing and returns undefined when the text is no base64. Either alphabet will do, and padding is
 * optional, as the JSON form of protobuf has it.
 */
export function decodeBase64(
  text: Uint8Array,
  start: number,
  end: number,
  out: ByteWriter,
): number | undefined {
  let stop = end;
  if ((end - start) % 4 === 0 && stop > start && text[stop - 1] === PAD) {
    stop -= text[stop - 2] === PAD ? 2 : 1;
  }
  if ((stop - start) % 4 === 1) return undefined;
  const length = Math.floor((stop - start) * 3 / 4);
  const before = out.length;
  out.varint(length);
  out.reserve(length);
  if (decodeWith(standardTable, text, start, stop, out) || decodeWith(urlTable, text, start, stop, out)) {
    out.length += length;
    return length;
  }
  out.length = before;
  return undefined;
}

/** Writes behind `out.length` without moving it; false at the first character that is not in the table. */
function decodeWith(
  table: Uint8Array,
  text: Uint8Array,
  start: number,
  stop: number,
  out: ByteWriter,
): boolean {
  const target = out.bytes;
  let to = out.length;
  let at = start;
  for (const whole = stop - 3; at < whole; at += 4) {
    const a = table[text[at]!]!;
    const b = table[text[at + 1]!]!;
    const c = table[text[at + 2]!]!;
    const d = table[text[at + 3]!]!;
    if ((a | b | c | d) >= INVALID) return false;
    const bits = (a << 18) | (b << 12) | (c << 6) | d;
    target[to] = bits >>> 16;
    target[to + 1] = bits >>> 8;
    target[to + 2] = bits;
    to += 3;
  }
  const left = stop - at;
  if (left === 0) return true;
  const a = table[text[at]!]!;
  const b = table[text[at + 1]!]!;
  const c = left === 3 ? table[text[at + 2]!]! : 0;
  if ((a | b | c) >= INVALID) return false;
  target[to] = (a << 2) | (b >>> 4);
  if (left === 3) target[to + 1] = (b << 4) | (c >>> 2);
  return true;
}
