import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { RaftIndex } from "../base/units.ts";
import { type Entry, EntryType } from "./types.ts";

/** What an entry takes besides its data, in memory and encoded; so that empty entries count as well. */
const ENTRY_OVERHEAD_BYTES = 32;
/** Holes at the front shorter than this are not worth closing. */
const CLOSE_HOLE_AT = 64;
const NO_ENTRY: Entry = { term: 0, index: 0, type: EntryType.normal, data: EMPTY_BYTES };

/** The size of an entry as the limits on batches count it. */
export function entryBytes(entry: Entry): number {
  return entry.data.length + ENTRY_OVERHEAD_BYTES;
}

/**
 * Consecutive entries, appended at the end and dropped at either end, each at constant amortised cost: a
 * dropped front is a hole that is closed when it is as long as the rest.
 *
 * Example: entries 5, 6, 7 after `dropBefore(6)` are `[hole, 6, 7]` with `#head` 1; `at(7)` is slot
 * 7 - 6 + 1 = 2.
 */
export class EntryRun {
  #slots: Entry[] = [];
  /** Slots before this one are the hole. */
  #head = 0;
  #first: RaftIndex;

  constructor(firstIndex: RaftIndex) {
    this.#first = firstIndex;
  }

  /** Index of the first entry; of the next one to come when there is none. */
  get firstIndex(): RaftIndex {
    return this.#first;
  }

  /** Index that the next appended entry must have. */
  get nextIndex(): RaftIndex {
    return this.#first + this.#slots.length - this.#head;
  }

  /** The entry at an index in [firstIndex, nextIndex). */
  at(index: RaftIndex): Entry {
    return this.#slots[index - this.#first + this.#head]!;
  }

  push(entry: Entry): void {
    assert(entry.index === this.nextIndex, "entry % appended where % is due", entry.index, this.nextIndex);
    this.#slots.push(entry);
  }

  /** A copy of the entries in [from, to), which must be within the run. */
  slice(from: RaftIndex, to: RaftIndex): Entry[] {
    assert(
      this.#first <= from && from <= to && to <= this.nextIndex,
      "slice [%, %) of entries [%, %)",
      from,
      to,
      this.#first,
      this.nextIndex,
    );
    const shift = this.#head - this.#first;
    return this.#slots.slice(from + shift, to + shift);
  }

  /**
   * Where a batch from `from` ends that has at most `bytesMax`, but at least one entry, and stays before
   * `to`.
   */
  endOfBatch(from: RaftIndex, to: RaftIndex, bytesMax: number): RaftIndex {
    let bytes = 0;
    for (let index = from; index < to; index += 1) {
      bytes += entryBytes(this.at(index));
      if (bytes > bytesMax && index > from) return index;
    }
    return to;
  }

  /** Drops the entries at `index` and after. */
  dropFrom(index: RaftIndex): void {
    assert(index >= this.#first, "entries from % dropped, the first is %", index, this.#first);
    const length = index - this.#first + this.#head;
    if (length < this.#slots.length) this.#slots.length = length;
  }

  /** Drops the entries before `index`, which is at most `nextIndex`. */
  dropBefore(index: RaftIndex): void {
    assert(index <= this.nextIndex, "entries before % dropped, the next is %", index, this.nextIndex);
    const count = index - this.#first;
    if (count <= 0) return;
    const head = this.#head + count;
    this.#first = index;
    if (head === this.#slots.length) {
      this.#slots = [];
      this.#head = 0;
    } else if (head >= CLOSE_HOLE_AT && head * 2 >= this.#slots.length) {
      this.#slots = this.#slots.slice(head);
      this.#head = 0;
    } else {
      this.#slots.fill(NO_ENTRY, this.#head, head);
      this.#head = head;
    }
  }

  /** Drops everything; the next entry will be the one at `firstIndex`. */
  restart(firstIndex: RaftIndex): void {
    this.#slots = [];
    this.#head = 0;
    this.#first = firstIndex;
  }
}
