import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { BoltRecord } from "../../src/snap/bolt_reader.ts";
import { LEAF_BYTES_MAX, PAGE_BYTES } from "../../src/snap/bolt_tree.ts";
import { type Buckets, readBolt, writeBolt, writerOf } from "./support.ts";

const SEEDS = 40;
const LEAVES = [PAGE_BYTES, LEAF_BYTES_MAX];

test("BoltReader reads what BoltWriter writes, whatever the buckets", () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const buckets = randomBuckets(new Prng(seed));
    for (const leafBytes of LEAVES) {
      const bytes = writeBolt(buckets, 1 + new Prng(seed).below(100_000), leafBytes);
      assertSame(readBolt(bytes), buckets, `seed ${seed}, leaves of ${leafBytes}`);
    }
  }
});

test("BoltWriter knows the size of its file beforehand", () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const buckets = randomBuckets(new Prng(seed));
    for (const leafBytes of LEAVES) {
      const writer = writerOf(buckets, leafBytes);
      while (!writer.measure());
      assert.equal(writer.sizeBytes, writeBolt(buckets, 4096, leafBytes).length, `seed ${seed}`);
    }
  }
});

test("BoltWriter writes a tree of several levels", () => {
  const records = Array.from(
    { length: 30_000 },
    (_, i) => record(`key ${String(i).padStart(300, "0")}`, "v"),
  );
  const buckets = new Map([["key", records]]);
  assertSame(readBolt(writeBolt(buckets)), buckets, "30,000 records");
});

test("BoltWriter leaves little of a leaf empty", () => {
  const records = Array.from(
    { length: 3000 },
    (_, i) => record(String(i).padStart(17, "0"), "v".repeat(1100)),
  );
  const bytes = writeBolt(new Map([["key", records]]), 4096, LEAF_BYTES_MAX);
  const least = records.length * (16 + 17 + 1100);
  assert.ok(bytes.length < least * 1.05, `${bytes.length} bytes for ${least}`);
});

test("BoltWriter gives every branch two children at least", () => {
  // Around every border: full branches, one child too many, one more.
  for (let leaves = 1; leaves <= 400; leaves += 1) {
    const records = Array.from(
      { length: leaves },
      (_, i) => record(String(i).padStart(17, "0"), "v".repeat(4000)),
    );
    const bytes = writeBolt(new Map([["key", records]]));
    for (const count of branchCounts(bytes)) assert.ok(count >= 2, `${leaves} leaves: a branch of ${count}`);
  }
});

test("BoltWriter writes the same bytes whatever the size of the pieces", () => {
  const buckets = new Map([
    ["key", Array.from({ length: 300 }, (_, i) => record(String(i).padStart(17, "0"), "v".repeat(i)))],
    ["lease", [record("large", "v".repeat(20_000))]],
  ]);
  const whole = writeBolt(buckets, 1 << 30);
  for (const pieceBytes of [1, 100, 4096, 10_000]) {
    assert.ok(compareBytes(writeBolt(buckets, pieceBytes), whole) === 0, `pieces of ${pieceBytes}`);
  }
});

function record(key: string, value: string): BoltRecord {
  return { key: utf8(key), value: utf8(value) };
}

/** Children of each branch page. */
function branchCounts(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const counts: number[] = [];
  for (let at = 0; at < bytes.length;) {
    if (view.getUint16(at + 8, true) === 1) counts.push(view.getUint16(at + 10, true));
    at += 4096 * (1 + view.getUint32(at + 12, true));
  }
  return counts;
}

function randomBuckets(prng: Prng): Buckets {
  const buckets = new Map<string, BoltRecord[]>();
  for (let left = prng.below(6); left > 0; left -= 1) {
    buckets.set(`bucket ${prng.below(1000)}`, randomRecords(prng));
  }
  return buckets;
}

function randomRecords(prng: Prng): BoltRecord[] {
  // Mostly small keys and values, in some buckets long ones: past a page, and at its borders.
  const keyBytesMax = [8, 20, 200, 6000][prng.below(4)]!;
  const valueBytesMax = [1, 100, 1000, 5000, 70_000][prng.below(5)]!;
  const countMax = Math.min(3000, Math.ceil(3_000_000 / (keyBytesMax + valueBytesMax)));
  const records = new Map<string, BoltRecord>();
  for (let left = prng.below(countMax); left > 0; left -= 1) {
    const key = randomBytes(prng, 1 + prng.below(keyBytesMax));
    records.set(key.join(), { key, value: randomBytes(prng, prng.below(valueBytesMax + 1)) });
  }
  return [...records.values()].sort((a, b) => compareBytes(a.key, b.key));
}

function randomBytes(prng: Prng, length: number): Uint8Array {
  const bytes = new Uint8Array(length).fill(prng.below(256));
  for (let i = 0; i < Math.min(8, length); i += 1) bytes[i] = prng.below(256);
  return bytes;
}

function assertSame(actual: Buckets, expected: Buckets, what: string): void {
  assert.deepEqual([...actual.keys()], [...expected.keys()].sort(), what);
  for (const [name, records] of expected) {
    const read = actual.get(name)!;
    assert.equal(read.length, records.length, `${what}: records of ${name}`);
    for (const [i, { key, value }] of records.entries()) {
      assert.ok(compareBytes(read[i]!.key, key) === 0, `${what}: key ${i} of ${name}`);
      assert.ok(compareBytes(read[i]!.value, value) === 0, `${what}: value ${i} of ${name}`);
    }
  }
}
