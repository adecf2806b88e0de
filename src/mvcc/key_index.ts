import { assert } from "../base/assert.ts";
import { KeyArena } from "./key_arena.ts";
import { hashKey } from "./key_hash.ts";
import { FOUND_PUT, KeyHistory } from "./key_history.ts";
import type { KeyIndex, StoredKeyValue } from "./key_index_api.ts";
import { KeyRecords } from "./key_records.ts";
import { KeySort } from "./key_sort.ts";
import { KeyTable } from "./key_table.ts";
import { KeyTree } from "./key_tree.ts";

/** Bytes of entropy that the index is constructed with. */
export const KEY_INDEX_SEED_BYTES = 8;

/**
 * The key index in typed arrays: no object per key, so that millions of keys cost the garbage collector
 * nothing. A key has a record (KeyRecords) named by its slot, bytes (KeyArena), older revisions
 * (KeyHistory), a place in a hash table for point access (KeyTable) and one in a counted tree for order
 * (KeyTree).
 *
 * Reads at a revision below the one that compaction has begun for have no meaning.
 */
export class ArenaKeyIndex implements KeyIndex {
  readonly #arena = new KeyArena();
  readonly #records = new KeyRecords(this.#arena);
  readonly #history = new KeyHistory(this.#records);
  readonly #table = new KeyTable(this.#records);
  readonly #tree = new KeyTree(this.#records, this.#history);
  readonly #seedLow: number;
  readonly #seedHigh: number;

  /** While the index is restored: by slot, the last main revision at which the key was created or deleted. */
  #changed: number[] = [];
  #sort: KeySort | undefined;
  /** Visits under way: nothing may change during one. */
  #visits = 0;
  /** The pass under way has dealt with the slots below this. */
  #compactSlot = 0;

  /** `seed` keys the hash of the table: 8 bytes that clients cannot guess. */
  constructor(seed: Uint8Array) {
    assert(seed.length === KEY_INDEX_SEED_BYTES, "A key index needs a seed of 8 bytes: got %", seed.length);
    this.#seedLow = seed[0]! | (seed[1]! << 8) | (seed[2]! << 16) | (seed[3]! << 24);
    this.#seedHigh = seed[4]! | (seed[5]! << 8) | (seed[6]! << 16) | (seed[7]! << 24);
  }

  find(key: Uint8Array): number {
    const hash = hashKey(key, 0, key.length, this.#seedLow, this.#seedHigh);
    return this.#table.find(hash, key, 0, key.length);
  }

  put(key: Uint8Array, main: number, sub: number): number {
    const records = this.#records;
    const hash = hashKey(key, 0, key.length, this.#seedLow, this.#seedHigh);
    const slot = this.#table.find(hash, key, 0, key.length);
    if (slot < 0) return this.#add(key, hash, main, sub, main, 1, false);
    this.#pushNewest(slot, main, sub);
    if (!records.isTombstone(slot)) {
      records.setNewest(slot, main, sub, records.version(slot) + 1, false);
      return slot;
    }
    records.setNewest(slot, main, sub, 1, false);
    records.setCreateMain(slot, main);
    this.#tree.setLive(slot, true, main);
    return slot;
  }

  setBytes(slot: number, bytes: number): void {
    this.#records.setBytes(slot, bytes);
  }

  tombstone(key: Uint8Array, main: number, sub: number): boolean {
    const slot = this.find(key);
    if (slot < 0 || this.#records.isTombstone(slot)) return false;
    this.#endLife(slot, main, sub);
    this.#tree.setLive(slot, false, main);
    return true;
  }

  tombstoneRange(
    start: Uint8Array,
    end: Uint8Array | undefined,
    main: number,
    sub: number,
    visit: (slot: number) => void,
  ): number {
    let next = sub;
    return this.#tree.endLives(start, end, main, (slot) => {
      this.#visits += 1;
      visit(slot);
      this.#visits -= 1;
      this.#endLife(slot, main, next++);
    });
  }

  restore(put: StoredKeyValue, main: number, sub: number): void {
    const records = this.#records;
    const { createMain, version } = put;
    let slot = this.#takeRestored(put, main, sub);
    if (slot < 0) {
      slot = ~slot;
      this.#changed[slot] = main;
    } else if (records.isTombstone(slot)) this.#changed[slot] = main;
    else if (records.createMain(slot) !== createMain || records.version(slot) + 1 !== version) {
      this.#history.breakGeneration(slot);
    }
    records.setNewest(slot, main, sub, version, false);
    records.setBytes(slot, put.length);
    records.setCreateMain(slot, createMain);
  }

  restoreTombstone(tombstone: StoredKeyValue, main: number, sub: number): void {
    const records = this.#records;
    const slot = this.#takeRestored(tombstone, main, sub);
    const ends = slot >= 0 && !records.isTombstone(slot);
    if (ends || slot < 0) this.#changed[slot < 0 ? ~slot : slot] = main;
    records.setNewest(slot < 0 ? ~slot : slot, main, sub, ends ? records.version(slot) : 0, true);
  }

  restoredSlice(keysMax: number): boolean {
    this.#sort ??= new KeySort(this.#records);
    if (!this.#tree.buildSlice(this.#sort, this.#changed, keysMax)) return false;
    this.#sort = undefined;
    this.#changed = [];
    return true;
  }

  seek(key: Uint8Array, atMain: number): boolean {
    const slot = this.find(key);
    return slot >= 0 && this.#history.seek(slot, atMain);
  }

  get hitMain(): number {
    return this.#history.hitMain;
  }

  get hitSub(): number {
    return this.#history.hitSub;
  }

  get hitCreateMain(): number {
    return this.#history.hitCreateMain;
  }

  get hitVersion(): number {
    return this.#history.hitVersion;
  }

  get hitBytes(): number {
    return this.#history.hitBytes;
  }

  count(start: Uint8Array, end: Uint8Array | undefined, atMain: number, looksMax = Infinity): number {
    return this.#tree.count(start, end, atMain, looksMax);
  }

  visit(
    start: Uint8Array,
    end: Uint8Array | undefined,
    atMain: number,
    visit: (slot: number) => boolean,
    looksMax = Infinity,
  ): void {
    this.#visits += 1;
    try {
      this.#tree.visit(start, end, atMain, visit, looksMax);
    } finally {
      this.#visits -= 1;
    }
  }

  get resumeSlot(): number {
    return this.#tree.resumeSlot;
  }

  keyBytes(slot: number): Uint8Array {
    const ref = this.#records.keyRef(slot);
    const start = this.#arena.startOf(ref);
    return this.#arena.bytesOf(ref).slice(start, start + this.#arena.lengthOf(ref));
  }

  createMain(slot: number): number {
    return this.#records.createMain(slot);
  }

  version(slot: number): number {
    return this.#records.version(slot);
  }

  modMain(slot: number): number {
    return this.#records.main(slot);
  }

  modSub(slot: number): number {
    return this.#records.sub(slot);
  }

  isLive(slot: number): boolean {
    return !this.#records.isTombstone(slot);
  }

  /**
   * A pass goes through the slots in order of number. What is put between two slices is newer than
   * `atMain`, so it does not matter on which side of the pass its slot is. Another `atMain` in the middle
   * of a pass starts a new one. When the slots are done, sparse chunks of key bytes are emptied.
   */
  compactSlice(atMain: number, keysMax: number, keep: (main: number, sub: number) => void): boolean {
    assert(this.#visits === 0, "Cannot change a key index during a visit");
    assert(keysMax > 0, "A compaction slice must allow at least one key: got %", keysMax);
    const history = this.#history;
    if (atMain !== history.compactedMain) {
      assert(
        atMain > history.compactedMain,
        "Compaction at % follows one at %",
        atMain,
        history.compactedMain,
      );
      history.compactedMain = atMain;
      this.#compactSlot = 0;
    }
    const records = this.#records;
    const sliceEnd = Math.min(this.#compactSlot + keysMax, records.slotsEnd);
    const allowed = keysMax - (sliceEnd - this.#compactSlot);
    for (; this.#compactSlot < sliceEnd; this.#compactSlot += 1) {
      const slot = this.#compactSlot;
      if (records.inUse(slot) && history.compact(slot, atMain, keep)) this.#remove(slot);
    }
    if (this.#compactSlot < records.slotsEnd || !this.#evacuateSlice(allowed)) return false;
    this.#compactSlot = 0;
    return true;
  }

  keepAt(atMain: number, keep: (main: number, sub: number) => void): void {
    const history = this.#history;
    for (let slot = 0; slot < this.#records.slotsEnd; slot += 1) {
      if (!this.#records.inUse(slot)) continue;
      if (history.locate(slot, atMain) === FOUND_PUT) keep(history.hitMain, history.hitSub);
    }
  }

  get keyCount(): number {
    return this.#records.count;
  }

  get liveCount(): number {
    return this.#tree.liveCount;
  }

  get memoryBytes(): number {
    return this.#arena.memoryBytes + this.#records.memoryBytes + this.#history.memoryBytes +
      this.#table.memoryBytes + this.#tree.memoryBytes;
  }

  #add(
    key: Uint8Array,
    hash: number,
    main: number,
    sub: number,
    createMain: number,
    version: number,
    tombstone: boolean,
  ): number {
    assert(this.#visits === 0, "Cannot change a key index during a visit");
    const slot = this.#records.add(this.#arena.add(key, 0, key.length), hash);
    this.#records.setNewest(slot, main, sub, version, tombstone);
    this.#records.setCreateMain(slot, createMain);
    this.#table.add(slot);
    this.#tree.insert(slot, !tombstone, main);
    return slot;
  }

  /**
   * The slot of a restored record's key, ready to take the revision `main`.`sub`; for a key that is new, the
   * complement of the one that it gets.
   */
  #takeRestored(record: StoredKeyValue, main: number, sub: number): number {
    const { bytes, keyStart, keyEnd } = record;
    const hash = hashKey(bytes, keyStart, keyEnd, this.#seedLow, this.#seedHigh);
    const known = this.#table.find(hash, bytes, keyStart, keyEnd);
    if (known >= 0) {
      this.#pushNewest(known, main, sub);
      return known;
    }
    const slot = this.#records.add(this.#arena.add(bytes, keyStart, keyEnd), hash);
    this.#table.addAtStart(slot);
    return ~slot;
  }

  /** In the record of a live key; the tree is told by the caller. */
  #endLife(slot: number, main: number, sub: number): void {
    this.#pushNewest(slot, main, sub);
    this.#records.setNewest(slot, main, sub, this.#records.version(slot), true);
  }

  /** Makes the record of a known key ready to take the revision `main`.`sub`. */
  #pushNewest(slot: number, main: number, sub: number): void {
    assert(this.#visits === 0, "Cannot change a key index during a visit");
    const newest = this.#records.main(slot);
    assert(
      main > newest || (main === newest && sub > this.#records.sub(slot)),
      "Revision %.% of a key follows %.%",
      main,
      sub,
      newest,
      this.#records.sub(slot),
    );
    this.#history.push(slot);
  }

  #remove(slot: number): void {
    this.#tree.remove(slot);
    this.#table.remove(slot);
    this.#arena.free(this.#records.keyRef(slot));
    this.#records.remove(slot);
  }

  /** Moves up to `keysMax` keys out of sparse chunks; true when no chunk is sparse. */
  #evacuateSlice(keysMax: number): boolean {
    const arena = this.#arena;
    for (let i = 0; i < keysMax; i += 1) {
      const ref = arena.nextInSparseChunk();
      if (ref < 0) return true;
      const start = arena.startOf(ref);
      const end = start + arena.lengthOf(ref);
      const hash = hashKey(arena.bytesOf(ref), start, end, this.#seedLow, this.#seedHigh);
      const slot = this.#table.findRef(hash, ref);
      if (slot >= 0) this.#records.setKeyRef(slot, arena.move(ref));
    }
    return false;
  }
}
