import assert from "node:assert/strict";
import { test } from "node:test";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import type { LmdbBackend } from "../../src/backend/lmdb_backend.ts";
import type { LinkNative } from "../../src/ports/native_calls.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { inDirectory, openLmdb } from "./lmdb_harness.ts";

/** More than the memory of values holds at first. */
const LARGE_BYTES = (16 << 20) + 1;
/** On both sides of that, and of what its views are kept for. */
const LENGTHS = [1, 100, 8191, 8192, 8193, LARGE_BYTES - 1, 70_000, LARGE_BYTES, 200, 300_000, 50];

function valueOf(main: number, length: number): Uint8Array {
  return new Uint8Array(length).fill(1 + main % 250);
}

function shown(value: Uint8Array): string {
  return `${value.length} bytes, ${value[0]} ... ${value.at(-1)}`;
}

function seenFrom(backend: LmdbBackend, main: number, recordsMax: number): string[] {
  const seen: string[] = [];
  backend.scanRevisions({ main, sub: 0 }, recordsMax, (atMain, _sub, tombstone, value) => {
    seen.push(`${atMain}${tombstone ? "t" : ""} ${shown(value)}`);
    return true;
  });
  return seen;
}

test("values of any length are read back, one by one and in a row", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory);
    const expected: string[] = [];
    for (const [i, length] of LENGTHS.entries()) {
      const main = i + 2;
      backend.putRevision(main, 0, i % 5 === 4, valueOf(main, length));
      expected.push(`${main}${i % 5 === 4 ? "t" : ""} ${shown(valueOf(main, length))}`);
    }
    backend.endEntry(1, 1);
    await backend.commit();
    for (let round = 0; round < 3; round += 1) {
      assert.deepEqual(seenFrom(backend, 0, 100), expected);
      assert.deepEqual(seenFrom(backend, 9, 2), expected.slice(7, 9));
      for (const [i, length] of LENGTHS.entries()) {
        const found = backend.getRevision(i + 2, 0);
        assert.equal(found && shown(found), i % 5 === 4 ? undefined : shown(valueOf(i + 2, length)));
      }
    }
    await backend.close();
  }));

test("values that are empty or begin with a zero are read back", () =>
  inDirectory(async (directory) => {
    const backend = openLmdb(directory);
    const values = [[7], [], [0, 1], [0], [8, 0]].map((bytes) => new Uint8Array(bytes));
    for (const [i, value] of values.entries()) backend.putRevision(i + 2, 0, false, value);
    backend.endEntry(1, 1);
    await backend.commit();
    const seen: Uint8Array[] = [];
    backend.scanRevisions({ main: 0, sub: 0 }, 100, (_main, _sub, _tombstone, value) => {
      seen.push(value.slice());
      return true;
    });
    assert.deepEqual(seen, values);
    for (const [i, value] of values.entries()) assert.deepEqual(backend.getRevision(i + 2, 0), value);
    await backend.close();
  }));

test("a large value that another database reads does not disturb", () =>
  inDirectory((first) =>
    inDirectory(async (second) => {
      const backend = openLmdb(first);
      const other = openLmdb(second);
      for (let main = 2; main < 20; main += 1) backend.putRevision(main, 0, false, utf8(`value ${main}`));
      backend.endEntry(1, 1);
      other.put("cluster", utf8("large"), valueOf(1, LARGE_BYTES + 1000));
      other.putRevision(2, 0, false, valueOf(2, LARGE_BYTES + 2000));
      other.endEntry(1, 1);
      await Promise.all([backend.commit(), other.commit()]);
      assert.equal(textOf(backend.getRevision(5, 0)!), "value 5");
      assert.equal(other.getRevision(2, 0)!.length, LARGE_BYTES + 2000);
      assert.equal(textOf(backend.getRevision(6, 0)!), "value 6");
      const seen: string[] = [];
      backend.scanRevisions({ main: 0, sub: 0 }, 100, (main, _sub, _tombstone, value) => {
        assert.equal(textOf(value), `value ${main}`); // It is good until the next read, of whatever database.
        assert.equal(other.list("cluster")[0]!.value.length, LARGE_BYTES + 1000);
        assert.equal(other.getRevision(2, 0)!.length, LARGE_BYTES + 2000);
        assert.equal(textOf(backend.getRevision(main, 0)!), `value ${main}`);
        seen.push(...seenOf(backend, main));
        return true;
      });
      assert.deepEqual(seen, Array.from({ length: 18 }, (_, i) => `value ${i + 2}`));
      await Promise.all([backend.close(), other.close()]);
    })
  ));

/** One record, by a scan of its own. */
function seenOf(backend: LmdbBackend, main: number): string[] {
  const seen: string[] = [];
  backend.scanRevisions({ main, sub: 0 }, 1, (_main, _sub, _tombstone, value) => {
    seen.push(textOf(value));
    return true;
  });
  return seen;
}

test("C functions are linked on Bun, and Node-API serves where they cannot be", () =>
  inDirectory(async (directory) => {
    const runtime = await loadRuntime();
    for (const link of [runtime.linkNative, () => undefined]) {
      const linked: boolean[] = [];
      const linkNative: LinkNative = (native) => {
        const call = link(native);
        linked.push(call !== undefined);
        return call;
      };
      const backend = openLmdb(directory, { linkNative });
      if (backend.durableIndex === 0) {
        backend.putRevision(2, 0, false, utf8("value"));
        backend.endEntry(1, 1);
        await backend.commit();
      }
      assert.equal(textOf(backend.getRevision(2, 0)!), "value");
      assert.equal(backend.getRevision(3, 0), undefined);
      assert.deepEqual(seenOf(backend, 2), ["value"]);
      const expected = link === runtime.linkNative && "Bun" in globalThis;
      assert.deepEqual(linked, [expected, expected]);
      await backend.close();
    }
  }));
