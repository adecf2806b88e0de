import type { ReadableFile } from "../ports/files.ts";
import { textFromBytes } from "./byte_text.ts";
import {
  BIG_DATA,
  BIG_DATA_COUNT_AT,
  BIG_DATA_HEAD_BYTES,
  BRANCH,
  dataOf,
  KINDS,
  LEAF,
  LOWER_AT,
  META_PAGES,
  NODE_HEADER_BYTES,
  OVERFLOW,
  PAGE_FLAGS_AT,
  PAGE_HEADER_BYTES,
  PAGE_TRANSACTION_AT,
  PageReader,
  readUint16,
  readUint32,
  readUint64,
  recordsOf,
  rootOf,
  SUB_TREE,
  TREE_HEAD_BYTES,
  UPPER_AT,
  VALUE_PAGES_AT,
} from "./lmdb_page.ts";

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

/** What `walkTrees` found out. */
export interface TreesFound {
  /** What is wrong with the first page that is broken; undefined when there is none. */
  readonly problem: string | undefined;
  /** The tree asked for, if the main tree has it. */
  readonly named: NamedTree | undefined;
}

/** A tree that is the value of a key in the main tree. */
export interface NamedTree {
  readonly records: number;
  /** Its leaves in the order of its keys. */
  readonly leaves: readonly number[];
}

/** A tree that has been come upon in another one. */
interface SubTree {
  readonly key: string;
  readonly root: number | undefined;
  readonly records: number;
}

/**
 * Follows the trees from their roots, and says what is wrong with the first page that LMDB could not read
 * without leaving the page, the file or its own assertions. Each page in use is read once, but for the data
 * that has pages of its own, of which only the beginning is. What keys and values hold is not looked at, nor
 * which pages the free list names, only how many.
 */
export function walkTrees(file: ReadableFile, shape: TreeShape, name: string): TreesFound {
  const walk = new TreeWalk(file, shape);
  let problem = walk.follow(shape.freeListRoot, true) ?? walk.follow(shape.mainRoot, false);
  const sought = walk.subTrees.findIndex(({ key }) => key === `${name}\0`);
  let named: NamedTree | undefined;
  // More are found on the way when a tree has trees itself.
  for (let i = 0; i < walk.subTrees.length && problem === undefined; i += 1) {
    const { root, records } = walk.subTrees[i]!;
    walk.leaves = [];
    if (root !== undefined) problem = walk.followTaken(root, false);
    if (i === sought) named = { records, leaves: walk.leaves };
  }
  return { problem, named };
}

class TreeWalk {
  readonly #pageBytes: number;
  readonly #lastPage: number;
  readonly #transaction: number;
  readonly #pagesInFile: number;
  /**
   * A bit for each page that something refers to. Invariant: a page is referred to once, so that the walk
   * ends, and `#left` is never longer than the file.
   */
  readonly #taken: Uint8Array;
  /** Pages still to be read, the next one last. */
  readonly #left: number[] = [];
  readonly #treePages: PageReader;
  /** Apart, so that a page of a tree stays in memory while the values that it refers to are looked at. */
  readonly #valuePages: PageReader;
  /** Leaves of the tree being followed, in the order of its keys. */
  leaves: number[] = [];
  /** Trees that others have, still to be followed. */
  readonly subTrees: SubTree[] = [];

  constructor(file: ReadableFile, { pageBytes, lastPage, transaction }: TreeShape) {
    this.#treePages = new PageReader(file, pageBytes);
    this.#valuePages = new PageReader(file, pageBytes);
    this.#pageBytes = pageBytes;
    this.#lastPage = lastPage;
    this.#transaction = transaction;
    this.#pagesInFile = Math.floor(file.sizeBytes / pageBytes);
    this.#taken = new Uint8Array(Math.ceil(this.#pagesInFile / 8));
  }

  follow(root: number | undefined, isFreeList: boolean): string | undefined {
    if (root === undefined) return undefined;
    const problem = this.#take(root);
    if (problem !== undefined) return `the head of a tree ${problem}`;
    return this.followTaken(root, isFreeList);
  }

  followTaken(root: number, isFreeList: boolean): string | undefined {
    this.#left.push(root);
    for (let number = this.#left.pop(); number !== undefined; number = this.#left.pop()) {
      const page = this.#treePages.read(number);
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
    if (kind === LEAF) this.leaves.push(number);
    // The first child is to be the last one on the list.
    for (let at = lower - 2; at >= 0; at -= 2) {
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
        return this.#takeSubTree({
          key: textFromBytes(page.subarray(node + NODE_HEADER_BYTES, data)),
          root: rootOf(page, data),
          records: recordsOf(page, data),
        });
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
      ? this.#valuePages.read(Number(readUint64(page, data))).subarray(PAGE_HEADER_BYTES)
      : page.subarray(data, data + 8);
    return Number(readUint64(list, 0)) > sizeBytes / 8 - 1 ? "has a damaged list of free pages" : undefined;
  }

  /** Puts a page on the list of those to be read. */
  #takePage(number: number): string | undefined {
    const problem = this.#take(number);
    if (problem === undefined) this.#left.push(number);
    return problem;
  }

  #takeSubTree(tree: SubTree): string | undefined {
    this.subTrees.push(tree);
    return tree.root === undefined ? undefined : this.#take(tree.root);
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
    const header = this.#valuePages.read(first);
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

  #isHeaderOf(header: Uint8Array, number: number): boolean {
    return Number(readUint64(header, 0)) === number &&
      Number(readUint64(header, PAGE_TRANSACTION_AT)) <= this.#transaction;
  }

  #name(number: number): string {
    return `page ${number} (offset ${number * this.#pageBytes})`;
  }
}
