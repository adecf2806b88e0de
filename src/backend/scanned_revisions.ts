import type { Backend, StoredRevisions, StoredVisit } from "../mvcc/backend.ts";

/** The records of bucket "key" as any backend finds them. */
export class ScannedRevisions implements StoredRevisions {
  readonly #backend: Pick<Backend, "scanRevisions">;
  readonly #next = { main: 0, sub: 0 };

  constructor(backend: Pick<Backend, "scanRevisions">) {
    this.#backend = backend;
  }

  next(recordsMax: number, visit: StoredVisit): boolean {
    let visited = 0;
    this.#backend.scanRevisions(this.#next, recordsMax, (main, sub, tombstone, keyValue) => {
      visited += 1;
      this.#next.main = main;
      this.#next.sub = sub + 1;
      visit(main, sub, tombstone, keyValue, 0, keyValue.length);
      return true;
    });
    return visited === recordsMax;
  }
}
