/** Time, as the outside supplies it. Leases, ticks and timeouts use the monotonic clock only. */
export interface Clock {
  /** Milliseconds, never going back; the origin means nothing. */
  monotonicMs(): number;
  /**
   * What `monotonicMs` told last, which costs nothing: the beginning of this turn or later, since whoever takes
   * something from outside asks first. For durations and deadlines of single requests.
   */
  readonly recentMs: number;
  /** Milliseconds since 1970-01-01T00:00:00Z. Only for log lines, ids and what people read. */
  wallMs(): number;
  /** Calls `run` once after `delayMs`; delays past 2^31 - 1 ms are waited for in full. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` every `periodMs` until cancelled. Late calls are not made up for. */
  every(periodMs: number, run: () => void): Timer;
  /**
   * Calls `run` once in a coming turn of the event loop. Not for work that goes on from turn to turn: the runtime need
   * not look at its sockets in between.
   */
  soon(run: () => void): void;
  /** Calls `run` once when all sockets had their turn after this one: for long work between its slices. */
  afterSockets(run: () => void): void;
}

export interface Timer {
  cancel(): void;
}

/** Resolves when every socket has had its turn: for long work between its slices. */
export function socketsServed(clock: Clock): Promise<void> {
  return new Promise((resolve) => clock.afterSockets(resolve));
}
