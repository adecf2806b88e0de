import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { compareBytes, EMPTY_BYTES, equalBytes, textOf, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { decodeWatchResponse } from "../../src/gen/codec/etcdserverpb/watch_codec.ts";
import type { Event } from "../../src/gen/mvccpb/kv_pb.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { Store } from "../../src/mvcc/store.ts";
import { WatchHub } from "../../src/mvcc/watch_hub.ts";
import type { WatchReceiver, WatchStream } from "../../src/mvcc/watch_stream.ts";
import { type Watcher, watcherFlag } from "../../src/mvcc/watcher.ts";
import { ScriptLeases } from "../harness/store_script.ts";

const KEYS = ["a", "a\0", "ab", "b", "ba", "bb", "c", "zz"].map(utf8);
const FROM_KEY = Uint8Array.of(0);

interface Change {
  readonly main: number;
  readonly key: Uint8Array;
  /** Undefined for a delete. */
  readonly value: string | undefined;
  /** What the key held before. */
  readonly previous: string | undefined;
  readonly create: number;
  readonly version: number;
}

/** A watch as its client knows it, over restarts of the server. */
class Client {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly flags: number;
  /** The first revision it wants. */
  readonly start: number;
  /** Changes of the history that it has been sent or has no interest in. */
  at = 0;
  lastMain = 0;
  progress = 0;
  watcher: Watcher | undefined;

  constructor(key: Uint8Array, rangeEnd: Uint8Array, flags: number, start: number) {
    this.key = key;
    this.rangeEnd = rangeEnd;
    this.flags = flags;
    this.start = start;
  }

  wants(change: Change): boolean {
    if (change.main < this.start) return false;
    const unwanted = change.value === undefined ? watcherFlag.noDelete : watcherFlag.noPut;
    if ((this.flags & unwanted) !== 0) return false;
    if (this.rangeEnd.length === 0) return equalBytes(this.key, change.key);
    if (compareBytes(change.key, this.key) < 0) return false;
    return equalBytes(this.rangeEnd, FROM_KEY) || compareBytes(change.key, this.rangeEnd) < 0;
  }

  /** The next change it has to be sent. */
  next(history: readonly Change[]): Change | undefined {
    while (this.at < history.length && !this.wants(history[this.at]!)) this.at += 1;
    return history[this.at];
  }
}

/** A stream of the server, and the client's end of it. */
class Receiver implements WatchReceiver {
  writable = true;
  revision = 0;
  readonly clients = new Map<Watcher, Client>();
  readonly #run: Run;

  constructor(run: Run) {
    this.#run = run;
  }

  onEvents(watcher: Watcher, revision: number, run: Uint8Array): void {
    assert.ok(this.writable, "events for a client that takes none");
    assert.ok(revision >= this.revision, `header revision falls from ${this.revision} to ${revision}`);
    this.revision = revision;
    const client = this.clients.get(watcher)!;
    const { events } = decodeWatchResponse(run, 0, run.length);
    assert.ok(events.length > 0, "a response without events");
    for (const event of events) this.#run.check(client, event);
    // Atomic: the rest of a revision does not come later.
    const next = client.next(this.#run.history);
    assert.ok(next === undefined || next.main > client.lastMain, `revision ${client.lastMain} is split`);
    assert.ok(revision >= client.lastMain);
  }

  onCompacted(watcher: Watcher, compactRevision: number): void {
    const client = this.clients.get(watcher)!;
    assert.equal(compactRevision, this.#run.store.compactRevision);
    assert.ok(
      Math.max(client.start, client.lastMain + 1) < compactRevision,
      "nothing was lost to compaction",
    );
    this.#run.drop(client);
  }
}

/** A store with watchers, driven by one seed. */
class Run {
  store: Store;
  history: Change[] = [];
  compacted = 0;
  delivered = 0;
  readonly #prng: Prng;
  readonly #backend = new MemoryBackend();
  #hub: WatchHub;
  #steps: (() => void)[] = [];
  #streams: { stream: WatchStream; receiver: Receiver }[] = [];
  readonly #clients = new Set<Client>();
  readonly #state = new Map<string, { value: string; create: number; version: number }>();

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    [this.store, this.#hub] = this.#open();
  }

  #open(): [Store, WatchHub] {
    const store = new Store({
      backend: this.#backend,
      index: new ArenaKeyIndex(new Uint8Array(8)),
      leases: new ScriptLeases(),
      compactionBatchLimit: 3,
    });
    store.restore();
    const hub = new WatchHub(store, (step) => this.#steps.push(step));
    this.#streams = [];
    for (let i = 0; i < 3; i += 1) {
      const receiver = new Receiver(this);
      this.#streams.push({ stream: hub.openStream(receiver), receiver });
    }
    return [store, hub];
  }

  step(): void {
    const drawn = this.#prng.below(1000);
    if (drawn < 400) this.#write();
    else if (drawn < 500) this.#hub.deliver();
    else if (drawn < 750) this.#steps.shift()?.();
    else if (drawn < 800) this.#create();
    else if (drawn < 820) this.#cancel();
    else if (drawn < 900) this.#toggle();
    else if (drawn < 940) this.#requestProgress();
    else if (drawn < 960) this.store.compactionStep();
    else if (drawn < 970) this.#compact();
    else if (drawn < 973) this.#closeStream();
    else if (drawn < 976) this.#restart();
    else if (drawn < 980) this.#writeMany();
  }

  #write(): void {
    const txn = this.store.beginWrite();
    const main = this.store.currentRevision + 1;
    const keys = KEYS.filter(() => this.#prng.below(4) === 0);
    for (const key of keys) {
      const before = this.#state.get(textOf(key));
      if (this.#prng.below(3) === 0) {
        if (txn.deleteRange(key, EMPTY_BYTES) === 0) continue;
        this.#state.delete(textOf(key));
        const gone = { main, key, value: undefined, create: 0, version: 0 };
        this.history.push({ ...gone, previous: before!.value });
        continue;
      }
      const value = `${main}${"x".repeat(this.#prng.below(40))}`;
      txn.put(key, utf8(value), 0n);
      const now = { value, create: before?.create ?? main, version: (before?.version ?? 0) + 1 };
      this.#state.set(textOf(key), now);
      this.history.push({ main, key, ...now, previous: before?.value });
    }
    txn.end();
  }

  /** Enough that slices, and what waits for synced watchers, reach their limits. */
  #writeMany(): void {
    for (let i = 0; i < 700; i += 1) this.#write();
  }

  #create(): void {
    const prng = this.#prng;
    const key = KEYS[prng.below(KEYS.length)]!;
    const ends = [EMPTY_BYTES, EMPTY_BYTES, FROM_KEY, utf8("c"), utf8("zzz")];
    const rangeEnd = ends[prng.below(ends.length)]!;
    const current = this.store.currentRevision;
    const start = prng.below(2) === 0 ? 0 : Math.max(1, current + 5 - prng.below(prng.below(2) ? 30 : 3000));
    const flags = prng.below(2) === 0 ? 0 : prng.below(8);
    this.#attach(new Client(key, rangeEnd, flags, start === 0 ? current + 1 : start), start);
  }

  #attach(client: Client, startRevision: number): void {
    const { stream, receiver } = this.#streams[this.#prng.below(this.#streams.length)]!;
    const { key, rangeEnd, flags } = client;
    const watcher = stream.create({ key, rangeEnd, flags, startRevision, id: 0 });
    if (typeof watcher === "string") {
      assert.equal(watcher, "emptyRange");
      assert.ok(compareBytes(key, rangeEnd) >= 0);
      return;
    }
    client.watcher = watcher;
    receiver.clients.set(watcher, client);
    this.#clients.add(client);
  }

  drop(client: Client): void {
    this.#clients.delete(client);
    this.compacted += 1;
  }

  #cancel(): void {
    const clients = [...this.#clients];
    const client = clients[this.#prng.below(clients.length + 1)];
    if (client === undefined) return;
    const watcher = client.watcher!;
    assert.equal(watcher.stream.cancel(watcher.id), watcher);
    assert.equal(watcher.stream.cancel(watcher.id), undefined);
    this.#clients.delete(client);
  }

  #toggle(): void {
    const { stream, receiver } = this.#streams[this.#prng.below(this.#streams.length)]!;
    receiver.writable = !receiver.writable;
    if (receiver.writable) stream.resume();
  }

  /** Progress says that everything so far has been sent: it must be true, and stay true. */
  #requestProgress(): void {
    const { stream, receiver } = this.#streams[this.#prng.below(this.#streams.length)]!;
    this.#hub.afterDelivery(() => {
      if (stream.isClosed || !stream.isAllCurrent) return;
      for (const client of receiver.clients.values()) {
        if (!this.#clients.has(client)) continue;
        client.progress = this.store.currentRevision;
        const next = client.next(this.history);
        assert.ok(next === undefined || next.main > client.progress, `progress runs ahead of ${next?.main}`);
      }
    });
  }

  #compact(): void {
    const at = this.store.currentRevision - this.#prng.below(this.#prng.below(2) ? 10 : 2000);
    if (at > Math.max(0, this.store.compactRevision)) this.store.scheduleCompaction(at);
  }

  #closeStream(): void {
    const i = this.#prng.below(this.#streams.length);
    const { stream, receiver } = this.#streams[i]!;
    stream.close();
    const orphans = [...receiver.clients.values()].filter((client) => this.#clients.has(client));
    const fresh = new Receiver(this);
    this.#streams[i] = { stream: this.#hub.openStream(fresh), receiver: fresh };
    this.#resume(orphans);
  }

  #restart(): void {
    this.#steps = [];
    [this.store, this.#hub] = this.#open();
    this.#resume([...this.#clients]);
  }

  /** Clients go on where they were, as they do after losing a connection. */
  #resume(clients: readonly Client[]): void {
    for (const client of clients) {
      this.#attach(client, Math.max(client.start, client.lastMain + 1, client.progress + 1));
    }
  }

  /** One event is the next that its client has to get, and says so. */
  check(client: Client, { type, kv, prevKv }: Event): void {
    this.delivered += 1;
    const expected = client.next(this.history);
    assert.ok(expected !== undefined, `event ${kv?.modRevision} of a change that never was`);
    client.at += 1;
    client.lastMain = expected.main;
    assert.deepEqual(
      {
        type,
        key: textOf(kv!.key),
        mod: Number(kv!.modRevision),
        create: Number(kv!.createRevision),
        version: Number(kv!.version),
        value: textOf(kv!.value),
      },
      {
        type: expected.value === undefined ? 1 : 0,
        key: textOf(expected.key),
        mod: expected.main,
        create: expected.create,
        version: expected.version,
        value: expected.value ?? "",
      },
    );
    assert.ok(expected.main > client.progress, "an event after progress has passed it");
    const wanted = (client.flags & watcherFlag.prevKv) !== 0 ? expected.previous : undefined;
    const mayBeGone = prevKv === undefined && expected.main - 1 < this.store.compactRevision;
    if (!mayBeGone) assert.equal(prevKv === undefined ? undefined : textOf(prevKv.value), wanted);
  }

  /** In the end everybody has got everything, and nothing is left to do. */
  finish(): void {
    for (const { stream, receiver } of this.#streams) {
      receiver.writable = true;
      stream.resume();
    }
    for (let step = this.#steps.shift(); step !== undefined; step = this.#steps.shift()) step();
    for (const client of this.#clients) {
      assert.equal(client.next(this.history)?.main, undefined, "an event is missing");
      const { watcher } = client;
      if (watcher!.from <= this.store.currentRevision) assert.ok(this.#hub.isSynced(watcher!));
    }
    assert.equal(this.#hub.size, this.#clients.size);
    assert.equal(this.#hub.slowCount, 0);
    for (const { stream } of this.#streams) stream.close();
    for (let step = this.#steps.shift(); step !== undefined; step = this.#steps.shift()) step();
    assert.equal(this.#hub.size, 0);
    assert.equal(this.store.events, undefined);
  }
}

test("watchers get every event once, in order and whole, when clients are slow, history is compacted and servers restart", () => {
  let compacted = 0;
  let delivered = 0;
  for (let seed = 1; seed <= 20; seed += 1) {
    const run = new Run(seed);
    try {
      for (let i = 0; i < 1500; i += 1) run.step();
      run.finish();
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    compacted += run.compacted;
    delivered += run.delivered;
  }
  assert.ok(compacted > 50 && delivered > 30_000, `${compacted} compacted, ${delivered} delivered`);
});
