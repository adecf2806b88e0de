import type { Backend } from "../../src/mvcc/backend.ts";

/** Numbers that a seed decides; the same on every runtime. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A whole number in [0, limit). */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  }
}

const smallBuckets = ["lease", "authUsers", "members", "alarm"] as const;

/**
 * Applies entry `index` of a made-up history that is a function of the index alone: appended revisions,
 * deletes of old ones, records of small buckets put and taken away. The main revision is the index.
 */
export function applyEntry(backend: Backend, index: number): void {
  const dice = new Dice(index * 2654435761);
  const puts = 1 + dice.below(3);
  for (let sub = 0; sub < puts; sub += 1) {
    backend.putRevision(index, sub, isTombstone(index, sub), valueOf(dice));
  }
  for (let n = dice.below(3); n > 0; n -= 1) {
    const main = 1 + dice.below(index);
    backend.deleteRevision(main, 0, isTombstone(main, 0));
  }
  for (let n = dice.below(3); n > 0; n -= 1) {
    const bucket = smallBuckets[dice.below(smallBuckets.length)]!;
    const key = Uint8Array.of(dice.below(40), dice.below(4));
    if (dice.below(3) === 0) backend.delete(bucket, key);
    else backend.put(bucket, key, valueOf(dice));
  }
  backend.endEntry(index, 1 + Math.floor(index / 1000));
}

function isTombstone(main: number, sub: number): boolean {
  return (main + sub) % 5 === 0;
}

function valueOf(dice: Dice): Uint8Array {
  const length = dice.below(20) === 0 ? dice.below(20_000) : dice.below(300);
  return new Uint8Array(length).fill(dice.below(256));
}
