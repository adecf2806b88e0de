import type { KeyRecords } from "./key_records.ts";

/** As many keys are sorted by comparing them. */
const COMPARED_KEYS_MAX = 8;
const WORD_BYTES = 4;

/**
 * The slots of all records, each of which is in use, in the order of their keys.
 *
 * Keys are sorted by the four bytes behind those that all of them have in common: such a word and the slot are
 * the halves of a 64-bit number, and the runtime sorts an array of these ten times as fast as it calls a
 * comparison. What has the same word is sorted by the bytes behind it in the same way, but not before its turn
 * comes: keys that are near each other are read once, and are at hand still when they are asked for.
 *
 * Example: of "a/10", "a/2" and "a/1", "a/" is left out. "1", made up with zeros, is before "10" and "2".
 */
export class KeySort {
  readonly #records: KeyRecords;
  readonly #pairs: BigInt64Array;
  /** The same memory: of each pair the slot, and then the word, which counts more (little endian). */
  readonly #halves: Int32Array;
  /**
   * Runs of pairs still to be sorted, the last one first: its first pair, its end, and how many bytes its keys
   * have in common at least. Invariant: the pairs before the first run are in their places.
   */
  readonly #left: number[] = [];
  /** The next pair to be given out. */
  #at = 0;

  constructor(records: KeyRecords) {
    this.#records = records;
    this.#pairs = new BigInt64Array(records.slotsEnd);
    this.#halves = new Int32Array(this.#pairs.buffer);
    for (let slot = 0; slot < records.slotsEnd; slot += 1) this.#halves[slot * 2] = slot;
    this.#pushRun(0, records.slotsEnd, 0);
  }

  /** The slot that comes next, or -1 after the last one. */
  next(): number {
    if (this.#at === this.#pairs.length) return -1;
    const left = this.#left;
    while (left.length > 0 && left[left.length - 3] === this.#at) {
      const common = left.pop()!;
      const end = left.pop()!;
      const first = left.pop()!;
      if (end - first <= COMPARED_KEYS_MAX) this.#sortCompared(first, end, common);
      else this.#sortByWord(first, end, common);
    }
    const slot = this.#halves[this.#at * 2]!;
    this.#at += 1;
    return slot;
  }

  #pushRun(first: number, end: number, common: number): void {
    if (end - first > 1) this.#left.push(first, end, common);
  }

  /** Sorts a run by the next word of its keys, and leaves those with the same word for later. */
  #sortByWord(first: number, end: number, commonMin: number): void {
    const records = this.#records;
    const halves = this.#halves;
    const rest = this.#putEndedFirst(first, end, commonMin);
    if (end - rest <= COMPARED_KEYS_MAX) return this.#sortCompared(rest, end, commonMin);
    const common = this.#commonPrefix(rest, end, commonMin);
    for (let i = rest; i < end; i += 1) halves[i * 2 + 1] = records.wordAt(halves[i * 2]!, common);
    this.#pairs.subarray(rest, end).sort();
    let runEnd = end;
    for (let i = end - 1; i >= rest; i -= 1) {
      if (i > rest && halves[i * 2 - 1] === halves[i * 2 + 1]) continue;
      this.#pushRun(i, runEnd, common + WORD_BYTES);
      runEnd = i;
    }
  }

  /**
   * Keys of a run that end within the bytes in common are made up with zeros to them: they are five at most, and
   * the shortest is the first. Returns where the others begin.
   */
  #putEndedFirst(first: number, end: number, common: number): number {
    const records = this.#records;
    const halves = this.#halves;
    let rest = first;
    for (let i = first; i < end; i += 1) {
      if (records.arena.lengthOf(records.keyRef(halves[i * 2]!)) > common) continue;
      this.#swap(i, rest);
      rest += 1;
    }
    this.#sortCompared(first, rest, common);
    return rest;
  }

  /** How many bytes all keys of a run have in common; they are longer than the `from` that are known. */
  #commonPrefix(first: number, end: number, from: number): number {
    const records = this.#records;
    const { arena } = records;
    const halves = this.#halves;
    const firstRef = records.keyRef(halves[first * 2]!);
    const firstBytes = arena.bytesOf(firstRef);
    const firstStart = arena.startOf(firstRef);
    let common = arena.lengthOf(firstRef);
    for (let i = first + 1; i < end; i += 1) {
      const ref = records.keyRef(halves[i * 2]!);
      const bytes = arena.bytesOf(ref);
      const start = arena.startOf(ref);
      const commonMax = Math.min(common, arena.lengthOf(ref));
      common = from;
      while (common < commonMax && bytes[start + common] === firstBytes[firstStart + common]) common += 1;
    }
    return common;
  }

  #sortCompared(first: number, end: number, common: number): void {
    for (let i = first + 1; i < end; i += 1) {
      for (let at = i; at > first && this.#isBefore(at, at - 1, common); at -= 1) this.#swap(at, at - 1);
    }
  }

  #isBefore(a: number, b: number, common: number): boolean {
    const records = this.#records;
    const { arena } = records;
    const ref = records.keyRef(this.#halves[b * 2]!);
    return records.compare(
      this.#halves[a * 2]!,
      arena.bytesOf(ref),
      arena.startOf(ref),
      arena.lengthOf(ref),
      common,
    ) < 0;
  }

  /** The words of the two are not needed any more. */
  #swap(a: number, b: number): void {
    const halves = this.#halves;
    const slot = halves[a * 2]!;
    halves[a * 2] = halves[b * 2]!;
    halves[b * 2] = slot;
  }
}
