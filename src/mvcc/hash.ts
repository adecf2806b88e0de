import { assert } from "../base/assert.ts";
import { EMPTY_BYTES, equalBytes, utf8 } from "../base/bytes.ts";
import { crc32c } from "../base/crc32c.ts";
import { type BucketName, bucketNames } from "./backend.ts";
import type { CompactionHold } from "./compaction_hold.ts";
import { KeyValueReader } from "./key_value.ts";
import type { RangeSource } from "./range.ts";
import { TOMBSTONE_KEY_BYTES, writeRevisionKey } from "./revision.ts";

/** The hash of all revisions up to `revision`, as members compare it to find corruption. */
export interface KvHash {
  /** CRC-32C. */
  readonly hash: number;
  readonly revision: number;
  /** Compacted revision that the hash was made against; -1 when there had been no compaction. */
  readonly compactRevision: number;
}

/** A slice of hashing ends after this many bytes, however few the records: about 1 ms. */
export const HASH_SLICE_BYTES = 2 * 1024 * 1024;

/** Hashes of finished compactions that are kept for comparison with other members. */
const COMPACTION_HASHES_MAX = 10;

const KEY_BUCKET = utf8("key");

/**
 * etcd's hash over bucket "key" (server/storage/mvcc/hash.go): CRC-32C of the bucket's name and then, per
 * record up to a revision, of its revision key and KeyValue. Records that a compaction may or may not have
 * removed yet are left out, so that members at different points of the same compaction agree.
 */
export class KvHasher {
  readonly #compactMain: number;
  readonly #main: number;
  readonly #key = new Uint8Array(TOMBSTONE_KEY_BYTES);
  #crc = crc32c(KEY_BUCKET, 0, KEY_BUCKET.length, 0);

  constructor(compactMain: number, main: number) {
    this.#compactMain = compactMain;
    this.#main = main;
  }

  /** Takes in the next record; `kept` says that a compaction at the hashed revision keeps it. */
  add(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array, kept: boolean): void {
    if (main <= this.#compactMain && !kept) return;
    // Releases before 3.5.16 drop a tombstone at the compacted revision, later ones keep it: it never counts.
    if (main === this.#compactMain && tombstone) return;
    const keyBytes = writeRevisionKey(this.#key, main, sub, tombstone);
    this.#crc = crc32c(this.#key, 0, keyBytes, this.#crc);
    this.#crc = crc32c(keyValue, 0, keyValue.length, this.#crc);
  }

  result(): KvHash {
    return { hash: this.#crc, revision: this.#main, compactRevision: this.#compactMain };
  }
}

/**
 * Hashes the store up to a revision, in slices. It holds compaction off until it is done or closed; writes
 * may go on. Invariant: `main` is at or past the compacted revision at the beginning.
 */
export class KvHashJob {
  readonly #source: RangeSource;
  readonly #main: number;
  readonly #compactMain: number;
  readonly #hold: CompactionHold;
  readonly #hasher: KvHasher;
  readonly #reader = new KeyValueReader();
  readonly #next = { main: 0, sub: 0 };
  /** Whether any key is live at `main`; etcd's rule about compacted records rests on it. Asked when needed. */
  #keepsAny: boolean | undefined;
  #isDone = false;

  constructor(source: RangeSource, main: number, hold: CompactionHold) {
    this.#source = source;
    this.#main = main;
    this.#compactMain = source.compactRevision;
    this.#hold = hold;
    this.#hasher = new KvHasher(this.#compactMain, main);
  }

  get done(): boolean {
    return this.#isDone;
  }

  /** Works through at most `recordsMax` records; true when the hash is complete. */
  step(recordsMax: number): boolean {
    assert(!this.#isDone, "A hash goes on after its end");
    let visited = 0;
    let bytes = 0;
    let isPast = false;
    this.#source.backend.scanRevisions(this.#next, recordsMax, (main, sub, tombstone, keyValue) => {
      isPast = main > this.#main;
      if (isPast) return false;
      visited += 1;
      bytes += keyValue.length;
      this.#next.main = main;
      this.#next.sub = sub + 1;
      const kept = main > this.#compactMain || this.#isKept(main, sub, tombstone, keyValue);
      this.#hasher.add(main, sub, tombstone, keyValue, kept);
      return bytes < HASH_SLICE_BYTES;
    });
    if (isPast || (visited < recordsMax && bytes < HASH_SLICE_BYTES)) {
      this.#isDone = true;
      this.close();
    }
    return this.#isDone;
  }

  result(): KvHash {
    assert(this.#isDone, "A hash is read before its end");
    return this.#hasher.result();
  }

  close(): void {
    this.#hold.release();
  }

  /**
   * Whether a compaction at `main` would keep a record that is not past the compacted revision: it is what
   * its key reads as at `main`. etcd skips the test when a compaction would keep nothing at all.
   */
  #isKept(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): boolean {
    const { index } = this.#source;
    if (!tombstone) {
      const { key } = this.#reader.read(keyValue);
      if (index.seek(key, this.#main) && index.hitMain === main && index.hitSub === sub) return true;
    }
    this.#keepsAny ??= this.#findAnyLive();
    return !this.#keepsAny;
  }

  #findAnyLive(): boolean {
    let found = false;
    this.#source.index.visit(EMPTY_BYTES, undefined, this.#main, () => {
      found = true;
      return false;
    });
    return found;
  }
}

/** The hashes of the latest compactions, which other members can be asked about after the fact. */
export class CompactionHashes {
  #hashes: KvHash[] = [];

  /** In the order of their revisions. */
  get list(): readonly KvHash[] {
    return this.#hashes;
  }

  at(revision: number): KvHash | undefined {
    return this.#hashes.find((hash) => hash.revision === revision);
  }

  add(hash: KvHash): void {
    this.#hashes = [...this.#hashes, hash]
      .sort((a, b) => a.revision - b.revision)
      .slice(-COMPACTION_HASHES_MAX);
  }
}

const META_IGNORED = ["consistent_index", "storageVersion", "term"].map(utf8);

/**
 * Hashes the whole backend, in slices: CRC-32C over every bucket's name, keys and values in order, without
 * the three meta records that may differ between members that agree. For tests and operators; writes that
 * happen in between may or may not count.
 */
export class BackendHashJob {
  readonly #source: RangeSource;
  readonly #next = { main: 0, sub: 0 };
  readonly #key = new Uint8Array(TOMBSTONE_KEY_BYTES);
  #bucket = 0;
  #isInside = false;
  #crc = 0;

  constructor(source: RangeSource) {
    this.#source = source;
  }

  /** Works through at most `recordsMax` records or one small bucket; true when the hash is complete. */
  step(recordsMax: number): boolean {
    const name = bucketNames[this.#bucket];
    if (name === undefined) return true;
    if (!this.#isInside) this.#add(utf8(name));
    this.#isInside = true;
    const isDone = name === "key" ? this.#addRevisions(recordsMax) : this.#addSmallBucket(name);
    if (isDone) {
      this.#bucket += 1;
      this.#isInside = false;
    }
    return this.#bucket === bucketNames.length;
  }

  result(): number {
    assert(this.#bucket === bucketNames.length, "A hash is read before its end");
    return this.#crc;
  }

  #addSmallBucket(name: BucketName): boolean {
    for (const { key, value } of this.#source.backend.list(name)) {
      if (name === "meta" && META_IGNORED.some((ignored) => equalBytes(ignored, key))) continue;
      this.#add(key);
      this.#add(value);
    }
    return true;
  }

  #addRevisions(recordsMax: number): boolean {
    let visited = 0;
    let bytes = 0;
    this.#source.backend.scanRevisions(this.#next, recordsMax, (main, sub, tombstone, keyValue) => {
      visited += 1;
      bytes += keyValue.length;
      this.#next.main = main;
      this.#next.sub = sub + 1;
      const keyBytes = writeRevisionKey(this.#key, main, sub, tombstone);
      this.#crc = crc32c(this.#key, 0, keyBytes, this.#crc);
      this.#add(keyValue);
      return bytes < HASH_SLICE_BYTES;
    });
    return visited < recordsMax && bytes < HASH_SLICE_BYTES;
  }

  #add(bytes: Uint8Array): void {
    this.#crc = crc32c(bytes, 0, bytes.length, this.#crc);
  }
}
