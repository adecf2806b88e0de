import type { Clock, Timer } from "../../ports/clock.ts";
import { clearInterval, clearTimeout, setImmediate, setInterval, setTimeout } from "node:timers";

/** The longest delay that `setTimeout` keeps; a longer one would run at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export interface ClockOptions {
  /** The longest delay given to the runtime in one piece; tests make it small. */
  readonly timerMsMax?: number;
  /** What the clock's `afterSockets` does; by default the next turn, as Node and Bun look at the sockets before it. */
  readonly afterSockets?: (run: () => void) => void;
}

/**
 * Timers of `after` keep the process alive, for something waits for them; those of `every` do not, unless
 * the period is longer than `timerMsMax`.
 */
export function createClock(
  { timerMsMax = TIMER_MS_MAX, afterSockets = nextTurn }: ClockOptions = {},
): Clock {
  let recentMs = performance.now();
  return {
    monotonicMs: () => recentMs = performance.now(),
    get recentMs() {
      return recentMs;
    },
    wallMs: () => Date.now(),
    after: (delayMs, run) =>
      delayMs <= timerMsMax ? new ShortTimer(delayMs, run) : new LongTimer(delayMs, timerMsMax, run),
    every: (periodMs, run) =>
      periodMs <= timerMsMax
        ? new PeriodicTimer(periodMs, run)
        : new LongPeriodicTimer(periodMs, timerMsMax, run),
    soon: nextTurn,
    afterSockets,
  };
}

function nextTurn(run: () => void): void {
  setImmediate(run);
}

export const clock: Clock = createClock();

class ShortTimer implements Timer {
  readonly #timeout: ReturnType<typeof setTimeout>;

  constructor(delayMs: number, run: () => void) {
    this.#timeout = setTimeout(run, Math.max(0, delayMs));
  }

  cancel(): void {
    clearTimeout(this.#timeout);
  }
}

/** Waits in pieces, measured against the monotonic clock so that the pieces' lateness does not add up. */
class LongTimer implements Timer {
  readonly #deadlineMs: number;
  readonly #pieceMsMax: number;
  readonly #run: () => void;
  #timeout: ReturnType<typeof setTimeout>;

  constructor(delayMs: number, pieceMsMax: number, run: () => void) {
    this.#deadlineMs = performance.now() + delayMs;
    this.#pieceMsMax = pieceMsMax;
    this.#run = run;
    this.#timeout = setTimeout(() => this.#pieceDone(), pieceMsMax);
  }

  #pieceDone(): void {
    const leftMs = this.#deadlineMs - performance.now();
    if (leftMs <= 0) return this.#run();
    this.#timeout = setTimeout(() => this.#pieceDone(), Math.min(leftMs, this.#pieceMsMax));
  }

  cancel(): void {
    clearTimeout(this.#timeout);
  }
}

class PeriodicTimer implements Timer {
  readonly #interval: ReturnType<typeof setInterval>;

  constructor(periodMs: number, run: () => void) {
    this.#interval = setInterval(run, periodMs).unref();
  }

  cancel(): void {
    clearInterval(this.#interval);
  }
}

/** A period of more than 24 days. */
class LongPeriodicTimer implements Timer {
  #current: LongTimer;

  constructor(periodMs: number, pieceMsMax: number, run: () => void) {
    const next = (): LongTimer =>
      new LongTimer(periodMs, pieceMsMax, () => {
        this.#current = next();
        run();
      });
    this.#current = next();
  }

  cancel(): void {
    this.#current.cancel();
  }
}
