/** A set of revisions. Nearly all are the first of their main revision, so those are plain numbers. */
export class RevisionSet {
  readonly #firsts = new Set<number>();
  readonly #others = new Map<number, Set<number>>();

  add(main: number, sub: number): void {
    if (sub === 0) {
      this.#firsts.add(main);
      return;
    }
    const subs = this.#others.get(main);
    if (subs === undefined) this.#others.set(main, new Set([sub]));
    else subs.add(sub);
  }

  has(main: number, sub: number): boolean {
    if (sub === 0) return this.#firsts.has(main);
    return this.#others.size > 0 && this.#others.get(main)?.has(sub) === true;
  }

  get isEmpty(): boolean {
    return this.#firsts.size === 0 && this.#others.size === 0;
  }

  clear(): void {
    this.#firsts.clear();
    this.#others.clear();
  }
}
