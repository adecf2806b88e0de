import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { KeyArena } from "../../src/mvcc/key_arena.ts";
import { KeyRecords } from "../../src/mvcc/key_records.ts";
import { KeySort } from "../../src/mvcc/key_sort.ts";

function checkOrder(keys: readonly Uint8Array[]): void {
  const arena = new KeyArena();
  const records = new KeyRecords(arena);
  for (const key of keys) records.add(arena.add(key, 0, key.length), 0);
  const expected = keys.map((_, slot) => slot).sort((a, b) => compareBytes(keys[a]!, keys[b]!));
  const sort = new KeySort(records);
  assert.deepEqual(keys.map(() => sort.next()), expected);
  assert.equal(sort.next(), -1);
}

function distinct(keys: readonly Uint8Array[]): Uint8Array[] {
  return [...new Map(keys.map((key) => [key.join(), key])).values()];
}

test("KeySort sorts keys that differ in zeros at their ends", () => {
  const zeros = Array.from({ length: 40 }, (_, i) => new Uint8Array(i));
  checkOrder(zeros.toReversed());
  checkOrder(zeros.flatMap((end) => [Uint8Array.of(7, ...end), Uint8Array.of(255, ...end, 1)]).toReversed());
});

test("KeySort sorts keys that begin alike, however long they are", () => {
  const nested = Array.from({ length: 3000 }, (_, i) => new Uint8Array(i).fill(97));
  checkOrder(nested.toReversed());
  const alike = utf8("x".repeat(100_000));
  checkOrder(Array.from({ length: 30 }, (_, i) => Uint8Array.of(...alike, 29 - i)));
});

test("KeySort sorts what keys are made of", () => {
  const prng = new Prng(1);
  for (const alphabet of [[0, 255], [0, 1, 127, 128], [48, 49, 50, 51, 52]]) {
    for (const count of [0, 1, 2, 8, 9, 10, 500, 5000]) {
      const keys = Array.from(
        { length: count },
        () => Uint8Array.from({ length: 1 + prng.below(12) }, () => alphabet[prng.below(alphabet.length)]!),
      );
      checkOrder(distinct(keys));
    }
  }
});
