import type { Clock } from "../ports/clock.ts";

/**
 * The work that long reads may do in one turn of the event loop, all of them together: however many there are,
 * no turn is long. Who finds nothing left waits until the sockets had their turn; those who wait go on one after
 * the other.
 */
export class TurnBudget {
  readonly #workPerTurn: number;
  readonly #clock: Pick<Clock, "soon" | "afterSockets">;
  #left: number;
  #isRenewalDue = false;
  #waiting: (() => void)[] = [];

  /** The unit of work is for the callers to agree on. */
  constructor(workPerTurn: number, clock: Pick<Clock, "soon" | "afterSockets">) {
    this.#workPerTurn = workPerTurn;
    this.#left = workPerTurn;
    this.#clock = clock;
  }

  /** What may be done now; not above 0 when the turn is used up. */
  get left(): number {
    return this.#left;
  }

  spend(work: number): void {
    this.#left -= work;
    if (this.#isRenewalDue) return;
    this.#isRenewalDue = true;
    this.#clock.soon(this.#onTurn);
  }

  /** Calls `run` once, after the sockets had their turn and when there is work left for it. */
  wait(run: () => void): void {
    this.#waiting.push(run);
    if (!this.#isRenewalDue) this.#renewAfterSockets();
  }

  /** Small reads came from the sockets, each by itself: it is the long ones that have to let the sockets go first. */
  readonly #onTurn = (): void => {
    if (this.#waiting.length > 0) return this.#renewAfterSockets();
    this.#isRenewalDue = false;
    this.#left = this.#workPerTurn;
  };

  #renewAfterSockets(): void {
    this.#isRenewalDue = true;
    this.#clock.afterSockets(this.#renew);
  }

  readonly #renew = (): void => {
    this.#isRenewalDue = false;
    this.#left = this.#workPerTurn;
    const waiting = this.#waiting;
    this.#waiting = [];
    let called = 0;
    while (called < waiting.length && this.#left > 0) waiting[called++]!();
    if (called < waiting.length) this.#waiting = [...waiting.slice(called), ...this.#waiting];
    if (this.#waiting.length > 0 && !this.#isRenewalDue) this.#renewAfterSockets();
  };
}
