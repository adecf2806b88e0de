import type { Clock, Timer } from "../../src/ports/clock.ts";

interface Alarm {
  dueMs: number;
  /** Undefined for one that rings once. */
  readonly periodMs: number | undefined;
  readonly run: () => void;
}

/** Time that stands still until the test moves it; turns are those of the real event loop. */
export class ManualClock implements Clock {
  #nowMs = 1_000;
  readonly #alarms = new Set<Alarm>();

  monotonicMs(): number {
    return this.#nowMs;
  }

  get recentMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#add({ dueMs: this.#nowMs + delayMs, periodMs: undefined, run });
  }

  every(periodMs: number, run: () => void): Timer {
    return this.#add({ dueMs: this.#nowMs + periodMs, periodMs, run });
  }

  soon(run: () => void): void {
    setImmediate(run);
  }

  afterSockets(run: () => void): void {
    setImmediate(run);
  }

  /** Rings what is due by then, in order of time; what rings late rings once. */
  advance(ms: number): void {
    this.#nowMs += ms;
    const due = [...this.#alarms].filter(({ dueMs }) => dueMs <= this.#nowMs).sort((a, b) =>
      a.dueMs - b.dueMs
    );
    for (const alarm of due) {
      if (!this.#alarms.has(alarm)) continue;
      if (alarm.periodMs === undefined) this.#alarms.delete(alarm);
      else alarm.dueMs = this.#nowMs + alarm.periodMs;
      alarm.run();
    }
  }

  #add(alarm: Alarm): Timer {
    this.#alarms.add(alarm);
    return { cancel: () => void this.#alarms.delete(alarm) };
  }
}
