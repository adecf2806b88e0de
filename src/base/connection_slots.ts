/** How many connections may be open at a time, of one listener or of several that share the number. */
export class ConnectionSlots {
  readonly #max: number;
  readonly #waiting = new Set<() => void>();
  #taken = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get taken(): number {
    return this.#taken;
  }

  /** False when all are taken. */
  take(): boolean {
    if (this.#taken >= this.#max) return false;
    this.#taken += 1;
    return true;
  }

  /** Gives back a slot that `take` has given. */
  release(): void {
    this.#taken -= 1;
    if (this.#waiting.size === 0) return;
    const told = [...this.#waiting];
    this.#waiting.clear();
    for (const callback of told) callback();
  }

  /** Calls once, when a slot has become free. */
  whenFree(callback: () => void): void {
    this.#waiting.add(callback);
  }
}
