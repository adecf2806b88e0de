import { assert } from "../../base/assert.ts";
import type { RaftIndex } from "../../base/units.ts";

/**
 * The messages with entries that are under way to one follower, oldest first, with the index of their last
 * entry: a window that is full stops the sender.
 */
export class Inflights {
  readonly #countMax: number;
  readonly #bytesMax: number;
  /** A ring: `#count` messages from `#start` on. It grows up to `#countMax`. */
  #indexes: Float64Array = new Float64Array(0);
  #sizes: Float64Array = new Float64Array(0);
  #start = 0;
  #count = 0;
  #bytes = 0;

  constructor(limits: { readonly countMax: number; readonly bytesMax: number }) {
    this.#countMax = limits.countMax;
    this.#bytesMax = limits.bytesMax;
  }

  get count(): number {
    return this.#count;
  }

  get full(): boolean {
    return this.#count === this.#countMax || this.#bytes >= this.#bytesMax;
  }

  add(lastIndex: RaftIndex, bytes: number): void {
    assert(!this.full, "message up to % sent with % under way", lastIndex, this.#count);
    if (this.#count === this.#indexes.length) this.#grow();
    const slot = (this.#start + this.#count) % this.#indexes.length;
    this.#indexes[slot] = lastIndex;
    this.#sizes[slot] = bytes;
    this.#count += 1;
    this.#bytes += bytes;
  }

  /** The follower has everything up to `index`: messages that end there or before have arrived. */
  freeTo(index: RaftIndex): void {
    while (this.#count > 0 && this.#indexes[this.#start]! <= index) {
      this.#bytes -= this.#sizes[this.#start]!;
      this.#start = (this.#start + 1) % this.#indexes.length;
      this.#count -= 1;
    }
  }

  clear(): void {
    this.#start = 0;
    this.#count = 0;
    this.#bytes = 0;
  }

  #grow(): void {
    const length = Math.min(this.#countMax, Math.max(8, this.#indexes.length * 2));
    const indexes = new Float64Array(length);
    const sizes = new Float64Array(length);
    for (let i = 0; i < this.#count; i += 1) {
      const slot = (this.#start + i) % this.#indexes.length;
      indexes[i] = this.#indexes[slot]!;
      sizes[i] = this.#sizes[slot]!;
    }
    this.#indexes = indexes;
    this.#sizes = sizes;
    this.#start = 0;
  }
}
