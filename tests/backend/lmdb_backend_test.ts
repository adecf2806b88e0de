import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { bucketNames } from "../../src/mvcc/backend.ts";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { backendSuite, dumpBackend } from "./backend_suite.ts";
import { applyEntry, Dice } from "./entry_script.ts";
import { inDirectory, openLmdb, sleep } from "./lmdb_harness.ts";

backendSuite("LmdbBackend", () => {
  const directory = mkdtempSync(`${tmpdir()}/backend-`);
  const backend = openLmdb(directory);
  return Promise.resolve({
    backend,
    close: async () => {
      await backend.close();
      rmSync(directory, { recursive: true });
    },
  });
});

const smallBuckets = bucketNames.filter((name) => name !== "key");

test("LmdbBackend holds what it held before close()", () =>
  inDirectory(async (directory) => {
    const first = openLmdb(directory);
    const model = new MemoryBackend();
    for (let index = 1; index <= 300; index += 1) {
      applyEntry(first, index);
      applyEntry(model, index);
    }
    await first.close();
    const second = openLmdb(directory);
    assert.equal(second.durableIndex, 300);
    assert.deepEqual(dumpBackend(second, smallBuckets), dumpBackend(model, smallBuckets));
    assert.throws(() => second.putRevision(300, 0, false, utf8("again")), /Revision 300\.0 is not past/);
    assert.throws(() => second.endEntry(299, 1), /Consistent index goes back/);
    for (let index = 301; index <= 350; index += 1) {
      applyEntry(second, index);
      applyEntry(model, index);
    }
    assert.deepEqual(dumpBackend(second, smallBuckets), dumpBackend(model, smallBuckets));
    await second.close();
  }));

for (const seed of [1, 2, 3, 4]) {
  test(`LmdbBackend answers as MemoryBackend does, at any moment of commits, seed ${seed}`, () =>
    inDirectory(async (directory) => {
      const dice = new Dice(seed);
      const options = { batchIntervalMs: 1 + dice.below(4), batchLimit: 5 + dice.below(200) };
      let backend = openLmdb(directory, options);
      const model = new MemoryBackend();
      let index = 1;
      for (let step = 0; step < 60; step += 1) {
        for (let n = dice.below(40); n > 0; n -= 1, index += 1) {
          applyEntry(backend, index);
          applyEntry(model, index);
        }
        const main = 1 + dice.below(index);
        const sub = dice.below(3);
        assert.deepEqual(plain(backend.getRevision(main, sub)), plain(model.getRevision(main, sub)));
        const key = Uint8Array.of(dice.below(40), dice.below(4));
        assert.deepEqual(plain(backend.get("lease", key)), plain(model.get("lease", key)));
        const act = dice.below(8);
        if (act === 0) void backend.commit();
        else if (act === 1) await backend.commit();
        else if (act === 2) await sleep(dice.below(6));
        else if (act === 3) {
          assert.deepEqual(dumpBackend(backend, smallBuckets), dumpBackend(model, smallBuckets));
        } else if (act === 4 && dice.below(3) === 0) {
          await backend.close();
          backend = openLmdb(directory, options);
        } else if (act === 5 && dice.below(3) === 0) {
          const done = backend.defragment();
          for (let n = dice.below(20); n > 0; n -= 1, index += 1) {
            applyEntry(backend, index);
            applyEntry(model, index);
          }
          assert.deepEqual(dumpBackend(backend, smallBuckets), dumpBackend(model, smallBuckets));
          await done;
        }
      }
      assert.deepEqual(dumpBackend(backend, smallBuckets), dumpBackend(model, smallBuckets));
      await backend.close();
    }));
}

function plain(bytes: Uint8Array | undefined): number[] | undefined {
  return bytes === undefined ? undefined : [...bytes];
}

test("LmdbBackend commits by itself after the batch interval", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory, { batchIntervalMs: 20 });
    applyEntry(backend, 1);
    assert.equal(backend.durableIndex, 0);
    await eventually(() => backend.durableIndex === 1);
    await backend.close();
  }));

test("LmdbBackend commits by itself when the batch limit is reached at the end of an entry", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory, { batchIntervalMs: 60_000, batchLimit: 10 });
    for (let main = 1; main <= 25; main += 1) backend.putRevision(main, 0, false, utf8("v"));
    await sleep(30);
    assert.equal(backend.pendingBytes, 25); // Entries are never split.
    backend.endEntry(1, 1);
    await eventually(() => backend.durableIndex === 1);
    assert.equal(backend.pendingBytes, 0);
    await backend.close();
  }));

test("LmdbBackend moves durableIndex with whole batches only", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory, { batchIntervalMs: 60_000 });
    applyEntry(backend, 1);
    const first = backend.commit();
    applyEntry(backend, 2);
    const second = backend.commit();
    applyEntry(backend, 3);
    assert.equal(backend.durableIndex, 0);
    await first;
    assert.equal(backend.durableIndex, 1);
    await second;
    assert.ok(backend.durableIndex >= 2);
    await backend.close();
  }));

test("LmdbBackend asserts on writes after close() and on the bucket of revisions", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory);
    assert.throws(() => backend.put("key", utf8("k"), utf8("v")), /revision calls only/);
    assert.throws(() => backend.put("auth", new Uint8Array(0), utf8("v")), /Key length must be in 1\.\.4026/);
    assert.throws(() => backend.put("auth", new Uint8Array(4027), utf8("v")), /Key length must be/);
    backend.put("auth", new Uint8Array(4026), utf8("v"));
    await backend.commit();
    assert.equal(textOf(backend.get("auth", new Uint8Array(4026))!), "v");
    await backend.close();
    assert.throws(() => backend.put("auth", utf8("k"), utf8("v")), /closed backend/);
  }));

test("LmdbBackend keeps its files in one private directory", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(`${directory}/member/snap/db-lmdb`);
    await backend.close();
    assert.deepEqual(readdirSync(directory), ["member"]);
    assert.ok(existsSync(`${directory}/member/snap/db-lmdb/data.mdb`));
  }));

async function eventually(holds: () => boolean): Promise<void> {
  for (let waitedMs = 0; waitedMs < 30_000; waitedMs += 5) {
    if (holds()) return;
    await sleep(5);
  }
  assert.fail("It has not come true in 30 s");
}
