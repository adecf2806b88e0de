import type { Files, ReadableFile } from "../ports/files.ts";
import { FileError } from "../ports/files.ts";

/** LMDB's file stamp, and the format version of the LMDB in lmdb-js 3. */
const MAGIC = 0xbeefc0de;
const DATA_VERSION = 2;
const PAGE_HEADER_BYTES = 24;
const META_FLAG = 0x08;
/** Page number and flags of a page header; magic, version, page size, last page and transaction of a meta page. */
const FLAGS_AT = 18;
const MAGIC_AT = PAGE_HEADER_BYTES;
const VERSION_AT = PAGE_HEADER_BYTES + 4;
const PAGE_BYTES_AT = PAGE_HEADER_BYTES + 24;
const LAST_PAGE_AT = PAGE_HEADER_BYTES + 120;
const TRANSACTION_AT = PAGE_HEADER_BYTES + 128;
const META_BYTES = PAGE_HEADER_BYTES + 144;
const PAGE_BYTES_MAX = 65_536;

interface Meta {
  readonly pageBytes: number;
  readonly lastPage: number;
  readonly transaction: number;
}

/**
 * Looks at a data file before LMDB maps it into memory, where a page that is not there is SIGBUS. A missing
 * or empty file is fine: LMDB makes one. Throws a `FileError` that says what is wrong with any other.
 */
export function checkDataFile(files: Files, path: string): void {
  if (!files.exists(path)) return;
  const file = files.openRead(path);
  try {
    if (file.sizeBytes === 0) return;
    const first = readMeta(file, path, 0);
    const second = readMeta(file, path, first.pageBytes);
    const newest = second.transaction > first.transaction ? second : first;
    const neededBytes = (newest.lastPage + 1) * newest.pageBytes;
    if (file.sizeBytes < neededBytes) {
      throw damaged(path, `it is truncated: ${file.sizeBytes} bytes of at least ${neededBytes}`);
    }
  } finally {
    file.close();
  }
}

function readMeta(file: ReadableFile, path: string, position: number): Meta {
  const bytes = file.readAt(position, META_BYTES);
  if (bytes.length < META_BYTES) {
    throw damaged(path, `it ends within its first pages: ${file.sizeBytes} bytes`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const isMeta = (view.getUint16(FLAGS_AT, true) & META_FLAG) !== 0;
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
  };
}

function damaged(path: string, reason: string): FileError {
  return new FileError("io", path, `Cannot open the database ${path}: ${reason}`);
}
