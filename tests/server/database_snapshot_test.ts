import assert from "node:assert/strict";
import { test } from "node:test";
import type { LmdbBackend } from "../../src/backend/lmdb_backend.ts";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { migrateSchema } from "../../src/backend/schema/version.ts";
import { compareBytes, concatBytes, utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import { type Backend, bucketNames } from "../../src/mvcc/backend.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { noLeases } from "../../src/mvcc/key_leases.ts";
import { revisionKey } from "../../src/mvcc/revision.ts";
import { Store } from "../../src/mvcc/store.ts";
import { DatabaseSnapshot } from "../../src/server/database_snapshot.ts";
import type { BoltRecord } from "../../src/snap/bolt_reader.ts";
import { inDirectory, openLmdb } from "../backend/lmdb_harness.ts";
import { readBolt } from "../snap/support.ts";

const ENTRIES_BEFORE = 3000;
const ENTRIES_PER_PIECE = 3;
const PIECE_BYTES = 32 * 1024;

/** A store to whose backend the test writes entry after entry. */
class Writer {
  readonly store: Store;
  readonly #prng: Prng;
  #entry = 0;

  constructor(backend: Backend, seed: number) {
    this.store = new Store({ backend, index: new ArenaKeyIndex(new Uint8Array(8)), leases: noLeases });
    this.#prng = new Prng(seed);
  }

  write(entries: number): void {
    const { store } = this;
    const prng = this.#prng;
    for (let left = entries; left > 0; left -= 1) {
      const key = utf8(`key ${prng.below(500)}`);
      if (prng.chance(0.1)) store.deleteRange(key, new Uint8Array(0));
      else store.put(key, new Uint8Array(prng.below(prng.chance(0.02) ? 20_000 : 500)).fill(left), 0n);
      if (prng.chance(0.1)) store.backend.put("lease", utf8(`lease ${prng.below(200)}`), key);
      if (prng.chance(0.1)) store.backend.delete("lease", utf8(`lease ${prng.below(200)}`));
      this.#entry += 1;
      store.backend.endEntry(this.#entry, 2);
    }
  }

  /** Asks for a compaction of all that there is and goes on with the one under way. */
  compact(): void {
    this.store.scheduleCompaction(this.store.currentRevision);
    for (let state = this.store.compactionStep(); state === "working"; state = this.store.compactionStep());
  }
}

/** All that the backend has. */
function contentOf(backend: Backend): Map<string, BoltRecord[]> {
  return new Map(bucketNames.map((name) => {
    if (name !== "key") return [name, backend.list(name)];
    const records: BoltRecord[] = [];
    backend.scanRevisions({ main: 0, sub: 0 }, Infinity, (main, sub, tombstone, keyValue) => {
      records.push({ key: revisionKey(main, sub, tombstone), value: keyValue.slice() });
      return true;
    });
    return [name, records];
  }));
}

/** Takes a snapshot while `between` changes the store; checks that it is what the store was at its beginning. */
async function checkSnapshot(store: Store, between: () => Promise<void> | void): Promise<void> {
  const expected = contentOf(store.backend);
  const snapshot = new DatabaseSnapshot(store, () => false);
  const pieces: Uint8Array[] = [];
  while (!snapshot.measure()) await between();
  for (;;) {
    await between();
    const piece = snapshot.take(PIECE_BYTES);
    if (piece === undefined) break;
    pieces.push(piece.slice());
  }
  snapshot.close();
  const file = concatBytes(pieces);
  assert.equal(file.length, snapshot.sizeBytes);
  const content = readBolt(file);
  assert.deepEqual([...content.keys()], [...expected.keys()]);
  for (const [name, records] of expected) {
    const found = content.get(name)!;
    assert.equal(found.length, records.length, name);
    for (const [i, { key, value }] of records.entries()) {
      assert.ok(compareBytes(found[i]!.key, key) === 0, `key ${i} of ${name}`);
      assert.ok(compareBytes(found[i]!.value, value) === 0, `value ${i} of ${name}`);
    }
  }
}

test("DatabaseSnapshot is the state at its beginning, whatever is written and compacted meanwhile", async () => {
  for (let seed = 1; seed <= 4; seed += 1) {
    const writer = new Writer(new MemoryBackend(), seed);
    writer.write(ENTRIES_BEFORE);
    // A compaction that is half done goes on only after the snapshot.
    writer.store.scheduleCompaction(writer.store.currentRevision - 100);
    for (let steps = 0; steps < seed; steps += 1) writer.store.compactionStep();
    await checkSnapshot(writer.store, () => {
      writer.write(ENTRIES_PER_PIECE);
      writer.compact();
    });
    assert.equal(writer.store.compactionPending, true);
    while (writer.store.compactionPending) assert.notEqual(writer.store.compactionStep(), "held");
  }
});

test("DatabaseSnapshot reads on through commits and defragmentations of LMDB", () =>
  inDirectory(async (directory) => {
    const backend: LmdbBackend = openLmdb(directory, { batchIntervalMs: 1 });
    const writer = new Writer(backend, 9);
    writer.write(ENTRIES_BEFORE);
    let piece = 0;
    await checkSnapshot(writer.store, async () => {
      writer.write(ENTRIES_PER_PIECE);
      writer.compact();
      piece += 1;
      if (piece % 3 === 0) await backend.commit();
      if (piece === 10) await backend.defragment();
    });
    assert.ok(piece > 10);
    await backend.close();
  }));

test("DatabaseSnapshot takes the whole of an empty store", async () => {
  await checkSnapshot(new Writer(new MemoryBackend(), 1).store, () => {});
});

test("DatabaseSnapshot knows the schema of the database, once there is one", () => {
  const writer = new Writer(new MemoryBackend(), 1);
  assert.equal(new DatabaseSnapshot(writer.store, () => false).version, "");
  writer.write(1);
  migrateSchema(writer.store.backend, { major: 3, minor: 6 });
  assert.equal(new DatabaseSnapshot(writer.store, () => false).version, "3.6.0");
});

test("DatabaseSnapshot ends when the store does", () => {
  const isStopped = (error: unknown): boolean => error instanceof EtcdError && error.code === "stopped";
  const { store } = new Writer(new MemoryBackend(), 1);
  let stopped = false;
  const snapshot = new DatabaseSnapshot(store, () => stopped);
  while (!snapshot.measure());
  assert.equal(snapshot.take(100)!.length, 100);
  stopped = true;
  assert.throws(() => snapshot.take(100), isStopped);
  assert.throws(() => new DatabaseSnapshot(store, () => stopped), isStopped);
});
