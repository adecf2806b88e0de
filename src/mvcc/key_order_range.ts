import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { KeyIndex } from "./key_index_api.ts";
import { encodeKeyValue } from "./key_value.ts";
import { checkReadable, hasRevisionFilters, loadHit, passesFilters } from "./range.ts";
import type { RangeCursor, RangePlan } from "./range.ts";

/** Keys in the order of the index, from one slice to the next by key: writes in between do no harm. */
export class KeyOrderCursor implements RangeCursor {
  readonly revision: number;
  readonly readMain: number;
  done = false;
  more = false;
  count = -1;
  readonly #plan: RangePlan;
  #from: Uint8Array;
  #seen = 0;
  #produced = 0;
  #isCounting = false;

  constructor(plan: RangePlan) {
    this.#plan = plan;
    this.revision = plan.revision;
    this.readMain = plan.readMain;
    this.#from = plan.start;
    // At the current revision the index counts without a walk, and it may not be current any more later.
    if (plan.limit !== Infinity && plan.readMain === plan.revision) {
      this.count = plan.source.index.count(plan.start, plan.end, plan.readMain);
    }
  }

  next(keysMax: number, bytesMax: number): Uint8Array[] {
    assert(!this.done, "A range goes on after its end");
    const plan = this.#plan;
    const { source, options, limit } = plan;
    checkReadable(plan);
    const { index } = source;
    const keysOnly = options.keysOnly === true;
    const filtered = hasRevisionFilters(options);
    const kvs: Uint8Array[] = [];
    let bytes = 0;
    let visited = 0;
    let paused = false;
    index.visit(this.#from, plan.end, plan.readMain, (slot) => {
      if (visited >= keysMax || bytes >= bytesMax) {
        this.#from = index.keyBytes(slot);
        paused = true;
        return false;
      }
      visited += 1;
      this.#seen += 1;
      if (this.#isCounting) return true;
      if (filtered && !passesFilters(options, index.hitCreateMain, index.hitMain)) return true;
      if (this.#produced === limit) {
        this.more = true;
        this.#isCounting = this.count < 0;
        return this.#isCounting;
      }
      const keyValue = keysOnly ? keyWithoutValue(index, slot) : loadHit(source);
      kvs.push(keyValue);
      bytes += keyValue.length;
      this.#produced += 1;
      return true;
    });
    if (!paused) {
      this.done = true;
      if (this.count < 0) this.count = this.#seen;
      this.close();
    }
    return kvs;
  }

  close(): void {
    this.#plan.hold?.release();
  }
}

/** What the index alone knows of its hit: no value and no lease, as etcd answers `keys_only` since 3.7. */
function keyWithoutValue(index: KeyIndex, slot: number): Uint8Array {
  const key = index.keyBytes(slot);
  return encodeKeyValue(key, index.hitCreateMain, index.hitMain, index.hitVersion, EMPTY_BYTES, 0n);
}

/** `count_only`: no keys, and `more` stays false. */
export class CountCursor implements RangeCursor {
  readonly revision: number;
  readonly readMain: number;
  readonly more = false;
  done = false;
  count = 0;
  readonly #plan: RangePlan;
  #from: Uint8Array;

  constructor(plan: RangePlan) {
    this.#plan = plan;
    this.revision = plan.revision;
    this.readMain = plan.readMain;
    this.#from = plan.start;
  }

  next(keysMax: number, _bytesMax: number): Uint8Array[] {
    assert(!this.done, "A range goes on after its end");
    const { source, start, end, revision, readMain } = this.#plan;
    checkReadable(this.#plan);
    const { index } = source;
    if (this.#from === start && readMain === revision) {
      this.count = index.count(start, end, readMain);
      this.#finish();
      return [];
    }
    let visited = 0;
    let paused = false;
    index.visit(this.#from, end, readMain, (slot) => {
      if (visited >= keysMax) {
        this.#from = index.keyBytes(slot);
        paused = true;
        return false;
      }
      visited += 1;
      return true;
    });
    this.count += visited;
    if (!paused) this.#finish();
    return [];
  }

  close(): void {
    this.#plan.hold?.release();
  }

  #finish(): void {
    this.done = true;
    this.close();
  }
}
