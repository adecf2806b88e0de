import assert from "node:assert/strict";
import { test } from "node:test";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { Backend, BucketName, BucketRecord, StoredRevisions } from "../../src/mvcc/backend.ts";

/** A backend of the kind under test; `close` releases and removes what it holds. */
export interface OpenBackend {
  readonly backend: Backend;
  close(): Promise<void>;
}

/** What every backend does, stored durably or not. */
export function backendSuite(kind: string, open: () => Promise<OpenBackend>): void {
  function backendTest(name: string, body: (backend: Backend) => Promise<void> | void): void {
    test(`${kind} ${name}`, async () => {
      const opened = await open();
      try {
        await body(opened.backend);
      } finally {
        await opened.close();
      }
    });
  }

  backendTest("get() answers what put() wrote, before and after commit()", async (backend) => {
    backend.put("lease", utf8("a"), utf8("1"));
    assert.equal(textOf(backend.get("lease", utf8("a"))!), "1");
    backend.endEntry(1, 1);
    await backend.commit();
    assert.equal(textOf(backend.get("lease", utf8("a"))!), "1");
    backend.put("lease", utf8("a"), utf8("2"));
    assert.equal(textOf(backend.get("lease", utf8("a"))!), "2");
    assert.equal(backend.get("auth", utf8("a")), undefined);
  });

  backendTest("delete() hides a record, before and after commit()", async (backend) => {
    backend.put("members", utf8("a"), utf8("1"));
    backend.delete("members", utf8("missing"));
    backend.endEntry(1, 1);
    await backend.commit();
    backend.delete("members", utf8("a"));
    assert.equal(backend.get("members", utf8("a")), undefined);
    assert.deepEqual(backend.list("members"), []);
    backend.endEntry(2, 1);
    await backend.commit();
    assert.equal(backend.get("members", utf8("a")), undefined);
    backend.put("members", utf8("a"), utf8("3"));
    assert.equal(textOf(backend.get("members", utf8("a"))!), "3");
  });

  backendTest("freeze() gives what a bucket was, whatever is written meanwhile", async (backend) => {
    const prng = new Prng(7);
    let entry = 0;
    const write = (count: number): void => {
      for (let left = count; left > 0; left -= 1) {
        const key = utf8(`lease ${prng.below(300)}`);
        if (prng.chance(0.4)) backend.delete("lease", key);
        else backend.put("lease", key, utf8(String(left)));
        backend.endEntry(entry += 1, 1);
      }
    };
    const text = (records: readonly BucketRecord[]): string[] =>
      records.map(({ key, value }) => `${textOf(key)}=${textOf(value)}`);
    for (const recordsMax of [1, 7, 100, 1000]) {
      write(500);
      await backend.commit();
      write(100);
      const expected = text(backend.list("lease"));
      const [frozen, other] = [backend.freeze("lease"), backend.freeze("lease")];
      for (let pass = 1; pass <= 2; pass += 1) {
        const seen: string[] = [];
        for (;;) {
          const slice = frozen.next(recordsMax);
          if (slice.length === 0) break;
          assert.ok(slice.length <= recordsMax);
          seen.push(...text(slice));
          write(5);
          if (prng.chance(0.1)) await backend.commit();
          if (prng.chance(0.1)) void backend.commit();
        }
        assert.deepEqual(seen, expected, `slices of ${recordsMax}, pass ${pass}`);
        assert.deepEqual(frozen.next(recordsMax), []);
        frozen.rewind();
      }
      frozen.close();
      write(50);
      assert.deepEqual(text(other.next(1000)), expected, `another, slices of ${recordsMax}`);
      other.close();
    }
    await backend.commit();
  });

  backendTest("freeze() keeps the consistent index of its moment", async (backend) => {
    backend.endEntry(5, 1);
    const frozen = backend.freeze("meta");
    backend.endEntry(6, 1);
    await backend.commit();
    const index = frozen.next(10).find(({ key }) => textOf(key) === "consistent_index")!.value;
    assert.equal(index.at(-1), 5);
    frozen.close();
  });

  backendTest("list() merges what is durable with what is not, in byte order", async (backend) => {
    const bytes = (...values: number[]) => Uint8Array.from(values);
    backend.put("authUsers", bytes(0xff), utf8("last"));
    backend.put("authUsers", bytes(0x61), utf8("a"));
    backend.put("authUsers", bytes(0x61, 0x00), utf8("a0"));
    backend.endEntry(1, 1);
    await backend.commit();
    backend.put("authUsers", bytes(0x00), utf8("first"));
    backend.put("authUsers", bytes(0x61), utf8("A"));
    backend.delete("authUsers", bytes(0x61, 0x00));
    const seen = backend.list("authUsers").map((record) => [...record.key, textOf(record.value)]);
    assert.deepEqual(seen, [[0x00, "first"], [0x61, "A"], [0xff, "last"]]);
  });

  backendTest("keeps empty values and values of a megabyte", async (backend) => {
    const large = new Uint8Array(1_572_864).map((_, at) => at % 251);
    backend.put("alarm", utf8("empty"), new Uint8Array(0));
    backend.putRevision(2, 0, false, large);
    backend.putRevision(2, 1, false, new Uint8Array(0));
    for (let round = 0; round < 2; round += 1) {
      assert.equal(backend.get("alarm", utf8("empty"))!.length, 0);
      assert.deepEqual(backend.getRevision(2, 0), large);
      assert.equal(backend.getRevision(2, 1)!.length, 0);
      backend.endEntry(round + 1, 1);
      await backend.commit();
    }
  });

  backendTest(
    "getRevision() answers puts, not tombstones, and bytes that stay the caller's",
    async (backend) => {
      backend.putRevision(2, 0, false, utf8("two"));
      backend.putRevision(3, 0, true, utf8("three"));
      for (let round = 0; round < 2; round += 1) {
        const two = backend.getRevision(2, 0)!;
        assert.equal(backend.getRevision(3, 0), undefined);
        assert.equal(backend.getRevision(2, 1), undefined);
        backend.putRevision(10 + round, 0, false, utf8("ten"));
        assert.equal(textOf(backend.getRevision(10 + round, 0)!), "ten");
        assert.equal(textOf(two), "two");
        two.fill(0);
        assert.equal(textOf(backend.getRevision(2, 0)!), "two");
        backend.endEntry(round + 1, 1);
        await backend.commit();
      }
    },
  );

  backendTest("put calls copy: the caller may reuse key and value memory at once", async (backend) => {
    const key = utf8("k");
    const value = utf8("v");
    backend.put("cluster", key, value);
    backend.putRevision(2, 0, false, value);
    key.fill(0x78);
    value.fill(0x78);
    for (let round = 0; round < 2; round += 1) {
      assert.equal(textOf(backend.get("cluster", utf8("k"))!), "v");
      assert.equal(textOf(backend.getRevision(2, 0)!), "v");
      backend.endEntry(round + 1, 1);
      await backend.commit();
    }
  });

  backendTest("scanRevisions() walks durable and newer records in one order", async (backend) => {
    for (let main = 2; main < 10; main += 1) {
      backend.putRevision(main, 0, main % 3 === 0, utf8(`v${main}`));
      backend.putRevision(main, 1, false, utf8(`w${main}`));
      backend.endEntry(main, 1);
      if (main === 6) await backend.commit();
    }
    backend.deleteRevision(4, 0, false);
    backend.deleteRevision(8, 1, false);
    backend.deleteRevision(9, 0, false); // A tombstone under that revision: it stays.
    assert.deepEqual(scan(backend, 3, 1, 100), [
      "3.1=w3",
      "4.1=w4",
      "5.0=v5",
      "5.1=w5",
      "6.0t=v6",
      "6.1=w6",
      "7.0=v7",
      "7.1=w7",
      "8.0=v8",
      "9.0t=v9",
      "9.1=w9",
    ]);
    assert.deepEqual(scan(backend, 0, 0, 3), ["2.0=v2", "2.1=w2", "3.0t=v3"]);
    assert.deepEqual(scan(backend, 7, 1, 2), ["7.1=w7", "8.0=v8"]);
    assert.deepEqual(scan(backend, 10, 0, 2), []);
    assert.deepEqual(scan(backend, 0, 0, 0), []);
    const seen: number[] = [];
    backend.scanRevisions({ main: 5, sub: 0 }, 100, (main) => seen.push(main) < 4);
    assert.deepEqual(seen, [5, 5, 6, 6]);
    await backend.commit();
    assert.deepEqual(scan(backend, 8, 0, 100), ["8.0=v8", "9.0t=v9", "9.1=w9"]);
    for (const recordsMax of [1, 4, 1000]) {
      assert.deepEqual(dumpStored(backend.storedRevisions(), recordsMax), scan(backend, 0, 0, 1000));
    }
  });

  backendTest("orders revisions past 2^32 and subs past 255 as numbers", async (backend) => {
    const mains = [5, 255, 256, 65_536, 4_294_967_295, 4_294_967_296, 9_007_199_254_740_990];
    for (const main of mains) {
      backend.putRevision(main, 0, false, utf8(`${main}`));
      backend.putRevision(main, 300, false, utf8(`${main}.300`));
    }
    for (let round = 0; round < 2; round += 1) {
      const seen: number[] = [];
      backend.scanRevisions({ main: 0, sub: 0 }, 100, (main, sub) => {
        if (sub === 300) seen.push(main);
        return true;
      });
      assert.deepEqual(seen, mains);
      for (const main of mains) assert.equal(textOf(backend.getRevision(main, 300)!), `${main}.300`);
      backend.endEntry(round + 1, 1);
      await backend.commit();
    }
  });

  backendTest("deleteRevision() takes records away wherever they are", async (backend) => {
    const total = 3000;
    for (let main = 2; main < total; main += 1) {
      backend.putRevision(main, 0, false, utf8(`v${main}`));
      if (main % 500 === 0) backend.endEntry(main, 1);
      if (main === 2000) await backend.commit();
    }
    const left: string[] = [];
    for (let main = 2; main < total; main += 1) {
      if (main % 7 === 0) left.push(`${main}.0=v${main}`);
      else backend.deleteRevision(main, 0, false);
    }
    for (let round = 0; round < 2; round += 1) {
      assert.deepEqual(scan(backend, 0, 0, total), left);
      assert.equal(backend.getRevision(2001, 0), undefined);
      assert.equal(textOf(backend.getRevision(2002, 0)!), "v2002");
      backend.endEntry(total + round, 1);
      await backend.commit();
    }
  });

  backendTest(
    "endEntry() keeps index and term in bucket meta, and commit() makes them durable",
    async (backend) => {
      assert.equal(backend.get("meta", utf8("consistent_index")), undefined);
      backend.put("meta", utf8("storageVersion"), utf8("3.7.0"));
      backend.endEntry(258, 3);
      assert.deepEqual([...backend.get("meta", utf8("consistent_index"))!], [0, 0, 0, 0, 0, 0, 1, 2]);
      await backend.commit();
      assert.equal(backend.durableIndex, 258);
      backend.endEntry(4_294_967_297, 4);
      const names = backend.list("meta").map((record) => `${textOf(record.key)}=${[...record.value]}`);
      assert.deepEqual(names, [
        "consistent_index=0,0,0,1,0,0,0,1",
        `storageVersion=${[...utf8("3.7.0")]}`,
        "term=0,0,0,0,0,0,0,4",
      ]);
      await backend.commit();
      assert.equal(backend.durableIndex, 4_294_967_297);
    },
  );

  backendTest("commit() of nothing resolves", async (backend) => {
    await backend.commit();
    await backend.commit();
    assert.equal(backend.durableIndex, 0);
  });

  backendTest("sizes grow with the data and never fall to zero", async (backend) => {
    assert.ok(backend.sizeBytes > 0);
    const before = backend.inUseBytes;
    for (let main = 2; main < 200; main += 1) backend.putRevision(main, 0, false, new Uint8Array(1000));
    backend.endEntry(1, 1);
    await backend.commit();
    assert.ok(backend.inUseBytes - before > 150_000, `in use: ${before}, then ${backend.inUseBytes}`);
    assert.ok(backend.sizeBytes >= backend.inUseBytes);
    for (let main = 2; main < 200; main += 1) backend.deleteRevision(main, 0, false);
    backend.endEntry(2, 1);
    await backend.commit();
    assert.ok(backend.inUseBytes - before < 100_000, `in use: ${before}, then ${backend.inUseBytes}`);
  });
}

function scan(backend: Backend, main: number, sub: number, recordsMax: number): string[] {
  const seen: string[] = [];
  backend.scanRevisions({ main, sub }, recordsMax, (atMain, atSub, tombstone, keyValue) => {
    seen.push(`${atMain}.${atSub}${tombstone ? "t" : ""}=${textOf(keyValue)}`);
    return true;
  });
  return seen;
}

/** The records that a starting store is given, as `scan` has them, a few at a time. */
export function dumpStored(stored: StoredRevisions, recordsMax: number): string[] {
  const seen: string[] = [];
  for (let isLast = false; !isLast;) {
    const before = seen.length;
    isLast = !stored.next(recordsMax, (main, sub, tombstone, bytes, start, end) => {
      seen.push(`${main}.${sub}${tombstone ? "t" : ""}=${textOf(bytes.subarray(start, end))}`);
    });
    assert.ok(seen.length - before <= recordsMax);
    assert.ok(isLast || seen.length > before);
  }
  return seen;
}

/** Every record of every bucket, as lines; equal contents give equal lines. */
export function dumpBackend(backend: Backend, smallBuckets: readonly BucketName[]): string[] {
  const lines = scan(backend, 0, 0, Number.MAX_SAFE_INTEGER);
  for (const bucket of smallBuckets) {
    for (const { key, value } of backend.list(bucket)) lines.push(`${bucket} ${[...key]} = ${[...value]}`);
  }
  return lines;
}
