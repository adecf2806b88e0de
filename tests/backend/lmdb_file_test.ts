import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { closeSync, openSync, readFileSync, statSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { test } from "node:test";
import { checkDataFile } from "../../src/backend/lmdb_file.ts";
import { bucketNames } from "../../src/mvcc/backend.ts";
import { FileError } from "../../src/ports/files.ts";
import { files } from "../../src/runtime/node_compat/files.ts";
import { dumpBackend } from "./backend_suite.ts";
import { applyEntry, Dice } from "./entry_script.ts";
import { inDirectory, openLmdb } from "./lmdb_harness.ts";

const PAGE_BYTES = 8192;

function patch(path: string, position: number, bytes: readonly number[]): void {
  const descriptor = openSync(path, "r+");
  writeSync(descriptor, Uint8Array.from(bytes), 0, bytes.length, position);
  closeSync(descriptor);
}

async function makeDatabase(directory: string): Promise<string> {
  const backend = openLmdb(directory);
  for (let index = 1; index <= 200; index += 1) applyEntry(backend, index);
  await backend.close();
  return `${directory}/data.mdb`;
}

const damages: { name: string; damage: (path: string) => void; message: RegExp }[] = [
  {
    name: "of zeros",
    damage: (path) => writeFileSync(path, new Uint8Array(100_000)),
    message: /not an LMDB file/,
  },
  {
    name: "of text",
    damage: (path) => writeFileSync(path, "hello ".repeat(9000)),
    message: /not an LMDB file/,
  },
  {
    name: "of a few bytes",
    damage: (path) => writeFileSync(path, "x"),
    message: /ends within its first pages/,
  },
  { name: "cut in the first page", damage: (path) => truncateSync(path, 4000), message: /first pages/ },
  { name: "cut after the first page", damage: (path) => truncateSync(path, 9000), message: /truncated/ },
  {
    name: "cut after the meta pages",
    damage: (path) => truncateSync(path, 2 * PAGE_BYTES),
    message: /truncated/,
  },
  {
    name: "cut in the middle",
    damage: (path) => truncateSync(path, Math.floor(statSync(path).size / 2)),
    message: /truncated: \d+ bytes of \d+, and .*refers to page \d+, which is missing/,
  },
  { name: "with a bad stamp", damage: (path) => patch(path, 24, [1, 2, 3, 4]), message: /not an LMDB file/ },
  {
    name: "with a bad second stamp",
    damage: (path) => patch(path, PAGE_BYTES + 24, [0]),
    message: /not an LMDB/,
  },
  { name: "of another format", damage: (path) => patch(path, 28, [3, 0]), message: /format version 3/ },
  {
    name: "with a strange page size",
    damage: (path) => patch(path, 48, [7, 0, 0, 0]),
    message: /page size is 7/,
  },
];

for (const { name, damage, message } of damages) {
  test(`LmdbBackend refuses a file ${name}`, () =>
    inDirectory(async (directory) => {
      const path = await makeDatabase(directory);
      damage(path);
      assert.throws(() => openLmdb(directory), (error) => {
        assert.ok(error instanceof FileError);
        assert.match(error.message, message);
        return true;
      });
    }));
}

test("LmdbBackend opens an empty file as a new database", () =>
  inDirectory(async (directory) => {
    writeFileSync(`${directory}/data.mdb`, "");
    const backend = openLmdb(directory);
    assert.equal(backend.durableIndex, 0);
    await backend.close();
  }));

test("LmdbBackend opens a file that lacks only free pages, and no shorter one", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory);
    backend.putRevision(1, 0, false, new Uint8Array(100_000));
    for (let main = 2; main < 400; main += 1) backend.putRevision(main, 0, false, new Uint8Array(1000));
    backend.endEntry(1, 1);
    await backend.commit();
    for (let main = 2; main < 400; main += 1) backend.deleteRevision(main, 0, false);
    // Twice, so that roots at the end of the file have moved to pages freed before.
    for (let index = 2; index < 8; index += 1) {
      backend.endEntry(index, 1);
      await backend.commit();
    }
    const before = dumpBackend(backend, ["meta"]);
    await backend.close();

    const path = `${directory}/data.mdb`;
    const whole = readFileSync(path);
    let opened = 0;
    for (let pages = whole.length / PAGE_BYTES; pages >= 2; pages -= 1) {
      writeFileSync(path, whole.subarray(0, pages * PAGE_BYTES));
      try {
        const shorter = openLmdb(directory);
        assert.deepEqual(dumpBackend(shorter, ["meta"]), before);
        await shorter.close();
        opened += 1;
      } catch (error) {
        assert.ok(error instanceof FileError);
        assert.match(error.message, /truncated/);
        break;
      }
    }
    assert.ok(opened > 1 && opened < whole.length / PAGE_BYTES - 2, `opened ${opened}`);
  }));

test("LmdbBackend names the page that was lost, unless no tree needs it", () =>
  inDirectory(async (directory) => {
    const path = await makeDatabase(directory);
    const small = bucketNames.filter((name) => name !== "key");
    const intact = openLmdb(directory);
    const before = dumpBackend(intact, small);
    await intact.close();
    const whole = readFileSync(path);
    let refused = 0;
    const metaPages = 2;
    for (let page = metaPages; page < whole.length / PAGE_BYTES; page += 1) {
      const at = page * PAGE_BYTES;
      writeFileSync(path, Buffer.from(whole).fill(0, at, at + PAGE_BYTES));
      try {
        checkDataFile(files, path);
      } catch (error) {
        assert.ok(error instanceof FileError && error.kind === "damaged");
        assert.match(
          error.message,
          new RegExp(
            `page ${page} \\(offset ${at}\\)(, which does not begin the value| is no page of a tree)`,
          ),
        );
        refused += 1;
        continue;
      }
      const backend = openLmdb(directory);
      // Or one that is nothing but a part of a value, which only its owner could miss.
      assert.equal(dumpBackend(backend, small).length, before.length, `page ${page}`);
      await backend.close();
    }
    assert.ok(refused > 10, `refused ${refused}`);
  }));

test("checkDataFile() says damaged, and nothing else, of whatever a page holds", () =>
  inDirectory(async (directory) => {
    const path = await makeDatabase(directory);
    const whole = readFileSync(path);
    const dice = new Dice(1);
    let refused = 0;
    for (let attempt = 0; attempt < 400; attempt += 1) {
      const bytes = Buffer.from(whole);
      const page = 2 + dice.below(whole.length / PAGE_BYTES - 2);
      // Headers and places of nodes, where the structure is; with a number of any size now and then.
      const at = page * PAGE_BYTES + 8 * dice.below(40);
      if (dice.below(2) === 0) bytes.writeBigUInt64LE(0xffff_ffff_ffff_ffffn >> BigInt(dice.below(64)), at);
      else bytes[at + dice.below(8)]! ^= 1 << dice.below(8);
      writeFileSync(path, bytes);
      try {
        checkDataFile(files, path);
      } catch (error) {
        assert.ok(error instanceof FileError && error.kind === "damaged", String(error));
        refused += 1;
      }
    }
    assert.ok(refused > 40, `refused ${refused}`);
  }));

test("checkDataFile() refuses a tree that goes in circles", () =>
  inDirectory(async (directory) => {
    const path = await makeDatabase(directory);
    const bytes = readFileSync(path);
    let circles = 0;
    for (let page = 2; page < bytes.length / PAGE_BYTES; page += 1) {
      const at = page * PAGE_BYTES;
      const isBranch = (bytes.readUInt16LE(at + 18) & 1) !== 0 && bytes.readUInt32LE(at) === page;
      if (!isBranch) continue;
      const node = at + 24 + bytes.readUInt16LE(at + 24);
      const looped = Buffer.from(bytes);
      looped.writeUInt32LE(page, node);
      writeFileSync(path, looped);
      try {
        checkDataFile(files, path);
      } catch (error) {
        assert.match(
          String(error),
          new RegExp(`page ${page} .* refers to page ${page}, as another one does`),
        );
        circles += 1;
      }
    }
    assert.ok(circles > 0);
  }));
