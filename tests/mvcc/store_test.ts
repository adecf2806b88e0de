import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { crc32c } from "../../src/base/crc32c.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { type BucketName, bucketNames } from "../../src/mvcc/backend.ts";
import { KvHashJob } from "../../src/mvcc/hash.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { encodeKeyValue, KeyValueReader } from "../../src/mvcc/key_value.ts";
import { noLeases } from "../../src/mvcc/key_leases.ts";
import { revisionKey } from "../../src/mvcc/revision.ts";
import { Store } from "../../src/mvcc/store.ts";

const ALL = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

function storeOn(backend: MemoryBackend): Store {
  const store = new Store({ backend, index: new ArenaKeyIndex(new Uint8Array(8)), leases: noLeases });
  store.restore();
  return store;
}

function fails(code: string): (error: unknown) => boolean {
  return (error) => error instanceof EtcdError && error.code === code;
}

test("restore() does not fall behind a compaction whose newest revision, a tombstone, is gone", () => {
  // Releases before 3.5.16 remove a tombstone at the compacted revision: a crash before the compaction is
  // recorded as finished then leaves nothing that shows the revision but the schedule (etcd issue 17780).
  const backend = new MemoryBackend();
  const keyValue = encodeKeyValue(utf8("a"), 2, 2, 1, EMPTY_BYTES, 0n);
  backend.putRevision(2, 0, false, keyValue);
  backend.put("meta", utf8("scheduledCompactRev"), revisionKey(7, 0));
  const store = storeOn(backend);
  assert.equal(store.currentRevision, 7);
  assert.equal(store.compactRevision, 7);
  assert.equal(store.compactionPending, true);
  assert.equal(store.put(utf8("b"), EMPTY_BYTES, 0n), 8);
});

test("restore() does not fall behind a finished compaction that left nothing", () => {
  const backend = new MemoryBackend();
  backend.put("meta", utf8("finishedCompactRev"), revisionKey(7, 0));
  const store = storeOn(backend);
  assert.equal(store.currentRevision, 7);
  assert.equal(store.compactRevision, 7);
  assert.equal(store.compactionPending, false);
  assert.throws(() => store.range({ ...ALL, revision: 6 }), fails("compacted"));
});

test("restore() refuses a record that is no KeyValue", () => {
  const backend = new MemoryBackend();
  backend.putRevision(2, 0, false, Uint8Array.of(0x0a, 200));
  assert.throws(() => storeOn(backend), fails("corrupt"));
});

test("a compaction that a crash interrupts after any step ends as an undisturbed one does", () => {
  const write = (store: Store) => {
    for (let i = 0; i < 40; i += 1) store.put(Uint8Array.of(97 + i % 5), Uint8Array.of(i), 0n);
    store.deleteRange(utf8("b"), utf8("d"));
    store.put(utf8("b"), utf8("again"), 0n);
  };
  const contents = (backend: MemoryBackend) => {
    const records: string[] = [];
    backend.scanRevisions({ main: 0, sub: 0 }, 1000, (main, sub, tombstone, keyValue) => {
      records.push(`${main}.${sub} ${tombstone} ${keyValue}`);
      return true;
    });
    return records;
  };
  const open = (backend: MemoryBackend) => {
    const index = new ArenaKeyIndex(new Uint8Array(8));
    const store = new Store({ backend, index, leases: noLeases, compactionBatchLimit: 3 });
    store.restore();
    return store;
  };
  const undisturbed = new MemoryBackend();
  const first = open(undisturbed);
  write(first);
  first.scheduleCompaction(41);
  let steps = 0;
  while (first.compactionStep() !== "finished") steps += 1;
  assert.ok(steps > 10);
  for (let crashAfter = 0; crashAfter <= steps; crashAfter += 1) {
    const backend = new MemoryBackend();
    const store = open(backend);
    write(store);
    store.scheduleCompaction(41);
    for (let i = 0; i < crashAfter; i += 1) store.compactionStep();
    const restarted = open(backend);
    assert.equal(restarted.currentRevision, first.currentRevision);
    assert.equal(restarted.compactRevision, 41);
    while (restarted.compactionStep() !== "finished");
    assert.deepEqual(contents(backend), contents(undisturbed), `crash after step ${crashAfter}`);
    assert.equal(restarted.compactionHashes.length, 0);
  }
});

test("a compaction keeps a tombstone at its own revision and drops it at the next", () => {
  const backend = new MemoryBackend();
  const store = storeOn(backend);
  const records = () => {
    const found: string[] = [];
    backend.scanRevisions({ main: 0, sub: 0 }, 100, (main, sub, tombstone) => {
      found.push(`${main}.${sub}${tombstone ? "t" : ""}`);
      return true;
    });
    return found;
  };
  store.put(utf8("a"), EMPTY_BYTES, 0n);
  store.put(utf8("b"), EMPTY_BYTES, 0n);
  store.deleteRange(utf8("a"), utf8("z"));
  store.put(utf8("c"), EMPTY_BYTES, 0n);
  store.scheduleCompaction(4);
  while (store.compactionStep() !== "idle");
  // A watch that starts at the compacted revision still has to see the deletes there (etcd issue 19179).
  assert.deepEqual(records(), ["4.0t", "4.1t", "5.0"]);
  store.scheduleCompaction(5);
  while (store.compactionStep() !== "idle");
  assert.deepEqual(records(), ["5.0"]);
});

test("hashKv() takes in what compaction has not removed yet when it would keep nothing", () => {
  const store = storeOn(new MemoryBackend());
  store.put(utf8("a"), EMPTY_BYTES, 0n);
  store.deleteRange(utf8("a"), EMPTY_BYTES);
  store.scheduleCompaction(3);
  const hashOf = () => {
    const job = store.hashKv(3);
    if (!(job instanceof KvHashJob)) return job.hash;
    while (!job.step(1));
    return job.result().hash;
  };
  const checksum = (parts: readonly Uint8Array[]) =>
    parts.reduce((crc, part) => crc32c(part, 0, part.length, crc), 0);
  // The tombstone at the compacted revision itself never counts.
  const keyValue = encodeKeyValue(utf8("a"), 2, 2, 1, EMPTY_BYTES, 0n);
  assert.equal(hashOf(), checksum([utf8("key"), revisionKey(2, 0), keyValue]));
});

test("only the last ten compaction hashes are kept, and only those that follow a finished compaction", () => {
  const store = storeOn(new MemoryBackend());
  for (let i = 0; i < 30; i += 1) store.put(utf8("a"), Uint8Array.of(i), 0n);
  for (let main = 2; main <= 14; main += 1) {
    store.scheduleCompaction(main);
    while (store.compactionStep() !== "idle");
  }
  const revisions = store.compactionHashes.map(({ revision }) => revision);
  assert.deepEqual(revisions, [5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  store.scheduleCompaction(15);
  store.scheduleCompaction(16);
  store.scheduleCompaction(17);
  while (store.compactionStep() !== "idle");
  assert.deepEqual(store.compactionHashes.map(({ revision }) => revision), [...revisions.slice(1), 15]);
  assert.equal(store.compactionReport?.compactRevision, 17);
  assert.equal(store.compactionReport?.hashKept, false);
});

test("hashKv() holds a later compaction off until it is done", () => {
  const store = storeOn(new MemoryBackend());
  for (let i = 0; i < 10; i += 1) store.put(utf8("a"), Uint8Array.of(i), 0n);
  const job = store.hashKv(0);
  assert.ok(job instanceof KvHashJob);
  store.scheduleCompaction(9);
  assert.equal(store.compactionStep(), "held");
  while (!job.step(3)) assert.equal(store.compactionStep(), "held");
  assert.equal(store.compactionStep(), "working");
});

test("hashBackend() is the checksum of every bucket's name, keys and values but three", () => {
  const backend = new MemoryBackend();
  const store = storeOn(backend);
  store.put(utf8("a"), utf8("1"), 0n);
  store.deleteRange(utf8("a"), EMPTY_BYTES);
  backend.put("alarm", utf8("x"), utf8("y"));
  backend.put("meta", utf8("confState"), utf8("z"));
  backend.put("meta", utf8("storageVersion"), utf8("3.7.0"));
  backend.endEntry(7, 3);
  const records: Partial<Record<BucketName, Uint8Array[]>> = {
    alarm: [utf8("x"), utf8("y")],
    meta: [utf8("confState"), utf8("z")],
    key: [
      revisionKey(2, 0),
      encodeKeyValue(utf8("a"), 2, 2, 1, utf8("1"), 0n),
      revisionKey(3, 0, true),
      encodeKeyValue(utf8("a"), 0, 0, 0, EMPTY_BYTES, 0n),
    ],
  };
  let expected = 0;
  for (const name of bucketNames) {
    for (const bytes of [utf8(name), ...records[name] ?? []]) {
      expected = crc32c(bytes, 0, bytes.length, expected);
    }
  }
  const job = store.hashBackend();
  while (!job.step(1));
  assert.equal(job.result(), expected);
});

test("a range cut by bytes ends each slice with the KeyValue that reaches the budget", () => {
  const store = storeOn(new MemoryBackend());
  const keys = Array.from({ length: 100 }, (_, i) => utf8(`key${String(i).padStart(3, "0")}`));
  for (const key of keys) store.put(key, new Uint8Array(100), 0n);
  const cursor = store.openRange(ALL, true);
  const lengths: number[] = [];
  const read: Uint8Array[] = [];
  while (!cursor.done) {
    const slice = cursor.next(1000, 500);
    lengths.push(slice.length);
    read.push(...slice.map((bytes) => new KeyValueReader().read(bytes).key));
  }
  assert.ok(lengths.every((length) => length <= 5) && lengths.length >= 20, lengths.join(" "));
  assert.deepEqual(read, keys);
});

test("deleteRange() deletes many keys as one revision", () => {
  const store = storeOn(new MemoryBackend());
  for (let i = 0; i < 3000; i += 1) store.put(utf8(`key${i}`), EMPTY_BYTES, 0n);
  const previous: Uint8Array[] = [];
  assert.equal(store.deleteRange(utf8("key"), utf8("kez"), previous), 3000);
  assert.equal(previous.length, 3000);
  assert.equal(store.currentRevision, 3002);
  assert.equal(store.range(ALL).count, 0);
  assert.equal(store.range({ ...ALL, revision: 3001, countOnly: true }).count, 3000);
});

test("the newest few of many keys come out of a range that holds only a few candidates", () => {
  const store = storeOn(new MemoryBackend());
  for (let i = 0; i < 10_000; i += 1) store.put(utf8(`key${(i * 7919) % 10_000}`), utf8(`${i}`), 0n);
  const { kvs, count, more } = store.range({ ...ALL, limit: 3, sortOrder: 2, sortTarget: 3 });
  const reader = new KeyValueReader();
  assert.deepEqual(kvs.map((bytes) => reader.read(bytes).modMain), [10_001, 10_000, 9_999]);
  assert.deepEqual({ count, more }, { count: 10_000, more: true });
  const byValue = store.range({ ...ALL, limit: 2, sortOrder: 1, sortTarget: 4 });
  assert.deepEqual(byValue.kvs.map((bytes) => String(reader.read(bytes).value)), ["48", "49"]);
});

test("counters follow what the store does", () => {
  const store = storeOn(new MemoryBackend());
  store.put(utf8("a"), utf8("12"), 0n);
  const txn = store.beginWrite();
  txn.put(utf8("bb"), utf8("3"), 0n);
  txn.deleteRange(utf8("a"), utf8("c"));
  txn.end();
  store.get(utf8("a"));
  store.range(ALL);
  const { puts, deletes, ranges, txns, changes, putBytes, keyCount } = store;
  assert.deepEqual(
    { puts, deletes, ranges, txns, changes, putBytes, keyCount },
    { puts: 2, deletes: 1, ranges: 2, txns: 1, changes: 4, putBytes: 6, keyCount: 0 },
  );
});
