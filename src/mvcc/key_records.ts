import { assert } from "../base/assert.ts";
import type { KeyArena } from "./key_arena.ts";

// A record is eleven 32-bit words; a slot is its number. The three numbers that may pass 2^32 have their low
// halves in words of their own and their high parts packed.
const RECORD_WORDS = 11;
/** Where the key's bytes are (see KeyArena). */
export const KEY_REF = 0;
export const HASH = 1;
/** The next record of the hash chain, or of the free list: slot + 1, and 0 for none. */
export const NEXT = 2;
/** First cell of the revisions before the newest (see KeyHistory); 0 for none. */
export const HISTORY = 3;
export const MAIN_LOW = 4;
export const CREATE_LOW = 5;
export const VERSION_LOW = 6;
/** Bits 0-20: high part of the newest main revision; bits 21-31: high part of the version. */
export const HIGHS = 7;
/** Bits 0-20: high part of the create revision; 21-26: entries since the last signpost; 27: in use. */
export const CREATE_HIGH = 8;
/** Bits 0-30: sub revision; bit 31: the newest revision is a tombstone. */
export const SUB = 9;
/** Length of the newest KeyValue as it is stored, or 0 when that is not known. */
export const BYTES = 10;

export const TWO_POW_32 = 0x1_0000_0000;
/** Mask of the 21 bits that a number below 2^53 has above its low 32. */
export const HIGH_MASK = (1 << 21) - 1;
const VERSION_HIGH_SHIFT = 21;
const VERSION_MAX = 2 ** 43 - 1;
const ENTRIES_SHIFT = 21;
const ENTRIES_MASK = 0x3f;
const IN_USE = 1 << 27;
const SUB_MASK = 0x7fff_ffff;
const TOMBSTONE = 0x8000_0000 | 0;

const CHUNK_SHIFT = 13;
const CHUNK_RECORDS = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_RECORDS - 1;

/**
 * One fixed-size record per key, in chunks of typed arrays: where its bytes are, its newest revision, and
 * the create revision and version that belong to it. Freed slots are used again.
 */
export class KeyRecords {
  readonly arena: KeyArena;
  readonly #chunks: Int32Array[] = [];
  /** Slots below this have been handed out at some time. */
  #slotsEnd = 0;
  #freeHead = 0;
  #count = 0;

  constructor(arena: KeyArena) {
    this.arena = arena;
  }

  /** Takes a slot for a key. The revision fields are set by `setNewest` and `setGeneration`. */
  add(keyRef: number, hash: number): number {
    const slot = this.#freeHead > 0 ? this.#takeFree() : this.#takeNew();
    this.#count += 1;
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    words[base + KEY_REF] = keyRef;
    words[base + HASH] = hash;
    words[base + CREATE_HIGH] = IN_USE;
    return slot;
  }

  /** Gives the slot back. The key's bytes and history have been freed BEFORE. */
  remove(slot: number): void {
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    words[base + CREATE_HIGH] = 0;
    words[base + NEXT] = this.#freeHead;
    this.#freeHead = slot + 1;
    this.#count -= 1;
  }

  /** The words of a slot are `chunkOf(slot)[baseOf(slot) + field]`. */
  chunkOf(slot: number): Int32Array {
    return this.#chunks[slot >>> CHUNK_SHIFT]!;
  }

  baseOf(slot: number): number {
    return (slot & CHUNK_MASK) * RECORD_WORDS;
  }

  inUse(slot: number): boolean {
    return (this.chunkOf(slot)[this.baseOf(slot) + CREATE_HIGH]! & IN_USE) !== 0;
  }

  keyRef(slot: number): number {
    return this.chunkOf(slot)[this.baseOf(slot) + KEY_REF]!;
  }

  setKeyRef(slot: number, keyRef: number): void {
    this.chunkOf(slot)[this.baseOf(slot) + KEY_REF] = keyRef;
  }

  main(slot: number): number {
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    return (words[base + HIGHS]! & HIGH_MASK) * TWO_POW_32 + (words[base + MAIN_LOW]! >>> 0);
  }

  sub(slot: number): number {
    return this.chunkOf(slot)[this.baseOf(slot) + SUB]! & SUB_MASK;
  }

  isTombstone(slot: number): boolean {
    return this.chunkOf(slot)[this.baseOf(slot) + SUB]! < 0;
  }

  createMain(slot: number): number {
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    return (words[base + CREATE_HIGH]! & HIGH_MASK) * TWO_POW_32 + (words[base + CREATE_LOW]! >>> 0);
  }

  /** Version of the newest put. */
  version(slot: number): number {
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    return (words[base + HIGHS]! >>> VERSION_HIGH_SHIFT) * TWO_POW_32 + (words[base + VERSION_LOW]! >>> 0);
  }

  /** Sets the newest revision. A tombstone leaves the version at that of the put before it. */
  setNewest(slot: number, main: number, sub: number, version: number, tombstone: boolean): void {
    assert(sub >= 0 && sub <= SUB_MASK, "Sub revision % is out of range", sub);
    assert(version <= VERSION_MAX, "Version % is out of range", version);
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    words[base + MAIN_LOW] = main;
    words[base + VERSION_LOW] = version;
    words[base + HIGHS] = ((version / TWO_POW_32) << VERSION_HIGH_SHIFT) | (main / TWO_POW_32);
    words[base + SUB] = tombstone ? sub | TOMBSTONE : sub;
    words[base + BYTES] = 0;
  }

  bytes(slot: number): number {
    return this.chunkOf(slot)[this.baseOf(slot) + BYTES]! >>> 0;
  }

  /** AFTER `setNewest`, which forgets the length of the KeyValue before. */
  setBytes(slot: number, bytes: number): void {
    this.chunkOf(slot)[this.baseOf(slot) + BYTES] = bytes;
  }

  setCreateMain(slot: number, createMain: number): void {
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    words[base + CREATE_LOW] = createMain;
    words[base + CREATE_HIGH] = (words[base + CREATE_HIGH]! & ~HIGH_MASK) | (createMain / TWO_POW_32);
  }

  history(slot: number): number {
    return this.chunkOf(slot)[this.baseOf(slot) + HISTORY]!;
  }

  setHistory(slot: number, cell: number): void {
    this.chunkOf(slot)[this.baseOf(slot) + HISTORY] = cell;
  }

  /** Counts an entry put into the history; true each time that 64 have been counted. */
  countEntry(slot: number): boolean {
    const words = this.chunkOf(slot);
    const at = this.baseOf(slot) + CREATE_HIGH;
    const entries = ((words[at]! >>> ENTRIES_SHIFT) + 1) & ENTRIES_MASK;
    words[at] = (words[at]! & ~(ENTRIES_MASK << ENTRIES_SHIFT)) | (entries << ENTRIES_SHIFT);
    return entries === 0;
  }

  /** Compares a stored key with `bytes[start, start + length)` from their byte `from` on; before it they agree. */
  compare(slot: number, bytes: Uint8Array, start: number, length: number, from: number): number {
    const arena = this.arena;
    const ref = this.keyRef(slot);
    const stored = arena.bytesOf(ref);
    const storedStart = arena.startOf(ref);
    const storedLength = arena.lengthOf(ref);
    const shared = storedLength < length ? storedLength : length;
    for (let i = from; i < shared; i += 1) {
      const difference = stored[storedStart + i]! - bytes[start + i]!;
      if (difference !== 0) return difference;
    }
    return storedLength - length;
  }

  /** How many bytes two stored keys have in common at their start, at most `limit`. */
  commonPrefix(slotA: number, slotB: number, limit: number): number {
    const arena = this.arena;
    const refA = this.keyRef(slotA);
    const refB = this.keyRef(slotB);
    const a = arena.bytesOf(refA);
    const b = arena.bytesOf(refB);
    const startA = arena.startOf(refA);
    const startB = arena.startOf(refB);
    const end = Math.min(limit, arena.lengthOf(refA), arena.lengthOf(refB));
    let i = 0;
    while (i < end && a[startA + i] === b[startB + i]) i += 1;
    return i;
  }

  /** The four bytes of a stored key from its byte `at` on, as `wordOf` has them. */
  wordAt(slot: number, at: number): number {
    const arena = this.arena;
    const ref = this.keyRef(slot);
    const start = arena.startOf(ref);
    return wordOf(arena.bytesOf(ref), start + at, start + arena.lengthOf(ref));
  }

  get count(): number {
    return this.#count;
  }

  /** Every slot in use is below this. */
  get slotsEnd(): number {
    return this.#slotsEnd;
  }

  get memoryBytes(): number {
    return this.#chunks.length * CHUNK_RECORDS * RECORD_WORDS * 4;
  }

  /** A slot that was given back; its words are zero again. */
  #takeFree(): number {
    const slot = this.#freeHead - 1;
    const words = this.chunkOf(slot);
    const base = this.baseOf(slot);
    this.#freeHead = words[base + NEXT]!;
    words.fill(0, base, base + RECORD_WORDS);
    return slot;
  }

  #takeNew(): number {
    const slot = this.#slotsEnd;
    assert(slot < 0x7fff_ffff, "Cannot index more than 2^31 - 1 keys");
    if ((slot & CHUNK_MASK) === 0) this.#chunks.push(new Int32Array(CHUNK_RECORDS * RECORD_WORDS));
    this.#slotsEnd += 1;
    return slot;
  }
}

/**
 * The four bytes of `bytes[at, end)` from `at` on as a signed number with the top bit flipped, which orders as
 * the bytes do; missing ones count as 0.
 */
export function wordOf(bytes: Uint8Array, at: number, end: number): number {
  if (at + 4 <= end) {
    return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) ^
      0x8000_0000;
  }
  let word = 0;
  for (let i = 0; i < 4; i += 1) word = (word << 8) | (at + i < end ? bytes[at + i]! : 0);
  return word ^ 0x8000_0000;
}
