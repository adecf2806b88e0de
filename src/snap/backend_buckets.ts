import { utf8 } from "../base/bytes.ts";
import { type Backend, bucketNames, type BucketRecord, type FrozenBucket } from "../mvcc/backend.ts";
import { TOMBSTONE_KEY_BYTES, writeRevisionKey } from "../mvcc/revision.ts";
import type { BoltBucket, RecordVisit } from "./bolt_writer.ts";

/** Records in one slice, however small. */
const SLICE_RECORDS = 1000;

/** The buckets of a backend at one moment. */
export interface BackendBuckets {
  readonly buckets: readonly BoltBucket[];
  close(): void;
}

/**
 * The buckets of a backend as they are now, for as long as nothing is removed from bucket "key": that one is read
 * up to `lastMain`, the newest revision; the others are frozen, until `close`. For the turn of an entry's border.
 */
export function backendBuckets(backend: Backend, lastMain: number): BackendBuckets {
  const frozen: FrozenBucket[] = [];
  const buckets = bucketNames.map((name) => {
    if (name === "key") return new RevisionBucket(backend, lastMain);
    const records = backend.freeze(name);
    frozen.push(records);
    return new RecordBucket(utf8(name), records);
  });
  return {
    buckets,
    close() {
      for (const each of frozen) each.close();
    },
  };
}

/** A small bucket. */
export class RecordBucket implements BoltBucket {
  readonly name: Uint8Array;
  readonly #records: FrozenBucket;
  #slice: readonly BucketRecord[] = [];
  #next = 0;

  constructor(name: Uint8Array, records: FrozenBucket) {
    this.name = name;
    this.#records = records;
  }

  rewind(): void {
    this.#records.rewind();
    this.#slice = [];
    this.#next = 0;
  }

  slice(bytesMax: number, visit: RecordVisit): boolean {
    if (this.#next === this.#slice.length) {
      this.#slice = this.#records.next(SLICE_RECORDS);
      this.#next = 0;
    }
    const slice = this.#slice;
    for (let bytes = 0; this.#next < slice.length && bytes < bytesMax; this.#next += 1) {
      const { key, value } = slice[this.#next]!;
      bytes += value.length;
      visit(key, key.length, value);
    }
    return slice.length > 0;
  }
}

/** Bucket "key", read slice by slice while newer revisions are appended to it. */
class RevisionBucket implements BoltBucket {
  readonly name = utf8("key");
  readonly #backend: Backend;
  readonly #lastMain: number;
  readonly #next = { main: 0, sub: 0 };
  readonly #key = new Uint8Array(TOMBSTONE_KEY_BYTES);

  constructor(backend: Backend, lastMain: number) {
    this.#backend = backend;
    this.#lastMain = lastMain;
  }

  rewind(): void {
    this.#next.main = 0;
    this.#next.sub = 0;
  }

  slice(bytesMax: number, visit: RecordVisit): boolean {
    let records = 0;
    let bytes = 0;
    let isPast = false;
    this.#backend.scanRevisions(this.#next, SLICE_RECORDS, (main, sub, tombstone, keyValue) => {
      isPast = main > this.#lastMain;
      if (isPast) return false;
      records += 1;
      bytes += keyValue.length;
      this.#next.main = main;
      this.#next.sub = sub + 1;
      visit(this.#key, writeRevisionKey(this.#key, main, sub, tombstone), keyValue);
      return bytes < bytesMax;
    });
    return !isPast && (records === SLICE_RECORDS || bytes >= bytesMax);
  }
}
