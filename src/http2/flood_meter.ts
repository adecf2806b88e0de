/**
 * A budget for frames that are legal and cost the sender next to nothing: each one takes from it, time and useful
 * work put back. A peer that empties it is flooding.
 *
 * Example: with a burst of 5 and 1 per second, the sixth PING of a moment exceeds it; after two seconds there is
 * room for two more.
 */
export class FloodMeter {
  readonly #burst: number;
  readonly #perMs: number;
  #credit: number;
  #refilledMs: number;

  constructor(options: { readonly burst: number; readonly perSecond: number; readonly nowMs: number }) {
    this.#burst = options.burst;
    this.#perMs = options.perSecond / 1_000;
    this.#credit = options.burst;
    this.#refilledMs = options.nowMs;
  }

  /** Takes one. False when there was none left. `nowMs` may lag behind the true time. */
  take(nowMs: number): boolean {
    if (this.#credit < 1) this.#refill(nowMs);
    if (this.#credit < 1) return false;
    this.#credit -= 1;
    return true;
  }

  /** Puts back `count` for work that was done. */
  earn(count: number): void {
    if (this.#credit < this.#burst) this.#credit += count;
  }

  #refill(nowMs: number): void {
    const earned = (nowMs - this.#refilledMs) * this.#perMs;
    if (earned <= 0) return;
    this.#refilledMs = nowMs;
    this.#credit = Math.min(this.#burst, this.#credit + earned);
  }
}
