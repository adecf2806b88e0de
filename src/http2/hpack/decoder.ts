import { EMPTY_BYTES } from "../../base/bytes.ts";
import { decodeHuffman, HUFFMAN_MALFORMED, huffmanDecodedMax } from "./huffman.ts";
import { DynamicTable, HeaderEntry, staticTable } from "./table.ts";

/** Integers of the format are lengths and indices; nothing valid comes near this. */
const INTEGER_MAX = 1 << 28;
/** Arguments that `String.fromCharCode.apply` takes at a time on every runtime. */
const APPLY_MAX = 4096;

/** Where Huffman strings are decoded. Shared: it is read out before anything else can happen. */
let scratch = new Uint8Array(1_024);

/** Takes the fields of a block, in order. */
export interface HeaderSink {
  onHeader(entry: HeaderEntry): void;
}

/** Decodes HPACK header blocks (RFC 7541). One per connection: blocks build on the ones before. */
export class HpackDecoder {
  readonly #table: DynamicTable;
  #bytes: Uint8Array = EMPTY_BYTES;
  #at = 0;
  #end = 0;
  #referredToDynamic = false;

  /** `tableSizeMax` is our SETTINGS_HEADER_TABLE_SIZE, in octets. */
  constructor(tableSizeMax: number) {
    this.#table = new DynamicTable(tableSizeMax);
  }

  /** The dynamic table. Of a block that leaves its version alone, the same bytes mean the same again at that version. */
  get table(): DynamicTable {
    return this.#table;
  }

  /** True when the last block decoded referred to the dynamic table. */
  get referredToDynamic(): boolean {
    return this.#referredToDynamic;
  }

  /**
   * Decodes the complete block `bytes[start, end)`. False means malformed: a connection error of type
   * COMPRESSION_ERROR, after which the decoder is of no use.
   */
  decode(bytes: Uint8Array, start: number, end: number, sink: HeaderSink): boolean {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#referredToDynamic = false;
    let sizeUpdates = 0;
    let fieldSeen = false;
    while (this.#at < this.#end) {
      const first = bytes[this.#at]!;
      if ((first & 0xe0) === 0x20) {
        // Up to two updates may begin a block: the lowest size since the last one, and the final size.
        sizeUpdates += 1;
        if (fieldSeen || sizeUpdates > 2) return false;
        const size = this.#integer(5);
        if (size < 0 || !this.#table.resize(size)) return false;
        continue;
      }
      fieldSeen = true;
      const entry = (first & 0x80) !== 0 ? this.#indexed() : this.#literal((first & 0x40) !== 0);
      if (entry === undefined) return false;
      sink.onHeader(entry);
    }
    return true;
  }

  #indexed(): HeaderEntry | undefined {
    const index = this.#integer(7);
    return index < 1 ? undefined : this.#entry(index);
  }

  #literal(indexing: boolean): HeaderEntry | undefined {
    const index = this.#integer(indexing ? 6 : 4);
    if (index < 0) return undefined;
    const name = index === 0 ? this.#string() : this.#entry(index)?.field[0];
    if (name === undefined) return undefined;
    const value = this.#string();
    if (value === undefined) return undefined;
    const entry = new HeaderEntry(name, value);
    if (indexing) this.#table.insert(entry);
    return entry;
  }

  #entry(index: number): HeaderEntry | undefined {
    if (index <= staticTable.length) return staticTable[index - 1];
    this.#referredToDynamic = true;
    return this.#table.entryAt(index - staticTable.length - 1);
  }

  /** Section 5.1. Below 0 when malformed, cut off or too large. */
  #integer(prefixBits: number): number {
    if (this.#at >= this.#end) return -1;
    const prefixMax = (1 << prefixBits) - 1;
    let value = this.#bytes[this.#at++]! & prefixMax;
    if (value < prefixMax) return value;
    for (let shift = 0; shift <= 28; shift += 7) {
      if (this.#at >= this.#end) return -1;
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) * 2 ** shift;
      if (value > INTEGER_MAX) return -1;
      if (byte < 0x80) return value;
    }
    return -1;
  }

  /** Section 5.2: a latin-1 string. */
  #string(): string | undefined {
    if (this.#at >= this.#end) return undefined;
    const huffman = (this.#bytes[this.#at]! & 0x80) !== 0;
    const length = this.#integer(7);
    if (length < 0 || length > this.#end - this.#at) return undefined;
    const start = this.#at;
    this.#at += length;
    if (!huffman) return latin1(this.#bytes, start, this.#at);
    const decodedMax = huffmanDecodedMax(length);
    if (decodedMax > scratch.length) scratch = new Uint8Array(decodedMax * 2);
    const decoded = decodeHuffman(this.#bytes, start, this.#at, scratch);
    return decoded === HUFFMAN_MALFORMED ? undefined : latin1(scratch, 0, decoded);
  }
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at += APPLY_MAX) {
    const part = bytes.subarray(at, Math.min(end, at + APPLY_MAX));
    text += String.fromCharCode.apply(null, part as unknown as number[]);
  }
  return text;
}
