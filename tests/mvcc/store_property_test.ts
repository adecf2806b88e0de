import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import type { StoreEvent } from "../../src/mvcc/event_sink.ts";
import { type KvHash, KvHashJob } from "../../src/mvcc/hash.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { KeyValueReader } from "../../src/mvcc/key_value.ts";
import type { RangeOptions } from "../../src/mvcc/range.ts";
import { Store } from "../../src/mvcc/store.ts";
import { type ModelDelete, type ModelKeyValue, type ModelPut, ModelStore } from "../harness/model_store.ts";
import { ScriptLeases, textOfKey } from "../harness/store_script.ts";

const KEYS = ["\0", "a", "a\0", "ab", "b", "ba", "c", "d", "k", "zz"].map(utf8);
const LEASES = [0n, 0n, 5n, 6n];
const EVERYTHING = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

/** A store and its model, driven by one seed through writes, reads, compactions, restarts and hashes. */
class Run {
  readonly #prng: Prng;
  readonly #backend = new MemoryBackend();
  readonly #leases = new ScriptLeases();
  readonly #model = new ModelStore();
  #store: Store;
  #events: string[] = [];
  #compactMain = -1;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    for (const lease of LEASES) if (lease !== 0n) this.#leases.grant(lease);
    this.#store = this.#open();
  }

  #open(): Store {
    const onEvents = (main: number, events: readonly StoreEvent[]) => {
      for (const { type, key } of events) this.#events.push(`${main} ${type} ${textOfKey(key)}`);
    };
    const store = new Store({
      backend: this.#backend,
      index: new ArenaKeyIndex(new Uint8Array(8)),
      leases: this.#leases,
      events: { onEvents },
      compactionBatchLimit: 1 + this.#prng.below(4),
    });
    while (!store.restoreSlice(1 + this.#prng.below(20)));
    return store;
  }

  step(): void {
    const drawn = this.#prng.below(100);
    if (drawn < 45) this.#write();
    else if (drawn < 80) this.#read();
    else if (drawn < 88) this.#store.compactionStep();
    else if (drawn < 92) this.#compact();
    else if (drawn < 96) this.#hash();
    else this.#restart();
    assert.equal(this.#store.currentRevision, this.#model.currentMain);
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#prng.below(list.length)]!;
  }

  #interval(): { key: Uint8Array; rangeEnd: Uint8Array } {
    if (this.#prng.chance(0.2)) return EVERYTHING;
    return { key: this.#pick(KEYS), rangeEnd: this.#prng.chance(0.4) ? EMPTY_BYTES : this.#pick(KEYS) };
  }

  #write(): void {
    const writes = Array.from({ length: 1 + this.#prng.below(3) }, (): ModelPut | ModelDelete => {
      if (this.#prng.chance(0.35)) return { type: "delete", ...this.#interval() };
      const value = utf8("v".repeat(this.#prng.below(3)) + this.#prng.below(3));
      return { type: "put", key: this.#pick(KEYS), value, lease: this.#pick(LEASES) };
    });
    const txn = this.#store.beginWrite();
    let deleted = 0;
    for (const write of writes) {
      if (write.type === "put") txn.put(write.key, write.value, write.lease);
      else deleted += txn.deleteRange(write.key, write.rangeEnd);
    }
    txn.end();
    assert.equal(deleted, this.#model.write(writes));
    this.#checkLeases();
  }

  #checkLeases(): void {
    for (const kv of this.#model.range(EVERYTHING).kvs) {
      assert.equal(this.#leases.leaseOf(kv.key), kv.lease, `lease of ${textOfKey(kv.key)}`);
    }
    for (const key of KEYS) {
      const { count } = this.#model.range({ key, rangeEnd: EMPTY_BYTES });
      if (count === 0) assert.equal(this.#leases.leaseOf(key), 0n);
    }
  }

  #read(): void {
    const options: RangeOptions = {
      ...this.#interval(),
      revision: this.#prng.chance(0.5) ? 0 : this.#prng.below(this.#model.currentMain + 2),
      limit: this.#prng.chance(0.5) ? 0 : this.#prng.below(5),
      sortOrder: this.#prng.below(3),
      sortTarget: this.#prng.below(5),
      keysOnly: this.#prng.chance(0.2),
      countOnly: this.#prng.chance(0.1),
      ...(this.#prng.chance(0.2) ? { minModRevision: this.#prng.below(this.#model.currentMain) } : {}),
      ...(this.#prng.chance(0.2) ? { maxCreateRevision: this.#prng.below(this.#model.currentMain) } : {}),
    };
    const revision = options.revision!;
    if (revision > this.#model.currentMain) return this.#fails(options, "futureRevision");
    if (revision > 0 && revision < this.#compactMain) return this.#fails(options, "compacted");
    const expected = this.#model.range(options);
    const whole = this.#store.range(options);
    const cursor = this.#store.openRange(options, false);
    const pieces: Uint8Array[] = [];
    while (!cursor.done) pieces.push(...cursor.next(1 + this.#prng.below(3), 1 + this.#prng.below(40)));
    assert.equal(cursor.more, whole.more);
    assert.equal(cursor.count, whole.count);
    assert.deepEqual(pieces, whole.kvs);
    assert.equal(whole.count, expected.count);
    assert.equal(whole.more, expected.more);
    const wanted = expected.kvs.map((kv) => describe(kv, options));
    assert.deepEqual(whole.kvs.map(read).map((kv) => describe(kv, options)), wanted, JSON.stringify(options));
  }

  #fails(options: RangeOptions, code: string): void {
    assert.throws(
      () => this.#store.range(options),
      (error) => error instanceof EtcdError && error.code === code,
    );
  }

  #compact(): void {
    const revision = 1 + this.#prng.below(this.#model.currentMain + 1);
    if (revision > this.#compactMain && revision <= this.#model.currentMain) {
      const before = this.#hashNow();
      this.#store.scheduleCompaction(revision);
      this.#compactMain = revision;
      // The hash does not depend on how far the compaction has come, unless nothing is kept at all.
      const scheduled = this.#hashNow();
      if (this.#model.range(EVERYTHING).count > 0) {
        this.#store.compactionStep();
        this.#store.compactionStep();
        assert.deepEqual(this.#hashNow(), scheduled);
        assert.equal(before.revision, scheduled.revision);
      }
    } else assert.throws(() => this.#store.scheduleCompaction(revision), EtcdError);
    assert.equal(this.#store.compactRevision, this.#compactMain);
  }

  /** By revision 0: asked for by its number, the hash that a compaction there has left would come instead. */
  #hashNow(): KvHash {
    const hashed = this.#store.hashKv(0);
    assert.ok(hashed instanceof KvHashJob);
    while (!hashed.step(1 + this.#prng.below(10)));
    return hashed.result();
  }

  /** A hash that writes and compaction go on beside is the same as one that nothing disturbs. */
  #hash(): void {
    const hashed = this.#store.hashKv(0);
    assert.ok(hashed instanceof KvHashJob);
    const revision = this.#model.currentMain;
    const undisturbed = this.#hashNow();
    for (let isDone = false; !isDone;) {
      if (this.#prng.chance(0.1)) this.#write();
      if (this.#prng.chance(0.1)) this.#compact();
      this.#store.compactionStep();
      isDone = hashed.step(1 + this.#prng.below(4));
    }
    if (this.#model.range({ ...EVERYTHING, revision }).count > 0) {
      assert.deepEqual(hashed.result(), undisturbed);
    }
  }

  /** A crash that loses nothing: the state comes back from the backend, compaction goes on. */
  #restart(): void {
    const hadKeys = this.#model.range(EVERYTHING).count > 0;
    const before = this.#hashNow();
    this.#leases.forgetKeys();
    this.#store = this.#open();
    assert.equal(this.#store.compactRevision, this.#compactMain);
    if (hadKeys) assert.equal(this.#hashNow().hash, before.hash);
    this.#checkLeases();
  }

  get events(): readonly string[] {
    return this.#events;
  }

  get compactMain(): number {
    return this.#compactMain;
  }
}

const reader = new KeyValueReader();

function read(bytes: Uint8Array): ModelKeyValue {
  const { key, createMain, modMain, version, value, lease } = reader.read(bytes);
  return { key, create: createMain, mod: modMain, version, value, lease };
}

/** `keysOnly` answers have no value, and a lease only when they were sorted by value. */
function describe(kv: ModelKeyValue, { keysOnly, sortTarget }: RangeOptions): string {
  const value = keysOnly === true ? "" : textOfKey(kv.value);
  const lease = keysOnly === true && sortTarget !== 4 ? 0n : kv.lease;
  return `${textOfKey(kv.key)}=${value} ${kv.create} ${kv.mod} ${kv.version} ${lease}`;
}

test("Store answers as a list of all changes does, through compactions and restarts", () => {
  let compacted = 0;
  let events = 0;
  for (let seed = 1; seed <= 60; seed += 1) {
    const run = new Run(seed);
    for (let i = 0; i < 200; i += 1) {
      try {
        run.step();
      } catch (error) {
        throw new Error(`seed ${seed}, step ${i}`, { cause: error });
      }
    }
    if (run.compactMain > 1) compacted += 1;
    events += run.events.length;
  }
  assert.ok(compacted > 30, `Only ${compacted} runs were compacted`);
  assert.ok(events > 1000, `Only ${events} events`);
});
