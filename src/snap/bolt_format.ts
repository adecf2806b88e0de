/*
 * The file format of bbolt (go.etcd.io/bbolt, internal/common), version 2. A file is an array of pages; numbers
 * are little endian, as on every platform that etcd supports. Pages 0 and 1 are meta pages, and the valid one
 * of the later transaction counts. A B+ tree of buckets hangs from it, and a tree of records from each bucket.
 *
 * A page begins with a header of 16 bytes: its number (8), flags (2), count of elements (2), and how many
 * further pages its content runs over (4). Then come the elements, 16 bytes each, then the keys and values that
 * they point to, by an offset from the element's own start:
 *
 *     leaf element:    flags (4)  offset of the key (4)  key bytes (4)  value bytes (4)
 *     branch element:  offset of the key (4)  key bytes (4)  child's page (8)
 *
 * A value follows its key. A bucket is a leaf element of the root's tree with the bucket flag; its value is the
 * page of its own root (8) and a sequence number (8) that etcd does not use. A bucket of root 0 is inline: its
 * only page, a leaf, follows in the value.
 */

export const PAGE_HEADER_BYTES = 16;
/** Of leaf and branch pages both. */
export const ELEMENT_BYTES = 16;
export const BUCKET_HEADER_BYTES = 16;

export const BRANCH_PAGE = 0x01;
export const LEAF_PAGE = 0x02;
export const META_PAGE = 0x04;
export const FREELIST_PAGE = 0x10;

/** Flag of a leaf element whose value is a bucket. */
export const BUCKET_ELEMENT = 0x01;

const MAGIC = 0xed0cdaed;
const VERSION = 2;
/** Bytes of a meta page after its header, checksum included. */
export const META_BYTES = 64;
const CHECKSUM_AT = 56;
const TWO_POW_32 = 0x1_0000_0000;

/** What a meta page says. */
export interface BoltMeta {
  readonly pageBytes: number;
  /** Page of the root of the tree of buckets. */
  readonly rootPage: number;
  readonly freelistPage: number;
  /** Pages in the file, by which every page's number is bounded. */
  readonly pageCount: number;
  readonly transaction: number;
}

export type MetaResult =
  | { readonly kind: "meta"; readonly meta: BoltMeta }
  | { readonly kind: "damaged"; readonly reason: string };

/** Writes the header of a page. */
export function writePageHeader(
  target: DataView,
  at: number,
  { page, flags, count, overflow }: { page: number; flags: number; count: number; overflow: number },
): void {
  writeUint64(target, at, page);
  target.setUint16(at + 8, flags, true);
  target.setUint16(at + 10, count, true);
  target.setUint32(at + 12, overflow, true);
}

/** Writes what follows the header of a meta page. */
export function writeMeta(target: DataView, at: number, meta: BoltMeta): void {
  target.setUint32(at, MAGIC, true);
  target.setUint32(at + 4, VERSION, true);
  target.setUint32(at + 8, meta.pageBytes, true);
  target.setUint32(at + 12, 0, true);
  writeUint64(target, at + 16, meta.rootPage);
  writeUint64(target, at + 24, 0);
  writeUint64(target, at + 32, meta.freelistPage);
  writeUint64(target, at + 40, meta.pageCount);
  writeUint64(target, at + 48, meta.transaction);
  target.setBigUint64(at + CHECKSUM_AT, fnv64a(target, at, at + CHECKSUM_AT), true);
}

/** Reads what follows the header of a meta page: `META_BYTES` from `at` on. */
export function readMeta(source: DataView, at: number): MetaResult {
  const magic = source.getUint32(at, true);
  if (magic !== MAGIC) return damaged(`no bbolt magic but ${magic.toString(16)}`);
  const version = source.getUint32(at + 4, true);
  if (version !== VERSION) return damaged(`version ${version} of the format, not ${VERSION}`);
  if (source.getBigUint64(at + CHECKSUM_AT, true) !== fnv64a(source, at, at + CHECKSUM_AT)) {
    return damaged("wrong checksum of the meta page");
  }
  const meta = {
    pageBytes: source.getUint32(at + 8, true),
    rootPage: readUint64(source, at + 16),
    freelistPage: readUint64(source, at + 32),
    pageCount: readUint64(source, at + 40),
    transaction: readUint64(source, at + 48),
  };
  return { kind: "meta", meta };
}

function damaged(reason: string): MetaResult {
  return { kind: "damaged", reason };
}

export function writeUint64(target: DataView, at: number, value: number): void {
  target.setUint32(at, value >>> 0, true);
  target.setUint32(at + 4, Math.floor(value / TWO_POW_32), true);
}

/** Past 2^53 the number is rounded: it is out of any range then. */
export function readUint64(source: DataView, at: number): number {
  return source.getUint32(at + 4, true) * TWO_POW_32 + source.getUint32(at, true);
}

/** FNV-1a of 64 bits (Fowler, Noll and Vo; draft-eastlake-fnv). */
function fnv64a(bytes: DataView, start: number, end: number): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let at = start; at < end; at += 1) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(bytes.getUint8(at))) * 0x100000001b3n);
  }
  return hash;
}
