import { utf8 } from "../base/bytes.ts";
import { type Backend, bucketNames } from "../mvcc/backend.ts";
import { TOMBSTONE_KEY_BYTES, writeRevisionKey } from "../mvcc/revision.ts";
import type { BoltBucket, RecordVisit } from "./bolt_writer.ts";

/** Records in one slice, however small. */
const SLICE_RECORDS = 1000;

/**
 * The buckets of a backend as they are now, for as long as nothing is removed from bucket "key": that one is read
 * where it is, up to `lastMain`, the newest revision; the others are copied. For the turn of an entry's border.
 */
export function backendBuckets(backend: Backend, lastMain: number): BoltBucket[] {
  return bucketNames.map((name) =>
    name === "key" ? new RevisionBucket(backend, lastMain) : new RecordBucket(utf8(name), backend.list(name))
  );
}

/** A bucket of records in memory. */
export class RecordBucket implements BoltBucket {
  readonly name: Uint8Array;
  readonly #records: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[];
  #next = 0;

  /** `records` are in byte order of their keys. */
  constructor(
    name: Uint8Array,
    records: readonly { readonly key: Uint8Array; readonly value: Uint8Array }[],
  ) {
    this.name = name;
    this.#records = records;
  }

  rewind(): void {
    this.#next = 0;
  }

  slice(bytesMax: number, visit: RecordVisit): boolean {
    const end = Math.min(this.#next + SLICE_RECORDS, this.#records.length);
    for (let bytes = 0; this.#next < end && bytes < bytesMax; this.#next += 1) {
      const { key, value } = this.#records[this.#next]!;
      bytes += value.length;
      visit(key, key.length, value);
    }
    return this.#next < this.#records.length;
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
