import { EMPTY_BYTES } from "../base/bytes.ts";
import type { ReadableFile } from "../ports/files.ts";

/*
 * The facts of LMDB's page format (mdb.c in lmdb-js 3, 64 bits, little endian) that it takes to follow its
 * trees. A page has a header of 24 bytes: its number (8), a transaction id (8), 2 unused, flags (2) and the
 * lower and upper bounds of its free space (2 + 2), or how many pages its value takes (4). Places of nodes
 * follow, 2 bytes each; places and bounds are counted from the header's end. Nodes stand between the upper
 * bound and the page's end. A node has 2 + 2 bytes of size or page number, 2 of flags (or the page number's
 * high part), 2 of key length, and then the key and the data.
 */
export const PAGE_HEADER_BYTES = 24;
const PAGE_TRANSACTION_AT = 8;
export const PAGE_FLAGS_AT = 18;
const LOWER_AT = 20;
const UPPER_AT = 22;
const VALUE_PAGES_AT = 20;
const NODE_HEADER_BYTES = 8;

/** What a page is: exactly one of these. The other bits of its flags say nothing about its contents. */
const BRANCH = 0x01;
const LEAF = 0x02;
/** The first page of a value that has pages of its own; the others are nothing but data. */
const OVERFLOW = 0x04;
const KINDS = 0x6f;
/** Flags of a leaf's node: its data is on pages of its own; its data is the head of another tree. */
const BIG_DATA = 0x01;
const SUB_TREE = 0x02;
/** Where a tree's head (48 bytes) has the number of its root page. */
const ROOT_AT = 40;
export const TREE_HEAD_BYTES = 48;
/** Head of data on pages of its own: first page (8), a transaction id (8), number of pages (8). */
const BIG_DATA_COUNT_AT = 16;
const BIG_DATA_HEAD_BYTES = 24;
export const META_PAGES = 2;

/** Pages read at a time where the next one to be looked at is near the last. */
const BLOCK_PAGES = 64;

/** What the meta page in effect says of its file. */
export interface TreeShape {
  readonly pageBytes: number;
  /** Highest number that a page has been given. */
  readonly lastPage: number;
  /** The transaction that wrote it. No page is of a later one: LMDB would take it for one in memory. */
  readonly transaction: number;
  /** Undefined for an empty tree. */
  readonly freeListRoot: number | undefined;
  readonly mainRoot: number | undefined;
}

/** Number of a tree's root page, from its head; undefined for an empty tree. */
export function rootOf(bytes: Uint8Array, treeHeadAt: number): number | undefined {
  const root = readUint64(bytes, treeHeadAt + ROOT_AT);
  return root === 0xffff_ffff_ffff_ffffn ? undefined : Number(root);
}

/**
 * Follows the trees from their roots, and says what is wrong with the first page that LMDB could not read
 * without leaving the page, the file or its own assertions; undefined when there is none. Each page in use is
 * read once, but for the data that has pages of its own, of which only the beginning is. What keys and values
 * hold is not looked at, nor which pages the free list names, only how many.
 */
export function findBrokenPage(file: ReadableFile, shape: TreeShape): string | undefined {
  const walk = new TreeWalk(file, shape);
  return walk.follow(shape.freeListRoot, true) ?? walk.follow(shape.mainRoot, false);
}

class TreeWalk {
  readonly #file: ReadableFile;
  readonly #pageBytes: number;
  readonly #lastPage: number;
  readonly #transaction: number;
  readonly #pagesInFile: number;
  /**
   * A bit for each page that something refers to. Invariant: a page is referred to once, so that the walk
   * ends, and `#left` is never longer than the file.
   */
  readonly #taken: Uint8Array;
  /** Pages still to be read. */
  readonly #left: number[] = [];
  /** Pages read together, and the number of the first. */
  #block: Uint8Array = EMPTY_BYTES;
  #blockStart = 0;
  #lastRead = 0;

  constructor(file: ReadableFile, { pageBytes, lastPage, transaction }: TreeShape) {
    this.#file = file;
    this.#pageBytes = pageBytes;
    this.#lastPage = lastPage;
    this.#transaction = transaction;
    this.#pagesInFile = Math.floor(file.sizeBytes / pageBytes);
    this.#taken = new Uint8Array(Math.ceil(this.#pagesInFile / 8));
  }

  follow(root: number | undefined, isFreeList: boolean): string | undefined {
    if (root === undefined) return undefined;
    const problem = this.#takePage(root);
    if (problem !== undefined) return `the head of a tree ${problem}`;
    for (let number = this.#left.pop(); number !== undefined; number = this.#left.pop()) {
      const page = this.#readPage(number);
      const problem = this.#followPage(page, number, isFreeList);
      if (problem !== undefined) return `${this.#name(number)} ${problem}`;
    }
  }

  #followPage(page: Uint8Array, number: number, isFreeList: boolean): string | undefined {
    const kind = readUint16(page, PAGE_FLAGS_AT) & KINDS;
    if (!this.#isHeaderOf(page, number) || (kind !== BRANCH && kind !== LEAF)) return "is no page of a tree";
    const lower = readUint16(page, LOWER_AT);
    const upper = readUint16(page, UPPER_AT);
    const end = page.length - PAGE_HEADER_BYTES;
    // LMDB allows a branch of one node in the free list only.
    const nodesMin = kind === BRANCH && !isFreeList ? 2 : 1;
    if (lower % 2 !== 0 || lower < nodesMin * 2 || lower > upper || upper > end) return "is damaged";
    for (let at = 0; at < lower; at += 2) {
      const place = readUint16(page, PAGE_HEADER_BYTES + at);
      if (place % 2 !== 0 || place < upper || place + NODE_HEADER_BYTES > end) return "is damaged";
      const node = place + PAGE_HEADER_BYTES;
      const problem = kind === BRANCH
        ? this.#followBranchNode(page, node)
        : this.#followLeafNode(page, node) ?? (isFreeList ? this.#checkFreePages(page, node) : undefined);
      if (problem !== undefined) return problem;
    }
  }

  #followBranchNode(page: Uint8Array, node: number): string | undefined {
    if (dataOf(page, node) > page.length) return "is damaged";
    return this.#takePage(readUint32(page, node) + readUint16(page, node + 4) * 0x1_0000_0000);
  }

  #followLeafNode(page: Uint8Array, node: number): string | undefined {
    const sizeBytes = readUint32(page, node);
    const data = dataOf(page, node);
    switch (readUint16(page, node + 4)) {
      case 0:
        return data + sizeBytes > page.length ? "is damaged" : undefined;
      case SUB_TREE: {
        if (sizeBytes !== TREE_HEAD_BYTES || data + TREE_HEAD_BYTES > page.length) return "is damaged";
        const root = rootOf(page, data);
        return root === undefined ? undefined : this.#takePage(root);
      }
      case BIG_DATA:
        return data + BIG_DATA_HEAD_BYTES > page.length
          ? "is damaged"
          : this.#takeValue(page, data, sizeBytes);
      default:
        return "is damaged";
    }
  }

  /** A node of the free list: the key is a transaction's id, the value a count and as many page numbers. */
  #checkFreePages(page: Uint8Array, node: number): string | undefined {
    const sizeBytes = readUint32(page, node);
    const data = dataOf(page, node);
    if (readUint16(page, node + 6) !== 8 || sizeBytes < 8) return "is damaged";
    const isBig = readUint16(page, node + 4) === BIG_DATA;
    const list = isBig
      ? this.#readPage(Number(readUint64(page, data))).subarray(PAGE_HEADER_BYTES)
      : page.subarray(data, data + 8);
    return Number(readUint64(list, 0)) > sizeBytes / 8 - 1 ? "has a damaged list of free pages" : undefined;
  }

  /** Puts a page on the list of those to be read. */
  #takePage(number: number): string | undefined {
    const problem = this.#take(number);
    if (problem === undefined) this.#left.push(number);
    return problem;
  }

  /** Looks at the pages of a value of `sizeBytes`, given the head that stands for it in a leaf. */
  #takeValue(page: Uint8Array, headAt: number, sizeBytes: number): string | undefined {
    const first = Number(readUint64(page, headAt));
    const count = Number(readUint64(page, headAt + BIG_DATA_COUNT_AT));
    // A shorter value that has taken the place of a longer one keeps the pages of that one.
    if (count < Math.ceil((PAGE_HEADER_BYTES + sizeBytes) / this.#pageBytes)) return "is damaged";
    for (let i = 0; i < count; i += 1) {
      const problem = this.#take(first + i);
      if (problem !== undefined) return problem;
    }
    const header = this.#readPage(first);
    const isFirst = this.#isHeaderOf(header, first) &&
      (readUint16(header, PAGE_FLAGS_AT) & KINDS) === OVERFLOW &&
      readUint32(header, VALUE_PAGES_AT) === count;
    return isFirst
      ? undefined
      : `refers to ${this.#name(first)}, which does not begin the value that it should`;
  }

  #take(number: number): string | undefined {
    if (number < META_PAGES || number > this.#lastPage) return `refers to page ${number}, which cannot be`;
    if (number >= this.#pagesInFile) return `refers to page ${number}, which is missing`;
    const bit = 1 << (number & 7);
    if ((this.#taken[number >>> 3]! & bit) !== 0) return `refers to page ${number}, as another one does`;
    this.#taken[number >>> 3]! |= bit;
  }

  /** A page that is in the file; with those around it, as long as the walk stays in one neighbourhood. */
  #readPage(number: number): Uint8Array {
    const pageBytes = this.#pageBytes;
    if (number < this.#blockStart || number >= this.#blockStart + this.#block.length / pageBytes) {
      const pages = Math.abs(number - this.#lastRead) < BLOCK_PAGES ? BLOCK_PAGES : 1;
      this.#blockStart = number - number % pages;
      this.#block = this.#file.readAt(this.#blockStart * pageBytes, pages * pageBytes);
    }
    this.#lastRead = number;
    const at = (number - this.#blockStart) * pageBytes;
    return this.#block.subarray(at, at + pageBytes);
  }

  #isHeaderOf(header: Uint8Array, number: number): boolean {
    return Number(readUint64(header, 0)) === number &&
      Number(readUint64(header, PAGE_TRANSACTION_AT)) <= this.#transaction;
  }

  #name(number: number): string {
    return `page ${number} (offset ${number * this.#pageBytes})`;
  }
}

/** Where a node's data begins, which is where its key ends. */
function dataOf(page: Uint8Array, node: number): number {
  return node + NODE_HEADER_BYTES + readUint16(page, node + 6);
}

function readUint16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function readUint32(bytes: Uint8Array, at: number): number {
  return readUint16(bytes, at) + readUint16(bytes, at + 2) * 0x1_0000;
}

function readUint64(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(at, true);
}
