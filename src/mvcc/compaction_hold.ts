/**
 * Reads in progress that compaction has to wait for. Each holds the revision it reads at: what is needed to
 * read there stays until it is released.
 */
export class CompactionHolds {
  readonly #holds = new Set<CompactionHold>();

  hold(main: number): CompactionHold {
    const hold = new CompactionHold(main, this.#holds);
    this.#holds.add(hold);
    return hold;
  }

  /** Whether what a compaction at `main` removes is being read. */
  blocks(main: number): boolean {
    if (this.#holds.size === 0) return false;
    let isBlocked = false;
    for (const hold of this.#holds) {
      if (hold.main >= main) continue;
      isBlocked = true;
      hold.onBlocking?.();
    }
    return isBlocked;
  }

  get size(): number {
    return this.#holds.size;
  }
}

export class CompactionHold {
  readonly main: number;
  /** Told, each time it tries, that a compaction waits for this. Must not release it within the call. */
  onBlocking: (() => void) | undefined;
  readonly #holds: Set<CompactionHold>;

  constructor(main: number, holds: Set<CompactionHold>) {
    this.main = main;
    this.#holds = holds;
  }

  release(): void {
    this.#holds.delete(this);
  }

  /** Undoes a `release` of this same turn, before anybody could make use of it. */
  renew(): void {
    this.#holds.add(this);
  }
}
