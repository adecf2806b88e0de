import { assert } from "../base/assert.ts";
import { BUCKET_ELEMENT, BUCKET_HEADER_BYTES, writeUint64 } from "./bolt_format.ts";
import { PageCounter, PageWriter } from "./bolt_pages.ts";
import { BoltTree, LEAF_BYTES_MAX, PAGE_BYTES, type PageSink } from "./bolt_tree.ts";

const FREELIST_PAGE_NUMBER = 2;
const FIRST_TREE_PAGE = 3;
/** Even, as the transaction of page 0 must be; page 1 has the one before, as in bbolt's own copies. */
const TRANSACTION = 2;
/** Records looked at in one slice of `measure`: about 1 ms. */
const MEASURE_SLICE_BYTES = 1024 * 1024;
/** Records turned into pages in one slice. */
const WRITE_SLICE_BYTES = 128 * 1024;

/** Is told a record, whose bytes are valid only during the call. `key[0, keyLength)` is the key. */
export type RecordVisit = (key: Uint8Array, keyLength: number, value: Uint8Array) => void;

/** A bucket to be written. Its records are read twice and must be the same both times. */
export interface BoltBucket {
  readonly name: Uint8Array;
  /** Back to the first record. */
  rewind(): void;
  /**
   * Visits the next records, in byte order of their keys, until their values have `bytesMax` bytes or a bounded
   * number is done; false when there are no more after them.
   */
  slice(bytesMax: number, visit: RecordVisit): boolean;
}

/**
 * Writes a bbolt file front to back in memory that does not grow with it. The file begins with the number of its
 * pages and that of the root, so there are two passes: the first one only counts pages. The pages are:
 *
 *     meta  meta  freelist (empty)  the tree of each bucket  the tree of buckets, its root at the end
 *
 * All pages are full but for the last of each level. Call `measure` until it returns true, then `take` until it
 * returns undefined; every call is a bounded piece of work.
 */
export class BoltWriter {
  readonly #buckets: readonly BoltBucket[];
  readonly #leafBytesMax: number;
  readonly #counter = new PageCounter(FIRST_TREE_PAGE);
  readonly #pages = new PageWriter(0);
  #pass: Pass;
  #rootPage: number | undefined;
  #isComplete = false;
  /** Bytes at the beginning of the output that have been handed over. */
  #taken = 0;

  /** `buckets` are in byte order of their names; `leafBytesMax` is as for `BoltTree`. */
  constructor(buckets: readonly BoltBucket[], leafBytesMax = LEAF_BYTES_MAX) {
    this.#buckets = buckets;
    this.#leafBytesMax = leafBytesMax;
    this.#pass = new Pass(buckets, this.#counter, leafBytesMax);
  }

  /** One slice of the first pass; true when it is over and `sizeBytes` is known. */
  measure(): boolean {
    assert(this.#rootPage === undefined, "A file is measured after it was");
    this.#rootPage = this.#pass.step(MEASURE_SLICE_BYTES);
    if (this.#rootPage === undefined) return false;
    this.#begin(this.#rootPage);
    return true;
  }

  get sizeBytes(): number {
    assert(this.#rootPage !== undefined, "The size of a file is asked for before it is measured");
    return this.#counter.nextPage * PAGE_BYTES;
  }

  /** The next `bytesMax` bytes, fewer at the end of the file, good until the next call; undefined after it. */
  take(bytesMax: number): Uint8Array | undefined {
    const { out } = this.#pages;
    while (!this.#isComplete && out.length - this.#taken < bytesMax) this.#step();
    if (this.#taken === out.length) return undefined;
    const bytes = out.bytes.subarray(this.#taken, Math.min(this.#taken + bytesMax, out.length));
    this.#taken += bytes.length;
    return bytes;
  }

  #begin(rootPage: number): void {
    const meta = {
      pageBytes: PAGE_BYTES,
      rootPage,
      freelistPage: FREELIST_PAGE_NUMBER,
      pageCount: this.#counter.nextPage,
    };
    this.#pages.metaPage({ ...meta, transaction: TRANSACTION });
    this.#pages.metaPage({ ...meta, transaction: TRANSACTION - 1 });
    this.#pages.freelistPage();
    for (const bucket of this.#buckets) bucket.rewind();
    this.#pass = new Pass(this.#buckets, this.#pages, this.#leafBytesMax);
  }

  /** One slice of the second pass. */
  #step(): void {
    this.#dropTaken();
    const rootPage = this.#pass.step(WRITE_SLICE_BYTES);
    if (rootPage === undefined) return;
    this.#isComplete = true;
    assert(
      rootPage === this.#rootPage && this.#pages.nextPage === this.#counter.nextPage,
      "A file of % pages has become one of %",
      this.#counter.nextPage,
      this.#pages.nextPage,
    );
  }

  /** Makes room. Only whole pages go, so that the output keeps their borders. */
  #dropTaken(): void {
    const { out } = this.#pages;
    const dropped = this.#taken - this.#taken % PAGE_BYTES;
    out.bytes.copyWithin(0, dropped, out.length);
    out.length -= dropped;
    this.#taken -= dropped;
  }
}

/** All buckets, and then the tree that leads to them, handed to a sink in slices. */
class Pass {
  readonly #buckets: readonly BoltBucket[];
  readonly #sink: PageSink;
  readonly #leafBytesMax: number;
  readonly #roots: number[] = [];
  #tree: BoltTree;

  constructor(buckets: readonly BoltBucket[], sink: PageSink, leafBytesMax: number) {
    this.#buckets = buckets;
    this.#sink = sink;
    this.#leafBytesMax = leafBytesMax;
    this.#tree = new BoltTree(sink, leafBytesMax);
  }

  /** One slice; the page of the root when all is done. */
  step(bytesMax: number): number | undefined {
    const bucket = this.#buckets[this.#roots.length];
    if (bucket === undefined) return this.#addBuckets();
    const tree = this.#tree;
    if (bucket.slice(bytesMax, (key, keyLength, value) => tree.add(key, keyLength, value))) return undefined;
    this.#roots.push(tree.finish());
    this.#tree = new BoltTree(this.#sink, this.#leafBytesMax);
    return undefined;
  }

  #addBuckets(): number {
    const header = new Uint8Array(BUCKET_HEADER_BYTES);
    const view = new DataView(header.buffer);
    for (const [i, { name }] of this.#buckets.entries()) {
      writeUint64(view, 0, this.#roots[i]!);
      this.#tree.add(name, name.length, header, BUCKET_ELEMENT);
    }
    return this.#tree.finish();
  }
}
