import { assert } from "../base/assert.ts";
import { compareBytes } from "../base/bytes.ts";
import { RangeCounter } from "./key_order_range.ts";
import { KeyValueReader, withoutValue, withoutValueAndLease } from "./key_value.ts";
import {
  checkReadable,
  hasRevisionFilters,
  KeyValueList,
  loadHit,
  loadRevision,
  passesFilters,
  type RangeCursor,
  type RangePlan,
  type RangeSink,
  sortOrder,
  sortTarget,
} from "./range.ts";

/** With a limit, what cannot be among the first is dropped each time this many candidates have gathered. */
const CANDIDATES_MIN = 4096;

/**
 * A range in another order than that of its keys. It gathers what matched as numbers (values only when
 * sorted by them), sorts, and loads the KeyValues in their final order. With a limit it never holds more
 * than a small multiple of it: "the newest of a million keys" costs one walk.
 *
 * Keys that compare equal stay in key order, in both directions; etcd leaves their order open.
 */
export class SortedCursor implements RangeCursor {
  readonly revision: number;
  readonly readMain: number;
  done = false;
  more = false;
  count = 0;
  readonly #plan: RangePlan;
  readonly #target: number;
  readonly #descends: boolean;
  /**
   * etcd quirk: a target without an order sorts ascending, but the limit has been applied in key order by
   * then: limit + 1 keys are fetched, sorted, and the last one dropped. Infinity otherwise.
   */
  readonly #fetchMax: number;
  readonly #reader = new KeyValueReader();
  readonly #candidates: Candidates = {
    keys: [],
    values: [],
    mains: [],
    subs: [],
    lengths: [],
    keyValues: [],
  };
  #from: Uint8Array;
  #matched = 0;
  /** Set once enough is fetched: counts the rest. */
  #counter: RangeCounter | undefined;
  #isSorted = false;
  #produced = 0;

  constructor(plan: RangePlan) {
    const { options, limit } = plan;
    this.#plan = plan;
    this.revision = plan.revision;
    this.readMain = plan.readMain;
    this.#from = plan.start;
    this.#target = options.sortTarget ?? sortTarget.key;
    this.#descends = options.sortOrder === sortOrder.descend;
    const order = options.sortOrder ?? sortOrder.none;
    this.#fetchMax = order === sortOrder.none && !hasRevisionFilters(options) ? limit + 1 : Infinity;
  }

  next(keysMax: number, bytesMax: number): Uint8Array[] {
    const list = new KeyValueList();
    this.nextInto(list, keysMax, bytesMax);
    return list.kvs;
  }

  nextInto(sink: RangeSink, keysMax: number, workMax: number): void {
    assert(!this.done, "A range goes on after its end");
    checkReadable(this.#plan);
    if (!this.#isSorted) {
      if (!this.#gather(keysMax, workMax)) return;
      this.#sort();
      if (this.done) return;
    }
    this.#produce(sink, keysMax, workMax);
  }

  /** What has been sorted stays so. */
  rewind(): void {
    this.done = false;
    this.#produced = 0;
    this.#plan.hold?.renew();
  }

  onBlocking(onBlocking: () => void): void {
    if (this.#plan.hold !== undefined) this.#plan.hold.onBlocking = onBlocking;
  }

  close(): void {
    this.#plan.hold?.release();
  }

  /** Takes in up to `keysMax` keys, or values up to `bytesMax`; true when there are no more. */
  #gather(keysMax: number, bytesMax: number): boolean {
    if (this.#counter !== undefined) return this.#countOn(this.#counter, keysMax);
    const plan = this.#plan;
    const { source, options, end, readMain, limit } = plan;
    const { index } = source;
    const filtered = hasRevisionFilters(options);
    const pruneAt = Math.max(CANDIDATES_MIN, limit * 2);
    let bytes = 0;
    let paused = false;
    index.visit(this.#from, end, readMain, (slot) => {
      if (bytes >= bytesMax) {
        this.#from = index.keyBytes(slot);
        paused = true;
        return false;
      }
      if (this.#matched === this.#fetchMax) {
        this.#counter = new RangeCounter(plan, index.keyBytes(slot));
        return false;
      }
      this.count += 1;
      if (filtered && !passesFilters(options, index.hitCreateMain, index.hitMain)) return true;
      bytes += this.#take();
      if (this.#candidates.mains.length >= pruneAt) this.#prune();
      return true;
    }, keysMax);
    if (index.resumeSlot >= 0) {
      this.#from = index.keyBytes(index.resumeSlot);
      paused = true;
    }
    return this.#counter === undefined ? !paused : this.#countOn(this.#counter, keysMax);
  }

  #countOn(counter: RangeCounter, keysMax: number): boolean {
    const isDone = counter.step(keysMax);
    if (isDone) this.count += counter.count;
    return isDone;
  }

  /** Adds the index's hit to the candidates; returns the bytes it loaded for that. */
  #take(): number {
    const { source } = this.#plan;
    const { index } = source;
    const candidates = this.#candidates;
    this.#matched += 1;
    candidates.mains.push(index.hitMain);
    candidates.subs.push(index.hitSub);
    candidates.lengths.push(index.hitBytes);
    if (this.#target === sortTarget.value) {
      const keyValue = loadHit(source);
      candidates.keyValues.push(keyValue);
      candidates.values.push(this.#reader.read(keyValue).value);
      return keyValue.length;
    }
    if (this.#target === sortTarget.version) candidates.keys.push(index.hitVersion);
    else if (this.#target === sortTarget.create) candidates.keys.push(index.hitCreateMain);
    else if (this.#target === sortTarget.mod) candidates.keys.push(index.hitMain);
    else candidates.keys.push(this.#matched);
    return 0;
  }

  #prune(): void {
    const { limit } = this.#plan;
    const { mains, subs, lengths, keys, values, keyValues } = this.#candidates;
    const order = this.#order();
    if (order.length > limit) order.length = limit;
    this.#candidates.mains = order.map((i) => mains[i]!);
    this.#candidates.subs = order.map((i) => subs[i]!);
    this.#candidates.lengths = order.map((i) => lengths[i]!);
    if (this.#target === sortTarget.value) {
      this.#candidates.values = order.map((i) => values[i]!);
      this.#candidates.keyValues = order.map((i) => keyValues[i]!);
    } else this.#candidates.keys = order.map((i) => keys[i]!);
  }

  #sort(): void {
    this.#prune();
    this.more = this.#matched > this.#plan.limit;
    this.#isSorted = true;
    if (this.#candidates.mains.length === 0) this.#finish();
  }

  /** Candidate numbers in the order asked for; equal ones stay in key order. */
  #order(): number[] {
    const { mains, keys, values } = this.#candidates;
    const order = Array.from(mains, (_, i) => i);
    const sign = this.#descends ? -1 : 1;
    if (this.#target === sortTarget.value) {
      return order.sort((a, b) => sign * compareBytes(values[a]!, values[b]!));
    }
    return order.sort((a, b) => sign * (keys[a]! - keys[b]!));
  }

  #produce(sink: RangeSink, keysMax: number, workMax: number): void {
    const { mains, subs, lengths, keyValues } = this.#candidates;
    const { source, options } = this.#plan;
    const end = Math.min(mains.length, this.#produced + keysMax);
    for (let work = 0; this.#produced < end && work < workMax;) {
      const i = this.#produced++;
      const keyValue = keyValues[i];
      if (options.keysOnly === true) {
        const whole = keyValue ?? loadRevision(source, mains[i]!, subs[i]!);
        const strip = this.#target === sortTarget.value ? withoutValue : withoutValueAndLease;
        work += sink.addMade(strip(whole));
      } else if (keyValue !== undefined) work += sink.addMade(keyValue);
      else work += sink.addStored(source, mains[i]!, subs[i]!, lengths[i]!);
    }
    if (this.#produced === mains.length) this.#finish();
  }

  #finish(): void {
    this.done = true;
    this.close();
  }
}

/** What matched, as parallel lists: numbers to sort by, or values with the KeyValues they are views into. */
interface Candidates {
  keys: number[];
  values: Uint8Array[];
  mains: number[];
  subs: number[];
  /** Of the KeyValues as they are stored; 0 where the index does not know. */
  lengths: number[];
  keyValues: Uint8Array[];
}
