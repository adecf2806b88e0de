import type { ReadableFile } from "../ports/files.ts";

/*
 * The few facts of LMDB's page format (mdb.c in lmdb-js 3, 64 bits, little endian) that it takes to follow
 * page numbers. A page has a header of 24 bytes: its number (8), a transaction id (8), 2 unused, flags (2) and
 * the lower bound of its free space (2). Places of nodes follow, 2 bytes each, counted from the header's end.
 * A node has 2 + 2 bytes of size or page number, 2 of flags (or the page number's high part), 2 of key length,
 * and then the key and the data. Nodes stand between the upper bound of the free space and the page's end.
 */
export const PAGE_HEADER_BYTES = 24;
export const PAGE_FLAGS_AT = 18;
const LOWER_AT = 20;
const UPPER_AT = 22;
const NODE_HEADER_BYTES = 8;

const BRANCH = 0x01;
const LEAF = 0x02;
/** The first page of data that has pages of its own; the others are nothing but data. */
const OVERFLOW = 0x04;
/** Flags of a leaf's node: its data is on pages of its own; its data is the head of another tree. */
const BIG_DATA = 0x01;
const SUB_TREE = 0x02;
/** Where a tree's head (48 bytes) has the number of its root page. */
const ROOT_AT = 40;
export const TREE_HEAD_BYTES = 48;
/** Head of data on pages of its own: first page (8), a transaction id (8), number of pages (8). */
const BIG_DATA_COUNT_AT = 16;
const BIG_DATA_HEAD_BYTES = 24;

/** Number of a tree's root page, from its head; undefined for an empty tree. */
export function rootOf(bytes: Uint8Array, treeHeadAt: number): number | undefined {
  const root = readUint64(bytes, treeHeadAt + ROOT_AT);
  return root === 0xffff_ffff_ffff_ffffn ? undefined : Number(root);
}

/**
 * Follows the trees from their roots and says what is wrong with the first page that is not in the file or is
 * no page of a tree; undefined when all are there. It reads every page that is in use, but
 * for the data that has pages of its own.
 */
export function findBrokenPage(
  file: ReadableFile,
  pageBytes: number,
  roots: readonly number[],
): string | undefined {
  const pagesInFile = Math.floor(file.sizeBytes / pageBytes);
  const pages = [...roots];
  const dataPages: number[] = [];
  for (let visited = 0; pages.length > 0; visited += 1) {
    const number = pages.pop()!;
    if (number >= pagesInFile) return `page ${number} is missing`;
    if (visited > pagesInFile) return "pages refer to each other in a circle";
    const page = file.readAt(number * pageBytes, pageBytes);
    const problem = followPage(page, number, { pages, dataPages, pagesInFile });
    if (problem !== undefined) return `page ${number} (offset ${number * pageBytes}) ${problem}`;
    for (const first of dataPages) {
      const header = file.readAt(first * pageBytes, PAGE_HEADER_BYTES);
      if (pageNumberOf(header) !== first || (readUint16(header, PAGE_FLAGS_AT) & OVERFLOW) === 0) {
        return `page ${first} (offset ${first * pageBytes}) does not begin the value that it should`;
      }
    }
    dataPages.length = 0;
  }
}

/** Puts the pages that a page refers to on the list. Says what is wrong with the page. */
function followPage(
  page: Uint8Array,
  number: number,
  found: { readonly pages: number[]; readonly dataPages: number[]; readonly pagesInFile: number },
): string | undefined {
  const { pages, dataPages, pagesInFile } = found;
  const flags = readUint16(page, PAGE_FLAGS_AT);
  const isBranch = (flags & BRANCH) !== 0;
  if (pageNumberOf(page) !== number || (!isBranch && (flags & LEAF) === 0)) {
    return "is no page of a tree";
  }
  const lower = readUint16(page, LOWER_AT);
  const upper = readUint16(page, UPPER_AT);
  if ((lower & 1) !== 0 || lower > upper || upper + PAGE_HEADER_BYTES > page.length) return "is damaged";
  const count = lower >>> 1;
  for (let i = 0; i < count; i += 1) {
    const place = readUint16(page, PAGE_HEADER_BYTES + i * 2);
    const node = place + PAGE_HEADER_BYTES;
    if (place < upper || node + NODE_HEADER_BYTES > page.length) return "is damaged";
    const nodeFlags = readUint16(page, node + 4);
    if (isBranch) {
      const low = readUint16(page, node) + readUint16(page, node + 2) * 0x1_0000;
      pages.push(low + nodeFlags * 0x1_0000_0000);
      continue;
    }
    const data = node + NODE_HEADER_BYTES + readUint16(page, node + 6);
    const isHead = (nodeFlags & (BIG_DATA | SUB_TREE)) !== 0;
    const dataBytes = !isHead
      ? readUint16(page, node) + readUint16(page, node + 2) * 0x1_0000
      : (nodeFlags & SUB_TREE) !== 0
      ? TREE_HEAD_BYTES
      : BIG_DATA_HEAD_BYTES;
    if (nodeFlags > (BIG_DATA | SUB_TREE) || data + dataBytes > page.length) return "is damaged";
    if (!isHead) continue;
    if ((nodeFlags & SUB_TREE) !== 0) {
      const root = rootOf(page, data);
      if (root !== undefined) pages.push(root);
    } else {
      const first = Number(readUint64(page, data));
      const end = first + Number(readUint64(page, data + BIG_DATA_COUNT_AT));
      if (end > pagesInFile) return `refers to page ${end - 1}, which is missing`;
      dataPages.push(first);
    }
  }
}

function pageNumberOf(header: Uint8Array): number {
  return Number(readUint64(header, 0));
}

function readUint16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function readUint64(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(at, true);
}
