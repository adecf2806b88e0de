import { HASH, KEY_REF, type KeyRecords, NEXT } from "./key_records.ts";

const CHUNK_SHIFT = 14;
const CHUNK_BUCKETS = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_BUCKETS - 1;
const BUCKETS_MIN = 1024;

/**
 * Finds records by key: a hash table that grows by linear hashing (Litwin, 1980). Buckets are split in
 * order, one with each key added, so there is never a rehash to wait for, nor a second table beside the
 * first. A bucket is a chain through the records' NEXT words.
 *
 * Invariant: with 2^level <= buckets < 2^(level + 1), buckets below `buckets - 2^level` are split already:
 * a key whose low `level` bits name one of these is in the bucket that `level + 1` bits name.
 */
export class KeyTable {
  readonly #records: KeyRecords;
  readonly #chunks: Int32Array[] = [new Int32Array(CHUNK_BUCKETS)];
  #buckets = BUCKETS_MIN;
  /** 2^level. */
  #base = BUCKETS_MIN;

  constructor(records: KeyRecords) {
    this.#records = records;
  }

  /** Slot of the key `bytes[start, end)`, or -1. */
  find(hash: number, bytes: Uint8Array, start: number, end: number): number {
    const records = this.#records;
    const bucket = this.#bucketOf(hash);
    let slot = this.#chunks[bucket >>> CHUNK_SHIFT]![bucket & CHUNK_MASK]! - 1;
    while (slot >= 0) {
      const words = records.chunkOf(slot);
      const base = records.baseOf(slot);
      if (words[base + HASH] === hash && records.compare(slot, bytes, start, end - start, 0) === 0) {
        return slot;
      }
      slot = words[base + NEXT]! - 1;
    }
    return -1;
  }

  /** Slot of the record whose key bytes are at `keyRef`, or -1. */
  findRef(hash: number, keyRef: number): number {
    const records = this.#records;
    const bucket = this.#bucketOf(hash);
    let slot = this.#chunks[bucket >>> CHUNK_SHIFT]![bucket & CHUNK_MASK]! - 1;
    while (slot >= 0) {
      const words = records.chunkOf(slot);
      const base = records.baseOf(slot);
      if (words[base + KEY_REF] === keyRef) return slot;
      slot = words[base + NEXT]! - 1;
    }
    return -1;
  }

  /** Adds a record that is not in the table. */
  add(slot: number): void {
    const words = this.#records.chunkOf(slot);
    const base = this.#records.baseOf(slot);
    this.#link(this.#bucketOf(words[base + HASH]!), words, base + NEXT, slot);
    if (this.#records.count > this.#buckets) this.#splitNext();
  }

  /**
   * As `add`, while a store starts and no record is ever removed: when buckets are to be split all are, since
   * that goes through the records in the order of memory.
   */
  addAtStart(slot: number): void {
    const words = this.#records.chunkOf(slot);
    const base = this.#records.baseOf(slot);
    this.#link(this.#bucketOf(words[base + HASH]!), words, base + NEXT, slot);
    if (this.#records.count > this.#buckets) this.#splitAll();
  }

  remove(slot: number): void {
    const records = this.#records;
    const removed = records.chunkOf(slot);
    const removedBase = records.baseOf(slot);
    const bucket = this.#bucketOf(removed[removedBase + HASH]!);
    let words = this.#chunks[bucket >>> CHUNK_SHIFT]!;
    let at = bucket & CHUNK_MASK;
    while (words[at] !== slot + 1) {
      const other = words[at]! - 1;
      words = records.chunkOf(other);
      at = records.baseOf(other) + NEXT;
    }
    words[at] = removed[removedBase + NEXT]!;
  }

  get memoryBytes(): number {
    return this.#chunks.length * CHUNK_BUCKETS * 4;
  }

  #bucketOf(hash: number): number {
    const bucket = hash & (this.#base * 2 - 1);
    return bucket < this.#buckets ? bucket : bucket - this.#base;
  }

  #link(bucket: number, words: Int32Array, nextAt: number, slot: number): void {
    const heads = this.#chunks[bucket >>> CHUNK_SHIFT]!;
    words[nextAt] = heads[bucket & CHUNK_MASK]!;
    heads[bucket & CHUNK_MASK] = slot + 1;
  }

  #splitAll(): void {
    this.#buckets = this.#base * 2;
    this.#base = this.#buckets;
    for (const chunk of this.#chunks) chunk.fill(0);
    while (this.#chunks.length * CHUNK_BUCKETS < this.#buckets) {
      this.#chunks.push(new Int32Array(CHUNK_BUCKETS));
    }
    for (let slot = 0; slot < this.#records.slotsEnd; slot += 1) {
      const words = this.#records.chunkOf(slot);
      const base = this.#records.baseOf(slot);
      this.#link(this.#bucketOf(words[base + HASH]!), words, base + NEXT, slot);
    }
  }

  /** Adds a bucket and moves to it what belongs there from the one bucket that could hold it. */
  #splitNext(): void {
    if ((this.#buckets & CHUNK_MASK) === 0) this.#chunks.push(new Int32Array(CHUNK_BUCKETS));
    const split = this.#buckets - this.#base;
    const heads = this.#chunks[split >>> CHUNK_SHIFT]!;
    let slot = heads[split & CHUNK_MASK]! - 1;
    heads[split & CHUNK_MASK] = 0;
    while (slot >= 0) {
      const words = this.#records.chunkOf(slot);
      const base = this.#records.baseOf(slot);
      const next = words[base + NEXT]! - 1;
      const moves = (words[base + HASH]! & this.#base) !== 0;
      this.#link(moves ? this.#buckets : split, words, base + NEXT, slot);
      slot = next;
    }
    this.#buckets += 1;
    if (this.#buckets === this.#base * 2) this.#base *= 2;
  }
}
