import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { AssertionError } from "../../src/base/assert.ts";
import { FileRevisions } from "../../src/backend/file_revisions.ts";
import type { LmdbBackend } from "../../src/backend/lmdb_backend.ts";
import { utf8 } from "../../src/base/bytes.ts";
import { revisionKey } from "../../src/mvcc/revision.ts";
import { FileError } from "../../src/ports/files.ts";
import { dumpBackend, dumpStored } from "./backend_suite.ts";
import { applyEntry } from "./entry_script.ts";
import { inDirectory, openLmdb } from "./lmdb_harness.ts";

async function applyEntries(backend: LmdbBackend, first: number, last: number): Promise<void> {
  for (let index = first; index <= last; index += 1) {
    applyEntry(backend, index);
    if (index % 10 === 0) await backend.commit();
  }
}

test("FileRevisions has the records that LMDB has, run after run", () =>
  inDirectory(async (directory) => {
    let backend = openLmdb(directory);
    for (const [first, last] of [[1, 3], [4, 40], [41, 400], [401, 2000]] as const) {
      await applyEntries(backend, first, last);
      await backend.close();
      backend = openLmdb(directory);
      const expected = dumpBackend(backend, []);
      for (const recordsMax of [1, 7, 20_000]) {
        const stored = backend.storedRevisions();
        assert.ok(stored instanceof FileRevisions);
        assert.deepEqual(dumpStored(stored, recordsMax), expected);
      }
    }
    await backend.close();
  }));

test("FileRevisions has nothing of a bucket that was emptied", () =>
  inDirectory(async (directory) => {
    const before = openLmdb(directory);
    before.putRevision(2, 0, false, new Uint8Array(9000));
    before.endEntry(1, 1);
    await before.commit();
    before.deleteRevision(2, 0, false);
    before.endEntry(2, 1);
    await before.close();
    const backend = openLmdb(directory);
    const stored = backend.storedRevisions();
    assert.ok(stored instanceof FileRevisions);
    assert.deepEqual(dumpStored(stored, 10), []);
    await backend.close();
  }));

test("LmdbBackend reads the file itself only until it is written to or replaced", () =>
  inDirectory(async (directory) => {
    const before = openLmdb(directory);
    assert.ok(!(before.storedRevisions() instanceof FileRevisions));
    await applyEntries(before, 1, 100);
    await before.close();

    const backend = openLmdb(directory);
    const stored = backend.storedRevisions();
    stored.next(10, () => {});
    applyEntry(backend, 101);
    assert.throws(() => stored.next(10, () => {}), AssertionError);
    assert.deepEqual(dumpStored(backend.storedRevisions(), 10), dumpBackend(backend, []));
    await backend.close();

    const defragmented = openLmdb(directory);
    const moved = defragmented.storedRevisions();
    await defragmented.defragment();
    assert.throws(() => moved.next(10, () => {}), AssertionError);
    assert.deepEqual(dumpStored(defragmented.storedRevisions(), 10), dumpBackend(defragmented, []));
    await defragmented.close();
  }));

/** Where a place in a tree's head is behind the key that it belongs to. */
const RECORDS_BEHIND_NAME = 4 + 32;

const damages: {
  name: string;
  near: Uint8Array;
  damage: (bytes: Uint8Array, at: number) => void;
  message: RegExp;
}[] = [
  {
    name: "with a revision of another length",
    near: revisionKey(3, 0),
    // A byte of the key becomes one of the data.
    damage: (bytes, at) => {
      bytes[at - 2]! -= 1;
      bytes[at - 8]! += 1;
    },
    message: /page \d+ has a revision of 16 bytes/,
  },
  {
    name: "that lacks a revision",
    near: utf8("key\0"),
    damage: (bytes, at) => bytes[at + RECORDS_BEHIND_NAME]! += 1,
    message: /it has 3 revisions, and says 4/,
  },
];

for (const { name, near, damage, message } of damages) {
  test(`FileRevisions refuses a file ${name}`, () =>
    inDirectory(async (directory) => {
      const before = openLmdb(directory);
      for (let main = 2; main < 5; main += 1) before.putRevision(main, 0, false, new Uint8Array(10));
      before.endEntry(1, 1);
      await before.close();
      const path = `${directory}/data.mdb`;
      const bytes = readFileSync(path);
      // Pages that are no longer in use have it too.
      for (let at = bytes.indexOf(near); at >= 0; at = bytes.indexOf(near, at + 1)) damage(bytes, at);
      writeFileSync(path, bytes);
      const backend = openLmdb(directory);
      assert.throws(() => dumpStored(backend.storedRevisions(), 10), (error) => {
        assert.ok(error instanceof FileError && error.kind === "damaged");
        assert.match(error.message, message);
        return true;
      });
      await backend.close();
    }));
}
