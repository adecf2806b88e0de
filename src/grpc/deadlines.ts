import type { Clock, Timer } from "../ports/clock.ts";

/** How late a deadline may be noticed. Clients keep their own time; this only frees what the call holds. */
const SWEEP_PERIOD_MS = 20;

/** A call with a deadline, as a node of the list below; the fields are the list's. */
export interface DeadlineNode {
  deadlineMs: number;
  previousDeadline: DeadlineNode | undefined;
  nextDeadline: DeadlineNode | undefined;
  onDeadline(): void;
}

/**
 * The calls in flight that have a deadline. Calls come and go far faster than deadlines pass, so joining
 * and leaving is all that must be cheap: a linked list through the calls, swept while it is not empty.
 */
export class Deadlines {
  readonly #clock: Clock;
  #first: DeadlineNode | undefined;
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  join(node: DeadlineNode, timeoutMs: number): void {
    node.deadlineMs = this.#clock.monotonicMs() + timeoutMs;
    node.previousDeadline = undefined;
    node.nextDeadline = this.#first;
    if (this.#first !== undefined) this.#first.previousDeadline = node;
    this.#first = node;
    this.#timer ??= this.#clock.every(SWEEP_PERIOD_MS, () => this.#sweep());
  }

  leave(node: DeadlineNode): void {
    const { previousDeadline: previous, nextDeadline: next } = node;
    if (previous !== undefined) previous.nextDeadline = next;
    else if (this.#first === node) this.#first = next;
    if (next !== undefined) next.previousDeadline = previous;
    node.previousDeadline = undefined;
    node.nextDeadline = undefined;
  }

  #sweep(): void {
    const now = this.#clock.monotonicMs();
    for (let node = this.#first; node !== undefined;) {
      const next = node.nextDeadline;
      if (node.deadlineMs <= now) {
        this.leave(node);
        node.onDeadline();
      }
      node = next;
    }
    if (this.#first === undefined) this.stop();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
