import type { Clock, Timer } from "../ports/clock.ts";

/** Deadlines of connections are checked this often: they are of ten seconds and more. */
const SWEEP_PERIOD_MS = 1_000;

export interface Swept {
  /** Checks deadlines. `nowMs` is monotonic. */
  sweep(nowMs: number): void;
}

/** One timer for the deadlines of all connections; it runs while there are any. */
export class Sweeper {
  readonly #clock: Clock;
  readonly #members = new Set<Swept>();
  #timer: Timer | undefined;
  #nowMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The monotonic time of the last sweep: up to a second late, and free. */
  get nowMs(): number {
    return this.#nowMs;
  }

  add(member: Swept): void {
    this.#members.add(member);
    if (this.#timer !== undefined) return;
    this.#nowMs = this.#clock.monotonicMs();
    this.#timer = this.#clock.every(SWEEP_PERIOD_MS, () => this.#sweep());
  }

  remove(member: Swept): void {
    this.#members.delete(member);
    if (this.#members.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #sweep(): void {
    this.#nowMs = this.#clock.monotonicMs();
    for (const member of this.#members) member.sweep(this.#nowMs);
  }
}
