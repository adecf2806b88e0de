import { ByteWriter } from "../../base/byte_writer.ts";
import type { HeaderField } from "../api.ts";
import { encodeHuffman, huffmanEncodedLength } from "./huffman.ts";
import { staticTable } from "./table.ts";

const INDEXED = 0x80;
const WITHOUT_INDEXING = 0x00;
const NEVER_INDEXED = 0x10;
const HUFFMAN_CODED = 0x80;
/** "The table has no room at all": a dynamic table size update to 0 (RFC 7541 section 6.3). */
export const TABLE_SIZE_ZERO = 0x20;

/** Values that no table on the way may keep (RFC 7541 section 7.1.3). */
const secretNames: ReadonlySet<string> = new Set(["authorization", "cookie", "token"]);

const indexOfField = new Map<string, number>();
const indexOfName = new Map<string, number>();
staticTable.forEach(({ field: [name, value] }, at) => {
  if (value !== "") indexOfField.set(`${name}\n${value}`, at + 1);
  if (!indexOfName.has(name)) indexOfName.set(name, at + 1);
});

/**
 * Appends fields that refer to the static table or are literals without indexing. No dynamic table is used:
 * the bytes mean the same on every connection, and blocks that recur are encoded once by `encodeStaticBlock`.
 */
export function encodeFields(out: ByteWriter, fields: readonly HeaderField[]): void {
  for (const [name, value] of fields) {
    const whole = indexOfField.get(`${name}\n${value}`);
    if (whole !== undefined) {
      integer(out, INDEXED, 7, whole);
      continue;
    }
    const nameIndex = indexOfName.get(name) ?? 0;
    integer(out, secretNames.has(name) ? NEVER_INDEXED : WITHOUT_INDEXING, 4, nameIndex);
    if (nameIndex === 0) string(out, name);
    string(out, value);
  }
}

/** A header block for `sendBlock`, good for every connection. Names are lower case, values latin-1. */
export function encodeStaticBlock(fields: readonly HeaderField[]): Uint8Array {
  const out = new ByteWriter();
  encodeFields(out, fields);
  return out.toBytes();
}

function integer(out: ByteWriter, pattern: number, prefixBits: number, value: number): void {
  const prefixMax = (1 << prefixBits) - 1;
  if (value < prefixMax) return out.byte(pattern | value);
  out.byte(pattern | prefixMax);
  // What is left has the form of a protobuf varint.
  out.varint(value - prefixMax);
}

function string(out: ByteWriter, text: string): void {
  const huffmanLength = huffmanEncodedLength(text);
  if (huffmanLength < text.length) {
    integer(out, HUFFMAN_CODED, 7, huffmanLength);
    return encodeHuffman(out, text);
  }
  integer(out, 0, 7, text.length);
  out.reserve(text.length);
  for (let i = 0; i < text.length; i += 1) out.byte(text.charCodeAt(i));
}
