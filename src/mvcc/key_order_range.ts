import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { KeyIndex } from "./key_index_api.ts";
import { encodeKeyValue } from "./key_value.ts";
import { checkReadable, hasRevisionFilters, KeyValueList, passesFilters } from "./range.ts";
import type { RangeCursor, RangePlan, RangeSink } from "./range.ts";

/** Keys in the order of the index, from one slice to the next by key: writes in between do no harm. */
export class KeyOrderCursor implements RangeCursor {
  readonly revision: number;
  readonly readMain: number;
  done = false;
  more = false;
  count = 0;
  readonly #plan: RangePlan;
  #from: Uint8Array;
  #produced = 0;
  /** Set once the limit is reached: counts the rest. */
  #counter: RangeCounter | undefined;

  constructor(plan: RangePlan) {
    this.#plan = plan;
    this.revision = plan.revision;
    this.readMain = plan.readMain;
    this.#from = plan.start;
  }

  next(keysMax: number, bytesMax: number): Uint8Array[] {
    const list = new KeyValueList();
    this.nextInto(list, keysMax, bytesMax);
    return list.kvs;
  }

  nextInto(sink: RangeSink, keysMax: number, workMax: number): void {
    assert(!this.done, "A range goes on after its end");
    checkReadable(this.#plan);
    if (this.#counter === undefined && !this.#readOn(sink, keysMax, workMax)) return;
    if (this.#counter !== undefined) {
      if (!this.#counter.step(keysMax)) return;
      this.count += this.#counter.count;
    }
    this.done = true;
    this.close();
  }

  rewind(): void {
    this.done = false;
    this.more = false;
    this.count = 0;
    this.#from = this.#plan.start;
    this.#produced = 0;
    this.#counter = undefined;
    this.#plan.hold?.renew();
  }

  onBlocking(onBlocking: () => void): void {
    if (this.#plan.hold !== undefined) this.#plan.hold.onBlocking = onBlocking;
  }

  close(): void {
    this.#plan.hold?.release();
  }

  /** Gives the sink what the budgets allow; true when nothing is left to read. */
  #readOn(sink: RangeSink, keysMax: number, workMax: number): boolean {
    const plan = this.#plan;
    const { source, options, limit } = plan;
    const { index } = source;
    const keysOnly = options.keysOnly === true;
    const filtered = hasRevisionFilters(options);
    let work = 0;
    let paused = false;
    index.visit(this.#from, plan.end, plan.readMain, (slot) => {
      if (work >= workMax) {
        this.#from = index.keyBytes(slot);
        paused = true;
        return false;
      }
      if (filtered && !passesFilters(options, index.hitCreateMain, index.hitMain)) {
        this.count += 1;
        return true;
      }
      if (this.#produced === limit) {
        this.more = true;
        this.#counter = new RangeCounter(plan, index.keyBytes(slot));
        return false;
      }
      work += keysOnly
        ? sink.addMade(keyWithoutValue(index, slot))
        : sink.addStored(source, index.hitMain, index.hitSub, index.hitBytes);
      this.count += 1;
      this.#produced += 1;
      return true;
    }, keysMax);
    if (index.resumeSlot >= 0) {
      this.#from = index.keyBytes(index.resumeSlot);
      paused = true;
    }
    return !paused;
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
  readonly #plan: RangePlan;
  #counter: RangeCounter;

  constructor(plan: RangePlan) {
    this.#plan = plan;
    this.#counter = new RangeCounter(plan, plan.start);
    this.revision = plan.revision;
    this.readMain = plan.readMain;
  }

  get count(): number {
    return this.#counter.count;
  }

  next(keysMax: number, _bytesMax: number): Uint8Array[] {
    this.#countOn(keysMax);
    return [];
  }

  nextInto(_sink: RangeSink, keysMax: number, _workMax: number): void {
    this.#countOn(keysMax);
  }

  #countOn(keysMax: number): void {
    assert(!this.done, "A range goes on after its end");
    checkReadable(this.#plan);
    this.done = this.#counter.step(keysMax);
    if (this.done) this.close();
  }

  rewind(): void {
    this.done = false;
    this.#counter = new RangeCounter(this.#plan, this.#plan.start);
    this.#plan.hold?.renew();
  }

  onBlocking(onBlocking: () => void): void {
    if (this.#plan.hold !== undefined) this.#plan.hold.onBlocking = onBlocking;
  }

  close(): void {
    this.#plan.hold?.release();
  }
}

/** Counts the keys of a range from a key on. */
export class RangeCounter {
  count = 0;
  readonly #plan: RangePlan;
  #from: Uint8Array;

  constructor(plan: RangePlan, from: Uint8Array) {
    this.#plan = plan;
    this.#from = from;
  }

  /** Looks at about `keysMax` keys at most; most are counted without a look. True when all are counted. */
  step(keysMax: number): boolean {
    const { source, end, readMain } = this.#plan;
    const { index } = source;
    this.count += index.count(this.#from, end, readMain, keysMax);
    if (index.resumeSlot < 0) return true;
    this.#from = index.keyBytes(index.resumeSlot);
    return false;
  }
}
