import { ByteWriter } from "../../base/byte_writer.ts";
import type { HeaderField } from "../api.ts";
import { encodeHuffman, huffmanEncodedLength } from "./huffman.ts";
import { staticTable } from "./table.ts";

const INDEXED = 0x80;
const WITH_INDEXING = 0x40;
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
 * Appends a field that refers to the static table or is a literal without indexing: the bytes mean the same on every
 * connection.
 */
export function encodeField(out: ByteWriter, [name, value]: HeaderField): void {
  const whole = indexOfField.get(`${name}\n${value}`);
  if (whole !== undefined) return encodeIndexed(out, whole);
  literal(out, secretNames.has(name) ? NEVER_INDEXED : WITHOUT_INDEXING, 4, name, value);
}

/** Appends a field by its index in the static or the dynamic table. */
export function encodeIndexed(out: ByteWriter, index: number): void {
  integer(out, INDEXED, 7, index);
}

/** Appends a field that the peer puts into its dynamic table. */
export function encodeInsertion(out: ByteWriter, [name, value]: HeaderField): void {
  literal(out, WITH_INDEXING, 6, name, value);
}

/** A header block for `sendBlock`, good for every connection. Names are lower case, values latin-1. */
export function encodeStaticBlock(fields: readonly HeaderField[]): Uint8Array {
  const out = new ByteWriter();
  for (const field of fields) encodeField(out, field);
  return out.toBytes();
}

function literal(out: ByteWriter, pattern: number, prefixBits: number, name: string, value: string): void {
  const nameIndex = indexOfName.get(name) ?? 0;
  integer(out, pattern, prefixBits, nameIndex);
  if (nameIndex === 0) string(out, name);
  string(out, value);
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
