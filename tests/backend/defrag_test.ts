import assert from "node:assert/strict";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { bucketNames } from "../../src/mvcc/backend.ts";
import { FileError, type Files } from "../../src/ports/files.ts";
import { files } from "../../src/runtime/node_compat/files.ts";
import { dumpBackend } from "./backend_suite.ts";
import { applyEntry } from "./entry_script.ts";
import { inDirectory, openLmdb, sleep } from "./lmdb_harness.ts";

const smallBuckets = bucketNames.filter((name) => name !== "key");
const value = new Uint8Array(2000).fill(7);

test("defragment() gives free pages back and changes nothing else", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory);
    for (let main = 1; main <= 3000; main += 1) backend.putRevision(main, 0, false, value);
    backend.endEntry(1, 1);
    await backend.commit();
    for (let main = 1; main < 2900; main += 1) backend.deleteRevision(main, 0, false);
    backend.endEntry(2, 1);
    await backend.commit();
    const before = dumpBackend(backend, smallBuckets);
    const sizeBefore = backend.sizeBytes;
    assert.ok(backend.inUseBytes < sizeBefore / 5);
    await backend.defragment();
    assert.ok(backend.sizeBytes < sizeBefore / 5, `${sizeBefore} bytes, then ${backend.sizeBytes}`);
    assert.ok(statSync(`${directory}/data.mdb`).size <= backend.sizeBytes);
    assert.deepEqual(dumpBackend(backend, smallBuckets), before);
    assert.equal(backend.durableIndex, 2);
    assert.ok(!existsSync(`${directory}/data.mdb.defrag`));
    await backend.close();
  }));

test("defragment() lets reads and writes go on, and what was written follows", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory, { batchIntervalMs: 1 });
    let index = 0;
    while (index < 500) applyEntry(backend, index += 1);
    await backend.commit();
    const done = backend.defragment();
    while (index < 900) applyEntry(backend, index += 1);
    const committed = backend.commit();
    const during = dumpBackend(backend, smallBuckets);
    await done;
    await committed;
    assert.equal(backend.durableIndex, 900);
    assert.deepEqual(dumpBackend(backend, smallBuckets), during);
    await backend.close();
    const reopened = openLmdb(directory);
    assert.deepEqual(dumpBackend(reopened, smallBuckets), during);
    await reopened.close();
  }));

test("close() waits for a defragmentation", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory);
    applyEntry(backend, 1);
    const done = backend.defragment();
    applyEntry(backend, 2);
    await backend.close();
    await done;
    const reopened = openLmdb(directory);
    assert.equal(reopened.durableIndex, 2);
    await reopened.close();
  }));

const failing: readonly { step: string; files: Partial<Files>; isFatal: boolean }[] = [
  {
    step: "sync of the copy",
    files: {
      openWrite: (path) => {
        throw new FileError("io", path, "made to fail");
      },
    },
    isFatal: false,
  },
  {
    step: "rename",
    files: {
      rename: (from) => {
        throw new FileError("io", from, "made to fail");
      },
    },
    isFatal: false,
  },
  {
    step: "sync of the directory",
    files: {
      syncDirectory: (path) => {
        throw new FileError("io", path, "made to fail");
      },
    },
    isFatal: true,
  },
];

for (const { step, files: broken, isFatal } of failing) {
  test(`defragment() rejects and keeps the data when it fails at the ${step}`, () =>
    inDirectory(async (directory) => {
      const first = openLmdb(directory);
      for (let index = 1; index <= 100; index += 1) applyEntry(first, index);
      await first.close();
      const fatal: Error[] = [];
      const backend = openLmdb(directory, {
        files: { ...files, ...broken },
        onFatal: (error) => fatal.push(error),
      });
      const before = dumpBackend(backend, smallBuckets);
      await assert.rejects(backend.defragment(), /made to fail/);
      assert.equal(fatal.length, isFatal ? 1 : 0);
      if (!isFatal) {
        assert.deepEqual(dumpBackend(backend, smallBuckets), before);
        applyEntry(backend, 101);
        await backend.commit();
        assert.equal(backend.durableIndex, 101);
      }
      await backend.close();
      const reopened = openLmdb(directory);
      assert.equal(reopened.durableIndex, isFatal ? 100 : 101);
      await reopened.close();
    }));
}

test("opening removes what a crash in defragmentation left behind", () =>
  inDirectory(async (directory) => {
    const first = openLmdb(directory);
    applyEntry(first, 1);
    await first.close();
    writeFileSync(`${directory}/data.mdb.defrag`, "half a copy");
    const second = openLmdb(directory);
    assert.equal(second.durableIndex, 1);
    assert.ok(!existsSync(`${directory}/data.mdb.defrag`));
    await second.close();
    await sleep(0);
  }));
