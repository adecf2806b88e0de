/**
 * The work that long reads may do in one turn of the event loop, all of them together: however many there are,
 * no turn is long. Who finds nothing left waits for a coming turn; those who wait have it one after the other.
 */
export class TurnBudget {
  readonly #workPerTurn: number;
  readonly #soon: (run: () => void) => void;
  #left: number;
  #isRenewalDue = false;
  #waiting: (() => void)[] = [];

  /** `soon` runs a step in a coming turn. The unit of work is for the callers to agree on. */
  constructor(workPerTurn: number, soon: (run: () => void) => void) {
    this.#workPerTurn = workPerTurn;
    this.#left = workPerTurn;
    this.#soon = soon;
  }

  /** What may be done now; not above 0 when the turn is used up. */
  get left(): number {
    return this.#left;
  }

  spend(work: number): void {
    this.#left -= work;
    this.#renewSoon();
  }

  /** Calls `run` once, in a coming turn in which there is work left for it. */
  wait(run: () => void): void {
    this.#waiting.push(run);
    this.#renewSoon();
  }

  #renewSoon(): void {
    if (this.#isRenewalDue) return;
    this.#isRenewalDue = true;
    this.#soon(() => this.#renew());
  }

  #renew(): void {
    this.#isRenewalDue = false;
    this.#left = this.#workPerTurn;
    const waiting = this.#waiting;
    this.#waiting = [];
    let called = 0;
    while (called < waiting.length && this.#left > 0) waiting[called++]!();
    if (called < waiting.length) this.#waiting = [...waiting.slice(called), ...this.#waiting];
    if (this.#waiting.length > 0) this.#renewSoon();
  }
}
