/**
 * A seeded generator of numbers that are random enough for timeouts, simulations and tests, and never
 * for secrets: xoshiro128** (Blackman and Vigna, 2018), its state filled from the seed by splitmix32. The
 * same seed gives the same numbers on every runtime.
 */
export class Prng {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /** Every 32-bit seed is a good one. */
  constructor(seed: number) {
    let state = seed | 0;
    const next = (): number => {
      state = (state + 0x9e3779b9) | 0;
      let mixed = state ^ (state >>> 16);
      mixed = Math.imul(mixed, 0x21f0aaad);
      mixed ^= mixed >>> 15;
      mixed = Math.imul(mixed, 0x735a2d97);
      return mixed ^ (mixed >>> 15);
    };
    this.#a = next();
    this.#b = next();
    this.#c = next();
    this.#d = next();
  }

  /** A whole number in [0, 2^32). */
  uint32(): number {
    const scrambled = Math.imul(this.#b, 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = this.#b << 9;
    this.#c ^= this.#a;
    this.#d ^= this.#b;
    this.#b ^= this.#c;
    this.#a ^= this.#d;
    this.#c ^= shifted;
    this.#d = (this.#d << 11) | (this.#d >>> 21);
    return result;
  }

  /** A whole number in [0, limit), each equally likely; `limit` is in [1, 2^32]. */
  below(limit: number): number {
    // Numbers past the last whole multiple of `limit` would favour the small ones: draw again.
    const unbiased = 0x1_0000_0000 - (0x1_0000_0000 % limit);
    for (;;) {
      const drawn = this.uint32();
      if (drawn < unbiased) return drawn % limit;
    }
  }

  /** A number in [0, 1). */
  fraction(): number {
    return this.uint32() / 0x1_0000_0000;
  }

  /** True with the given probability. */
  chance(probability: number): boolean {
    return this.fraction() < probability;
  }

  /** An independent stream, so that one component drawing more does not shift the others. */
  fork(): Prng {
    return new Prng(this.uint32());
  }
}
