import { assert } from "../base/assert.ts";
import type { StoreEvent } from "./event_sink.ts";
import { encodeKeyValue, encodeTransientKeyValue, encodeTransientTombstone } from "./key_value.ts";
import { loadHit, loadRevision, type RangeOptions, type RangeResult, upperBound } from "./range.ts";
import { readRange } from "./read_txn.ts";
import type { Store } from "./store.ts";

/**
 * One write transaction: everything in it has the same main revision, with sub revisions 0, 1, 2, …, and
 * becomes visible to others at `end()`. Its own reads see what it has written so far. A store has one,
 * used again and again; `Store.beginWrite` hands it out.
 */
export class WriteTxn {
  readonly #store: Store;
  readonly #events: StoreEvent[] = [];
  #isOpen = false;
  #beginMain = 0;
  #changes = 0;
  #operations = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  /** For `Store.beginWrite`. */
  begin(currentMain: number): this {
    assert(!this.#isOpen, "A write transaction begins inside another");
    this.#isOpen = true;
    this.#beginMain = currentMain;
    this.#changes = 0;
    this.#operations = 0;
    return this;
  }

  /** The revision that a read in here sees, and that a response carries at this point. */
  get revision(): number {
    return this.#changes === 0 ? this.#beginMain : this.#beginMain + 1;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Changes so far: puts and tombstones. */
  get changes(): number {
    return this.#changes;
  }

  /** Writes a key. `lease` is 0 or exists. */
  put(key: Uint8Array, value: Uint8Array, lease: bigint): void {
    const store = this.#store;
    const { index } = store;
    const main = this.#beginMain + 1;
    const sub = this.#changes++;
    const slot = index.put(key, main, sub);
    const version = index.version(slot);
    const encode = store.events === undefined ? encodeTransientKeyValue : encodeKeyValue;
    const keyValue = encode(key, index.createMain(slot), main, version, value, lease);
    index.setBytes(slot, keyValue.length);
    store.backend.putRevision(main, sub, false, keyValue);
    store.puts += 1;
    store.putBytes += key.length + value.length;
    this.#operations += 1;
    if (version > 1 || lease !== 0n) this.#moveLease(key, version > 1, lease);
    if (store.events !== undefined) {
      this.#events.push({ type: "put", key, keyValue, created: version === 1 });
    }
  }

  /**
   * Deletes the keys of [key, rangeEnd), `rangeEnd` as on the wire; returns how many. Their last KeyValues
   * are appended to `previous` when it is given.
   */
  deleteRange(key: Uint8Array, rangeEnd: Uint8Array, previous?: Uint8Array[]): number {
    const store = this.#store;
    const { index } = store;
    store.deletes += 1;
    this.#operations += 1;
    if (rangeEnd.length === 0) {
      if (previous !== undefined && index.seek(key, this.revision)) previous.push(loadHit(store));
      if (!index.tombstone(key, this.#beginMain + 1, this.#changes)) return 0;
      this.#onDeleted(key);
      return 1;
    }
    return index.tombstoneRange(key, upperBound(rangeEnd), this.#beginMain + 1, this.#changes, (slot) => {
      previous?.push(loadRevision(store, index.modMain(slot), index.modSub(slot)));
      this.#onDeleted(index.keyBytes(slot));
    });
  }

  /** The KeyValue of a key as this transaction sees it. */
  get(key: Uint8Array): Uint8Array | undefined {
    return this.#store.index.seek(key, this.revision) ? loadHit(this.#store) : undefined;
  }

  /** Throws `compacted` and `futureRevision`: check before the first write. */
  range(options: RangeOptions): RangeResult {
    this.#store.ranges += 1;
    this.#operations += 1;
    return readRange(this.#store, this.revision, options);
  }

  /** Makes the changes current and tells the event sink. Returns the store's revision. */
  end(): number {
    assert(this.#isOpen, "A write transaction ends twice");
    this.#isOpen = false;
    const store = this.#store;
    if (this.#operations > 1) store.txns += 1;
    if (this.#changes === 0) return this.#beginMain;
    const main = this.#beginMain + 1;
    store.advance(main, this.#changes);
    if (this.#events.length > 0) {
      const events = this.#events.slice();
      this.#events.length = 0;
      store.events?.onEvents(main, events);
    }
    return main;
  }

  /** The index knows already. */
  #onDeleted(key: Uint8Array): void {
    const store = this.#store;
    const main = this.#beginMain + 1;
    const sub = this.#changes++;
    store.backend.putRevision(main, sub, true, encodeTransientTombstone(key));
    const lease = store.leases.leaseOf(key);
    if (lease !== 0n) store.leases.detach(lease, key);
    if (store.events !== undefined) this.#events.push({ type: "delete", key });
  }

  #moveLease(key: Uint8Array, existed: boolean, lease: bigint): void {
    const { leases } = this.#store;
    const before = existed ? leases.leaseOf(key) : 0n;
    if (before === lease) return;
    if (before !== 0n) leases.detach(before, key);
    if (lease !== 0n) leases.attach(lease, key);
  }
}
