import { compareBytes, equalBytes } from "../../src/base/bytes.ts";
import { type RangeOptions, sortOrder, sortTarget } from "../../src/mvcc/range.ts";

/** What a key holds at some revision. */
export interface ModelKeyValue {
  readonly key: Uint8Array;
  readonly create: number;
  readonly mod: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: bigint;
}

interface ModelChange {
  readonly main: number;
  readonly key: Uint8Array;
  /** Undefined for a delete. */
  readonly put: { readonly value: Uint8Array; readonly lease: bigint } | undefined;
}

export interface ModelRange {
  readonly kvs: ModelKeyValue[];
  readonly count: number;
  readonly more: boolean;
}

/**
 * A multi-version store that keeps the list of all changes and answers everything by replaying it: what
 * `Store` means, in the plainest way, and far too slow for a server. It knows no compaction of its own.
 */
export class ModelStore {
  currentMain = 1;
  readonly #changes: ModelChange[] = [];

  /** Writes in order as one revision; those of nothing at all make none. Returns the keys deleted. */
  write(writes: readonly (ModelPut | ModelDelete)[]): number {
    const main = this.currentMain + 1;
    const before = this.#changes.length;
    let deleted = 0;
    for (const write of writes) {
      if (write.type === "put") this.#changes.push({ main, key: write.key, put: write });
      else {
        const doomed = this.#at(main).filter(({ key }) => isWithin(key, write.key, write.rangeEnd));
        for (const { key } of doomed) this.#changes.push({ main, key, put: undefined });
        deleted += doomed.length;
      }
    }
    if (this.#changes.length > before) this.currentMain = main;
    return deleted;
  }

  range(options: RangeOptions): ModelRange {
    const { limit = 0, revision = 0 } = options;
    const main = revision <= 0 ? this.currentMain : revision;
    const all = this.#at(main).filter(({ key }) => isWithin(key, options.key, options.rangeEnd));
    if (options.countOnly === true) return { kvs: [], count: all.length, more: false };
    const order = options.sortOrder ?? sortOrder.none;
    let kvs = all.filter((kv) => passes(kv, options));
    const isFiltered = [
      options.minModRevision,
      options.maxModRevision,
      options.minCreateRevision,
      options.maxCreateRevision,
    ].some((bound) => (bound ?? 0) !== 0);
    const fetched = kvs.length;
    // The quirk: without an order the limit cuts before the sort, and one key too many is sorted along.
    if (order === sortOrder.none && !isFiltered && limit > 0) kvs = kvs.slice(0, limit + 1);
    const sign = order === sortOrder.descend ? -1 : 1;
    kvs.sort((a, b) => sign * compareBy(options.sortTarget ?? sortTarget.key, a, b));
    const more = limit > 0 && fetched > limit;
    if (limit > 0) kvs = kvs.slice(0, limit);
    return { kvs, count: all.length, more };
  }

  /** Everything there is at a revision, in key order. */
  #at(main: number): ModelKeyValue[] {
    const live: ModelKeyValue[] = [];
    for (const change of this.#changes) {
      if (change.main > main) break;
      const at = live.findIndex(({ key }) => equalBytes(key, change.key));
      if (change.put === undefined) {
        live.splice(at, 1);
        continue;
      }
      const { value, lease } = change.put;
      const before = live[at];
      const create = before?.create ?? change.main;
      const version = (before?.version ?? 0) + 1;
      const kv = { key: change.key, create, mod: change.main, version, value, lease };
      if (before === undefined) live.push(kv);
      else live[at] = kv;
    }
    return live.sort((a, b) => compareBytes(a.key, b.key));
  }
}

export interface ModelPut {
  readonly type: "put";
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: bigint;
}

export interface ModelDelete {
  readonly type: "delete";
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
}

function isWithin(key: Uint8Array, start: Uint8Array, rangeEnd: Uint8Array): boolean {
  if (rangeEnd.length === 0) return equalBytes(key, start);
  if (compareBytes(key, start) < 0) return false;
  return (rangeEnd.length === 1 && rangeEnd[0] === 0) || compareBytes(key, rangeEnd) < 0;
}

function passes({ mod, create }: ModelKeyValue, options: RangeOptions): boolean {
  const { minModRevision, maxModRevision, minCreateRevision, maxCreateRevision } = options;
  return mod >= (minModRevision || -Infinity) && mod <= (maxModRevision || Infinity) &&
    create >= (minCreateRevision || -Infinity) && create <= (maxCreateRevision || Infinity);
}

function compareBy(target: number, a: ModelKeyValue, b: ModelKeyValue): number {
  switch (target) {
    case sortTarget.version:
      return a.version - b.version;
    case sortTarget.create:
      return a.create - b.create;
    case sortTarget.mod:
      return a.mod - b.mod;
    case sortTarget.value:
      return compareBytes(a.value, b.value);
    default:
      return compareBytes(a.key, b.key);
  }
}
