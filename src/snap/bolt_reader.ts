import { compareBytes, textOf } from "../base/bytes.ts";
import type { ReadableFile } from "../ports/files.ts";
import {
  type BoltMeta,
  BRANCH_PAGE,
  BUCKET_ELEMENT,
  BUCKET_HEADER_BYTES,
  ELEMENT_BYTES,
  LEAF_PAGE,
  META_BYTES,
  META_PAGE,
  PAGE_HEADER_BYTES,
  readMeta,
  readUint64,
} from "./bolt_format.ts";

const PAGE_BYTES_MIN = 1024;
const PAGE_BYTES_MAX = 64 * 1024;
/** A page that runs over more bytes than this is none that etcd has written: a value is a request at most. */
const CONTENT_BYTES_MAX = 256 * 1024 * 1024;
/** A tree of pages with two children each would need more pages than there are numbers. */
const DEPTH_MAX = 64;
/** etcd has eleven. */
const BUCKETS_MAX = 1000;

/** A file that is no bbolt file, or a damaged one. `offset` is where in the file. */
export class BoltError extends Error {
  override readonly name = "BoltError";
  readonly path: string;
  readonly offset: number;

  constructor(path: string, offset: number, reason: string) {
    super(`${path}: at byte ${offset}: ${reason}`);
    this.path = path;
    this.offset = offset;
  }
}

export interface BoltRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** A record of a leaf, with the number of its page for the message of an error. */
interface LeafRecord extends BoltRecord {
  readonly flags: number;
  readonly page: number;
}

/** A bucket in the tree of buckets. */
interface BucketPlace {
  /** 0 when the bucket is inline. */
  readonly rootPage: number;
  /** What an inline bucket has instead of pages. */
  readonly inline: Page | undefined;
  /** From 1; 0 is the tree of buckets. */
  readonly ordinal: number;
  /** The page that names the root. */
  readonly parent: number;
}

/** A page with what it runs over to. Checked: the header, the size, and that the elements are inside. */
interface Page {
  readonly number: number;
  /** Where it is in the file. */
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly isLeaf: boolean;
  readonly count: number;
}

/**
 * Reads a bbolt file, the database or a snapshot of an etcd, bucket by bucket. Nothing in the file is believed:
 * whatever is wrong with what is being read ends in a `BoltError`. Memory is a page for each level of a tree and
 * four bytes for each page of the file.
 */
export class BoltReader {
  readonly meta: BoltMeta;
  readonly #file: ReadableFile;
  readonly #path: string;
  readonly #buckets = new Map<string, BucketPlace>();
  /** By page: 1 + the ordinal of the bucket that was found to have it. */
  readonly #owners: Uint16Array;

  /** Reads the meta page and the tree of buckets. `path` is for messages. Throws `BoltError`. */
  constructor(file: ReadableFile, path: string) {
    this.#file = file;
    this.#path = path;
    this.meta = this.#readMeta();
    this.#owners = new Uint16Array(this.meta.pageCount);
    const tree = { rootPage: this.meta.rootPage, inline: undefined, ordinal: 0, parent: 0 };
    for (const record of this.#walk(tree)) this.#addBucket(record);
  }

  /** Names of all buckets, in byte order. */
  get bucketNames(): readonly string[] {
    return [...this.#buckets.keys()];
  }

  /** Bytes of the database; what a file has after them (the hash of a snapshot, say) is not part of it. */
  get sizeBytes(): number {
    return this.meta.pageCount * this.meta.pageBytes;
  }

  /**
   * The records of a bucket in byte order of their keys; none when there is no such bucket. The bytes stay as they
   * are. Throws `BoltError` in the middle when the file is damaged there.
   */
  *records(bucket: string): Generator<BoltRecord, void, undefined> {
    const place = this.#buckets.get(bucket);
    if (place === undefined) return;
    for (const { key, value, flags, page } of this.#walk(place)) {
      if (flags !== 0) throw this.#damagedPage(page, `flags ${flags} of a record of bucket "${bucket}"`);
      yield { key, value };
    }
  }

  #addBucket({ key, value, flags, page }: LeafRecord): void {
    if (flags !== BUCKET_ELEMENT) throw this.#damagedPage(page, "a record outside of all buckets");
    if (value.length < BUCKET_HEADER_BYTES) {
      throw this.#damagedPage(page, `a bucket of ${value.length} bytes`);
    }
    const ordinal = this.#buckets.size + 1;
    if (ordinal > BUCKETS_MAX) throw this.#damagedPage(page, `more than ${BUCKETS_MAX} buckets`);
    const rootPage = readUint64(new DataView(value.buffer, value.byteOffset), 0);
    const inline = rootPage === 0 ? this.#inlinePage(page, value.subarray(BUCKET_HEADER_BYTES)) : undefined;
    this.#buckets.set(textOf(key), { rootPage, inline, ordinal, parent: page });
  }

  #inlinePage(number: number, bytes: Uint8Array): Page {
    if (bytes.length < PAGE_HEADER_BYTES) {
      throw this.#damagedPage(number, `an inline bucket of ${bytes.length} bytes`);
    }
    const page = this.#toPage(number, bytes);
    if (!page.isLeaf) throw this.#damagedPage(number, "an inline bucket that is no leaf");
    return page;
  }

  /** All records of a tree, in order. */
  *#walk(place: BucketPlace): Generator<LeafRecord, void, undefined> {
    const { rootPage, inline, ordinal } = place;
    const seen = new Uint8Array(Math.ceil(this.meta.pageCount / 8));
    const path: { readonly page: Page; next: number }[] = [];
    let last: Uint8Array | undefined;
    let page = inline ?? this.#readPage(rootPage, place.parent, ordinal, seen);
    for (;;) {
      if (page.isLeaf) {
        for (let i = 0; i < page.count; i += 1) {
          const record = this.#leafRecord(page, i);
          this.#checkOrder(page, i, last, record.key, path.at(-1));
          last = record.key;
          yield record;
        }
      } else {
        if (page.count === 0) throw this.#damaged(page, "a branch without children");
        if (path.length === DEPTH_MAX) throw this.#damaged(page, `more than ${DEPTH_MAX} levels of pages`);
        path.push({ page, next: 0 });
      }
      while (path.length > 0 && path.at(-1)!.next === path.at(-1)!.page.count) path.pop();
      const branch = path.at(-1);
      if (branch === undefined) return;
      const { key, child } = this.#branchElement(branch.page, branch.next);
      // Everything to the left of a child is before the child's key.
      if (branch.next > 0 && last !== undefined && compareBytes(last, key) >= 0) {
        throw this.#damaged(branch.page, `element ${branch.next} is not past what is to the left of it`);
      }
      branch.next += 1;
      page = this.#readPage(child, branch.page.number, ordinal, seen);
    }
  }

  /** Keys grow from record to record, and none is before the key that its branch has for the page. */
  #checkOrder(
    page: Page,
    i: number,
    last: Uint8Array | undefined,
    key: Uint8Array,
    parent: { readonly page: Page; readonly next: number } | undefined,
  ): void {
    if (last !== undefined && compareBytes(last, key) >= 0) {
      throw this.#damaged(page, `element ${i} is not past the one before it`);
    }
    if (i > 0 || parent === undefined) return;
    if (compareBytes(key, this.#branchElement(parent.page, parent.next - 1).key) < 0) {
      throw this.#damaged(page, `element ${i} is before the key of page ${parent.page.number} for it`);
    }
  }

  #leafRecord(page: Page, i: number): LeafRecord {
    const { view } = page;
    const at = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    const keyBytes = view.getUint32(at + 8, true);
    const start = this.#checkContent(
      page,
      i,
      view.getUint32(at + 4, true),
      keyBytes,
      view.getUint32(at + 12, true),
    );
    return {
      key: page.bytes.subarray(start, start + keyBytes),
      value: page.bytes.subarray(start + keyBytes, start + keyBytes + view.getUint32(at + 12, true)),
      flags: view.getUint32(at, true),
      page: page.number,
    };
  }

  #branchElement(page: Page, i: number): { readonly key: Uint8Array; readonly child: number } {
    const { view } = page;
    const at = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    const keyBytes = view.getUint32(at + 4, true);
    const start = this.#checkContent(page, i, view.getUint32(at, true), keyBytes, 0);
    return { key: page.bytes.subarray(start, start + keyBytes), child: readUint64(view, at + 8) };
  }

  /** Where the key of an element begins: past the elements, with the value inside of the page. */
  #checkContent(page: Page, i: number, offset: number, keyBytes: number, valueBytes: number): number {
    const start = PAGE_HEADER_BYTES + i * ELEMENT_BYTES + offset;
    const first = PAGE_HEADER_BYTES + page.count * ELEMENT_BYTES;
    if (start < first || start + keyBytes + valueBytes > page.bytes.length) {
      throw this.#damaged(page, `element ${i} is not inside of its page`);
    }
    if (keyBytes === 0) throw this.#damaged(page, `element ${i} has an empty key`);
    return start;
  }

  /** Reads a branch or leaf page, which no other bucket has and this walk has not seen, as `parent` names it. */
  #readPage(number: number, parent: number, ordinal: number, seen: Uint8Array): Page {
    const { pageBytes, pageCount } = this.meta;
    if (number < 2 || number >= pageCount) {
      throw this.#damagedPage(parent, `it leads to page ${number} of ${pageCount}`);
    }
    const offset = number * pageBytes;
    const head = this.#read(offset, pageBytes);
    const view = viewOf(head);
    const overflow = view.getUint32(12, true);
    const named = readUint64(view, 0);
    if (named !== number) throw this.#damagedPage(number, `the page says that it is page ${named}`);
    if (number + overflow >= pageCount) {
      throw this.#damagedPage(number, `the page runs over ${overflow} more, past the last one`);
    }
    if ((1 + overflow) * pageBytes > CONTENT_BYTES_MAX) {
      throw this.#damagedPage(number, `the page runs over ${overflow} more`);
    }
    for (let each = number; each <= number + overflow; each += 1) this.#claim(each, ordinal, seen);
    return this.#toPage(number, overflow === 0 ? head : this.#read(offset, (1 + overflow) * pageBytes));
  }

  #claim(number: number, ordinal: number, seen: Uint8Array): void {
    const bit = 1 << (number & 7);
    if ((seen[number >>> 3]! & bit) !== 0) throw this.#damagedPage(number, "the page is in the tree twice");
    seen[number >>> 3]! |= bit;
    const owner = this.#owners[number]!;
    if (owner !== 0 && owner !== ordinal + 1) throw this.#damagedPage(number, "the page is in two buckets");
    this.#owners[number] = ordinal + 1;
  }

  #toPage(number: number, bytes: Uint8Array): Page {
    const view = viewOf(bytes);
    const flags = view.getUint16(8, true);
    const count = view.getUint16(10, true);
    const offset = number * this.meta.pageBytes;
    if (flags !== LEAF_PAGE && flags !== BRANCH_PAGE) {
      throw this.#damagedPage(number, `neither leaf nor branch: flags ${flags}`);
    }
    if (PAGE_HEADER_BYTES + count * ELEMENT_BYTES > bytes.length) {
      throw this.#damagedPage(number, `${count} elements in ${bytes.length} bytes`);
    }
    return { number, offset, bytes, view, isLeaf: flags === LEAF_PAGE, count };
  }

  /** The valid meta page of the later transaction. */
  #readMeta(): BoltMeta {
    const first = this.#metaAt(0);
    // Where the second one is depends on the page size, which only the first one knows for certain.
    const sizes = first instanceof BoltError ? pageSizes : [first.pageBytes];
    const others = sizes.map((pageBytes) => this.#metaAt(pageBytes))
      .filter((meta) => !(meta instanceof BoltError)) as BoltMeta[];
    const second = others[0];
    if (first instanceof BoltError) {
      if (second === undefined) throw first;
      return second;
    }
    return second !== undefined && second.transaction > first.transaction ? second : first;
  }

  #metaAt(offset: number): BoltMeta | BoltError {
    const bytes = this.#file.readAt(offset, PAGE_HEADER_BYTES + META_BYTES);
    const bad = (reason: string): BoltError => new BoltError(this.#path, offset, reason);
    if (bytes.length < PAGE_HEADER_BYTES + META_BYTES) return bad("the file ends before its meta page does");
    const view = viewOf(bytes);
    const result = readMeta(view, PAGE_HEADER_BYTES);
    if (result.kind === "damaged") return bad(result.reason);
    if (view.getUint16(8, true) !== META_PAGE) return bad("no meta page");
    const { pageBytes, pageCount, rootPage } = result.meta;
    if (!pageSizes.includes(pageBytes)) return bad(`a page size of ${pageBytes}`);
    if (offset !== 0 && offset !== pageBytes) {
      return bad(`a page size of ${pageBytes}, and another before it`);
    }
    if (rootPage < 2 || rootPage >= pageCount) return bad(`root page ${rootPage} of ${pageCount} pages`);
    if (pageCount * pageBytes > this.#file.sizeBytes) {
      return bad(`${pageCount} pages, but the file ends at byte ${this.#file.sizeBytes}`);
    }
    return result.meta;
  }

  #read(offset: number, length: number): Uint8Array {
    const bytes = this.#file.readAt(offset, length);
    if (bytes.length === length) return bytes;
    throw new BoltError(this.#path, offset + bytes.length, "the file ends in the middle of a page");
  }

  #damaged(page: Page, reason: string): BoltError {
    return new BoltError(this.#path, page.offset, `page ${page.number}: ${reason}`);
  }

  #damagedPage(number: number, reason: string): BoltError {
    return new BoltError(this.#path, number * this.meta.pageBytes, `page ${number}: ${reason}`);
  }
}

const pageSizes: readonly number[] = powersOfTwo(PAGE_BYTES_MIN, PAGE_BYTES_MAX);

function powersOfTwo(first: number, last: number): number[] {
  const powers: number[] = [];
  for (let power = first; power <= last; power *= 2) powers.push(power);
  return powers;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
