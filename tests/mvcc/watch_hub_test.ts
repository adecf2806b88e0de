import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { decodeWatchResponse } from "../../src/gen/codec/etcdserverpb/watch_codec.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { Store } from "../../src/mvcc/store.ts";
import { WatchHub } from "../../src/mvcc/watch_hub.ts";
import type { WatchRefusal, WatchStream } from "../../src/mvcc/watch_stream.ts";
import type { Watcher, WatchId } from "../../src/mvcc/watcher.ts";
import { ScriptLeases } from "../harness/store_script.ts";

/** A store, one stream of watchers, and the revisions that each was sent. */
class Bench {
  readonly store: Store;
  readonly hub: WatchHub;
  readonly stream: WatchStream;
  readonly sent = new Map<Watcher, number[]>();
  readonly #steps: (() => void)[] = [];

  constructor() {
    this.store = new Store({
      backend: new MemoryBackend(),
      index: new ArenaKeyIndex(new Uint8Array(8)),
      leases: new ScriptLeases(),
    });
    this.hub = new WatchHub(this.store, (step) => this.#steps.push(step));
    this.stream = this.hub.openStream({
      writable: true,
      onEvents: (watcher, _revision, run) => {
        const { events } = decodeWatchResponse(run, 0, run.length);
        const revisions = this.sent.get(watcher) ?? [];
        revisions.push(...events.map(({ kv }) => Number(kv!.modRevision)));
        this.sent.set(watcher, revisions);
      },
      onCompacted: () => assert.fail("compacted"),
    });
  }

  watch(startRevision: number): Watcher {
    const watcher = this.create(0, startRevision);
    assert.ok(typeof watcher !== "string");
    return watcher;
  }

  create(id: WatchId, startRevision = 0): Watcher | WatchRefusal {
    return this.stream.create({ key: utf8("k"), rangeEnd: EMPTY_BYTES, id, flags: 0, startRevision });
  }

  put(valueBytes = 1): void {
    this.store.put(utf8("k"), new Uint8Array(valueBytes), 0n);
  }

  /** One turn; false when there was nothing to do. */
  step(): boolean {
    const step = this.#steps.shift();
    step?.();
    return step !== undefined;
  }
}

test("watchers canceled while their key's event goes out do not keep it from the others", () => {
  const bench = new Bench();
  const watchers = Array.from({ length: 5000 }, () => bench.watch(0));
  bench.put();
  bench.hub.deliver();
  const first = bench.sent.size;
  assert.ok(first > 0 && first < watchers.length, `${first} in one turn`);
  const waiting = watchers.filter((watcher) => !bench.sent.has(watcher));
  // Whichever comes next is among these: new ones come first in the list, so the last of the waiting.
  const canceled = new Set([...waiting.slice(-3), ...waiting.slice(0, 3)]);
  for (const { id } of canceled) bench.stream.cancel(id);
  while (bench.step());
  for (const watcher of watchers) {
    assert.deepEqual(bench.sent.get(watcher), canceled.has(watcher) ? undefined : [2]);
  }
});

test("a watcher that begins where another has just read past is not read to twice", () => {
  const bench = new Bench();
  const last = 401;
  // Slices end by size, in the middle of what cursors share.
  while (bench.store.currentRevision < last) bench.put(4000);
  const watchers = [bench.watch(1)];
  while (!bench.sent.has(watchers[0]!)) bench.step();
  const read = bench.sent.get(watchers[0]!)!.at(-1)!;
  assert.ok(read > 20 && read < last, `read to ${read}`);
  watchers.push(bench.watch(read - 10), bench.watch(read + 10), bench.watch(read - 15));
  while (bench.step());
  for (const watcher of watchers) {
    const from = Math.max(2, watcher === watchers[0] ? 2 : watcher.from);
    const expected = Array.from({ length: last - from + 1 }, (_, i) => from + i);
    assert.deepEqual(bench.sent.get(watcher), expected);
    assert.ok(bench.hub.isSynced(watcher));
  }
});

test("a stream that is closed gets nothing more and leaves nothing behind", () => {
  const bench = new Bench();
  for (let i = 0; i < 3000; i += 1) bench.watch(0);
  bench.put();
  bench.hub.deliver();
  const before = bench.sent.size;
  bench.stream.close();
  while (bench.step());
  assert.equal(bench.sent.size, before);
  assert.equal(bench.hub.size, 0);
  assert.equal(bench.store.events, undefined);
});

test("ids that clients choose in any order are taken, freed and given anew like those of a map", () => {
  const bench = new Bench();
  const random = new Prng(7);
  const ids: readonly WatchId[] = [
    ...Array.from({ length: 40 }, (_, i) => i),
    ...Array.from({ length: 20 }, (_, i) => 2 ** 40 + i),
    -5,
    2n ** 60n,
    2n ** 60n + 1n,
    -(2n ** 62n),
  ];
  const taken = new Map<WatchId, Watcher>();
  let next = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const id = ids[random.below(ids.length)]!;
    if (random.below(2) === 0) {
      const canceled = bench.stream.cancel(id);
      assert.equal(canceled, taken.get(id));
      taken.delete(id);
    } else {
      const created = bench.create(id);
      if (id === 0) { while (taken.has(next)) next += 1; }
      const expected = id === 0 ? next++ : id;
      if (taken.has(expected)) assert.equal(created, "duplicateId");
      else {
        assert.ok(typeof created !== "string");
        assert.equal(created.id, expected);
        taken.set(expected, created);
      }
    }
    assert.equal(bench.stream.size, taken.size);
    assert.equal(bench.hub.size, taken.size);
  }
  bench.put();
  bench.hub.deliver();
  while (bench.step());
  assert.deepEqual(new Set(bench.sent.keys()), new Set(taken.values()));
  bench.stream.close();
  while (bench.step());
  assert.equal(bench.hub.size, 0);
});
