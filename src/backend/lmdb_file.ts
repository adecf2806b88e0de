import type { BucketName } from "../mvcc/backend.ts";
import type { Files, ReadableFile } from "../ports/files.ts";
import { FileError } from "../ports/files.ts";
import { PAGE_FLAGS_AT, PAGE_HEADER_BYTES, rootOf, TREE_HEAD_BYTES } from "./lmdb_page.ts";
import { type NamedTree, type TreeShape, walkTrees } from "./lmdb_tree.ts";

/** LMDB's file stamp, and the format version of the LMDB in lmdb-js 3. */
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const META_FLAG = 0x08;
/** Places in a meta page: stamp, version, page size, heads of the free list and of the main tree, and so on. */
const MAGIC_AT = PAGE_HEADER_BYTES;
const VERSION_AT = PAGE_HEADER_BYTES + 4;
const PAGE_BYTES_AT = PAGE_HEADER_BYTES + 24;
const TREES_AT = PAGE_HEADER_BYTES + 24;
const LAST_PAGE_AT = PAGE_HEADER_BYTES + 120;
const TRANSACTION_AT = PAGE_HEADER_BYTES + 128;
const META_BYTES = PAGE_HEADER_BYTES + 144;
const PAGE_BYTES_MAX = 65_536;
const REVISIONS_BUCKET: BucketName = "key";

/** What is known of a data file that has been checked. */
export interface CheckedFile {
  readonly pageBytes: number;
  /** The transaction as of which it was checked, and LMDB has to read it. */
  readonly transaction: number;
  /** Bucket "key"; undefined when there is none yet. */
  readonly revisions: NamedTree | undefined;
}

/**
 * Looks at a data file before LMDB maps it into memory, where a page that is not there is SIGBUS. A missing
 * or empty file is fine: LMDB makes one. Throws a `FileError` that says what is wrong with any other. Values
 * carry no checksum: a bit that flips in one of them is not found here.
 */
export function checkDataFile(files: Files, path: string): CheckedFile | undefined {
  if (!files.exists(path)) return undefined;
  const file = files.openRead(path);
  try {
    if (file.sizeBytes === 0) return undefined;
    const first = readMeta(file, path, 0);
    const second = readMeta(file, path, first.pageBytes);
    const newest = second.transaction > first.transaction ? second : first;
    const neededBytes = (newest.lastPage + 1) * newest.pageBytes;
    // LMDB believes its pages: one that is damaged may abort the process or send it beyond the end of memory.
    const { problem, named } = walkTrees(file, newest, REVISIONS_BUCKET);
    if (problem === undefined) return { ...newest, revisions: named };
    // A file may be shorter than its pages, when the last ones are free: a transaction took and freed them
    // before they were ever written.
    const isShort = file.sizeBytes < neededBytes;
    throw damaged(
      path,
      isShort ? `it is truncated: ${file.sizeBytes} bytes of ${neededBytes}, and ${problem}` : problem,
    );
  } finally {
    file.close();
  }
}

function readMeta(file: ReadableFile, path: string, position: number): TreeShape {
  const bytes = file.readAt(position, META_BYTES);
  if (bytes.length < META_BYTES) {
    throw damaged(path, `it ends within its first pages: ${file.sizeBytes} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const isMeta = (view.getUint16(PAGE_FLAGS_AT, true) & META_FLAG) !== 0;
  if (!isMeta || view.getUint32(MAGIC_AT, true) !== MAGIC) throw damaged(path, "it is not an LMDB file");
  const version = view.getUint32(VERSION_AT, true) & 0xffff;
  if (version !== DATA_VERSION) {
    throw damaged(path, `it has format version ${version}, and this build reads version ${DATA_VERSION}`);
  }
  const pageBytes = view.getUint32(PAGE_BYTES_AT, true);
  if (pageBytes < 256 || pageBytes > PAGE_BYTES_MAX || (pageBytes & (pageBytes - 1)) !== 0) {
    throw damaged(path, `its page size is ${pageBytes}`);
  }
  return {
    pageBytes,
    lastPage: Number(view.getBigUint64(LAST_PAGE_AT, true)),
    transaction: Number(view.getBigUint64(TRANSACTION_AT, true)),
    freeListRoot: rootOf(bytes, TREES_AT),
    mainRoot: rootOf(bytes, TREES_AT + TREE_HEAD_BYTES),
  };
}

export function damaged(path: string, reason: string): FileError {
  return new FileError("damaged", path, `Cannot open the database ${path}: ${reason}`);
}
