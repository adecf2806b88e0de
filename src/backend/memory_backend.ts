import { assert } from "../base/assert.ts";
import {
  type Backend,
  type BucketName,
  bucketNames,
  type BucketRecord,
  type FrozenBucket,
  type StoredRevisions,
} from "../mvcc/backend.ts";
import { RevisionRun, type RevisionVisit } from "./revision_run.ts";
import { sortedRecords } from "./batch.ts";
import { ByteSlab } from "./byte_slab.ts";
import { textFromBytes } from "./byte_text.ts";
import { CopiedBucket } from "./frozen_bucket.ts";
import { ScannedRevisions } from "./scanned_revisions.ts";
import { CONSISTENT_INDEX_KEY, encodeUint64, TERM_KEY } from "./schema/meta_table.ts";

/** What an empty backend reports as its size, so that "db size" is never 0; one page of a real one. */
const EMPTY_SIZE_BYTES = 4096;

/**
 * A backend that keeps everything in memory and nothing beyond the process: for embedding without a data
 * directory and for tests. What is written counts as durable at the end of its entry.
 */
export class MemoryBackend implements Backend {
  readonly #revisions = new RevisionRun();
  readonly #slab = new ByteSlab();
  readonly #buckets = new Map<BucketName, Map<string, Uint8Array>>();
  #smallBytes = 0;
  #consistentIndex = 0;
  #term = 0;
  #hasIndex = false;

  constructor() {
    for (const name of bucketNames) this.#buckets.set(name, new Map());
  }

  put(bucket: BucketName, key: Uint8Array, value: Uint8Array): void {
    const records = this.#smallBucket(bucket);
    const name = textFromBytes(key);
    this.#smallBytes += key.length + value.length;
    const before = records.get(name);
    if (before !== undefined) this.#smallBytes -= key.length + before.length;
    records.set(name, value.slice());
  }

  delete(bucket: BucketName, key: Uint8Array): void {
    const records = this.#smallBucket(bucket);
    const name = textFromBytes(key);
    const before = records.get(name);
    if (before === undefined) return;
    this.#smallBytes -= key.length + before.length;
    records.delete(name);
  }

  get(bucket: BucketName, key: Uint8Array): Uint8Array | undefined {
    if (bucket === "meta") this.#writeIndex();
    return this.#smallBucket(bucket).get(textFromBytes(key))?.slice();
  }

  list(bucket: BucketName): BucketRecord[] {
    if (bucket === "meta") this.#writeIndex();
    return sortedRecords(this.#smallBucket(bucket));
  }

  freeze(bucket: BucketName): FrozenBucket {
    return new CopiedBucket(this.list(bucket));
  }

  putRevision(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): void {
    this.#revisions.append(main, sub, tombstone, keyValue);
  }

  getRevision(main: number, sub: number): Uint8Array | undefined {
    const found = this.#revisions.get(main, sub);
    return found === undefined ? undefined : this.#slab.copy(found);
  }

  viewRevision(main: number, sub: number): Uint8Array | undefined {
    return this.#revisions.get(main, sub);
  }

  deleteRevision(main: number, sub: number, tombstone: boolean): void {
    this.#revisions.remove(main, sub, tombstone);
  }

  scanRevisions(
    from: { readonly main: number; readonly sub: number },
    recordsMax: number,
    visit: RevisionVisit,
  ): void {
    this.#revisions.scan(from.main, from.sub, recordsMax, visit);
  }

  storedRevisions(): StoredRevisions {
    return new ScannedRevisions(this);
  }

  endEntry(consistentIndex: number, term: number): void {
    assert(
      consistentIndex >= this.#consistentIndex,
      "Consistent index goes back from % to %",
      this.#consistentIndex,
      consistentIndex,
    );
    this.#consistentIndex = consistentIndex;
    this.#term = term;
    this.#hasIndex = true;
  }

  commit(): Promise<void> {
    return Promise.resolve();
  }

  get durableIndex(): number {
    return this.#consistentIndex;
  }

  get sizeBytes(): number {
    return EMPTY_SIZE_BYTES + this.inUseBytes;
  }

  get inUseBytes(): number {
    return this.#smallBytes + this.#revisions.bytes;
  }

  #smallBucket(bucket: BucketName): Map<string, Uint8Array> {
    assert(bucket !== "key", 'Bucket "key" is reached through the revision calls only');
    return this.#buckets.get(bucket)!;
  }

  /** The index moves with every entry and is read hardly ever: it becomes a record only then. */
  #writeIndex(): void {
    if (!this.#hasIndex) return;
    this.#hasIndex = false;
    // As in etcd, 0 is never stored: it means "not known".
    if (this.#consistentIndex > 0) {
      this.put("meta", CONSISTENT_INDEX_KEY, encodeUint64(this.#consistentIndex));
    }
    if (this.#term > 0) this.put("meta", TERM_KEY, encodeUint64(this.#term));
  }
}
