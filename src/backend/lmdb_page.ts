import { EMPTY_BYTES } from "../base/bytes.ts";
import type { ReadableFile } from "../ports/files.ts";

/*
 * The facts of LMDB's page format (mdb.c in lmdb-js 3, 64 bits, little endian) that it takes to read its
 * trees. A page has a header of 24 bytes: its number (8), a transaction id (8), 2 unused, flags (2) and the
 * lower and upper bounds of its free space (2 + 2), or how many pages its value takes (4). Places of nodes
 * follow, 2 bytes each; places and bounds are counted from the header's end. Nodes stand between the upper
 * bound and the page's end. A node has 2 + 2 bytes of size or page number, 2 of flags (or the page number's
 * high part), 2 of key length, and then the key and the data.
 */
export const PAGE_HEADER_BYTES = 24;
export const PAGE_TRANSACTION_AT = 8;
export const PAGE_FLAGS_AT = 18;
export const LOWER_AT = 20;
export const UPPER_AT = 22;
export const VALUE_PAGES_AT = 20;
export const NODE_HEADER_BYTES = 8;

/** What a page is: exactly one of these. The other bits of its flags say nothing about its contents. */
export const BRANCH = 0x01;
export const LEAF = 0x02;
/** The first page of a value that has pages of its own; the others are nothing but data. */
export const OVERFLOW = 0x04;
export const KINDS = 0x6f;
/** Flags of a leaf's node: its data is on pages of its own; its data is the head of another tree. */
export const BIG_DATA = 0x01;
export const SUB_TREE = 0x02;
/** Where a tree's head (48 bytes) has the number of its records, and that of its root page. */
const RECORDS_AT = 32;
const ROOT_AT = 40;
export const TREE_HEAD_BYTES = 48;
/** Head of data on pages of its own: first page (8), a transaction id (8), number of pages (8). */
export const BIG_DATA_COUNT_AT = 16;
export const BIG_DATA_HEAD_BYTES = 24;
export const META_PAGES = 2;

/** Pages read at a time where the next one to be looked at is near the last. */
const BLOCK_PAGES = 64;

/** Number of a tree's root page, from its head; undefined for an empty tree. */
export function rootOf(bytes: Uint8Array, treeHeadAt: number): number | undefined {
  const root = readUint64(bytes, treeHeadAt + ROOT_AT);
  return root === 0xffff_ffff_ffff_ffffn ? undefined : Number(root);
}

export function recordsOf(bytes: Uint8Array, treeHeadAt: number): number {
  return Number(readUint64(bytes, treeHeadAt + RECORDS_AT));
}

/** Reads pages, with those around them as long as they are near each other. */
export class PageReader {
  readonly #file: ReadableFile;
  readonly #pageBytes: number;
  readonly #memory: Uint8Array;
  /** Pages read together, and the number of the first. */
  #block: Uint8Array = EMPTY_BYTES;
  #blockStart = 0;
  #lastRead = 0;

  constructor(file: ReadableFile, pageBytes: number) {
    this.#file = file;
    this.#pageBytes = pageBytes;
    this.#memory = new Uint8Array(BLOCK_PAGES * pageBytes);
  }

  /** A page that is in the file; good until the next one is read. */
  read(number: number): Uint8Array {
    const pageBytes = this.#pageBytes;
    if (number < this.#blockStart || number >= this.#blockStart + this.#block.length / pageBytes) {
      const pages = Math.abs(number - this.#lastRead) < BLOCK_PAGES ? BLOCK_PAGES : 1;
      this.#blockStart = number - number % pages;
      this.#block = this.#file.readAt(this.#blockStart * pageBytes, pages * pageBytes, this.#memory);
    }
    this.#lastRead = number;
    const at = (number - this.#blockStart) * pageBytes;
    return this.#block.subarray(at, at + pageBytes);
  }
}

/** Reads the records of one leaf after another, which has been checked, without an object for each. */
export class LeafReader {
  page: Uint8Array = EMPTY_BYTES;
  /** Number of records. */
  count = 0;
  /** Of the selected record: the key is `page[keyStart, dataStart)`, and so many bytes of data follow, unless… */
  keyStart = 0;
  dataStart = 0;
  dataBytes = 0;
  /** … they have pages of their own: the first of them. */
  valuePage: number | undefined;

  open(page: Uint8Array): this {
    this.page = page;
    this.count = readUint16(page, LOWER_AT) / 2;
    return this;
  }

  select(record: number): this {
    const { page } = this;
    const node = readUint16(page, PAGE_HEADER_BYTES + record * 2) + PAGE_HEADER_BYTES;
    this.keyStart = node + NODE_HEADER_BYTES;
    this.dataStart = dataOf(page, node);
    this.dataBytes = readUint32(page, node);
    const isBig = readUint16(page, node + 4) === BIG_DATA;
    this.valuePage = isBig ? Number(readUint64(page, this.dataStart)) : undefined;
    return this;
  }
}

/** Where a node's data begins, which is where its key ends. */
export function dataOf(page: Uint8Array, node: number): number {
  return node + NODE_HEADER_BYTES + readUint16(page, node + 6);
}

export function readUint16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return readUint16(bytes, at) + readUint16(bytes, at + 2) * 0x1_0000;
}

export function readUint64(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(at, true);
}
