import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes, EMPTY_BYTES, equalBytes, utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import type { RequestOpShape, TxnRequestShape } from "../../src/mvcc/requests.ts";
import { checkTxn } from "../../src/mvcc/txn_checks.ts";
import { checkWriteConflicts } from "../../src/mvcc/write_conflicts.ts";

function put(key: Uint8Array): RequestOpShape {
  const value = { key, value: EMPTY_BYTES, lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false };
  return { request: { case: "requestPut", value } };
}

function del(key: Uint8Array, rangeEnd: Uint8Array): RequestOpShape {
  return { request: { case: "requestDeleteRange", value: { key, rangeEnd, prevKv: false } } };
}

function nest(success: RequestOpShape[], failure: RequestOpShape[]): RequestOpShape {
  return { request: { case: "requestTxn", value: { compare: [], success, failure } } };
}

function txnOf(success: RequestOpShape[]): TxnRequestShape {
  return { compare: [], success, failure: [] };
}

/** A write with its place: which operation of which branch it is inside of, from the outside in. */
interface PlacedWrite {
  readonly key: Uint8Array;
  /** Undefined for a put. */
  readonly rangeEnd: Uint8Array | undefined;
  readonly place: readonly number[];
}

function placedWrites(operations: readonly RequestOpShape[], place: readonly number[]): PlacedWrite[] {
  return operations.flatMap(({ request }, i): PlacedWrite[] => {
    if (request.case === "requestPut") {
      return [{ key: request.value.key, rangeEnd: undefined, place: [...place, i] }];
    }
    if (request.case === "requestDeleteRange") {
      return [{ key: request.value.key, rangeEnd: request.value.rangeEnd, place: [...place, i] }];
    }
    if (request.case !== "requestTxn") return [];
    return [
      ...placedWrites(request.value.success, [...place, i, 0]),
      ...placedWrites(request.value.failure, [...place, i, 1]),
    ];
  });
}

/** The rules, pair by pair. */
function conflict(a: PlacedWrite, b: PlacedWrite): boolean {
  if (a.rangeEnd !== undefined && b.rangeEnd !== undefined) return false;
  if (a.rangeEnd !== undefined) return conflict(b, a);
  if (b.rangeEnd === undefined) {
    if (!equalBytes(a.key, b.key)) return false;
  } else if (b.rangeEnd.length === 0) {
    if (!equalBytes(a.key, b.key)) return false;
  } else if (compareBytes(a.key, b.key) < 0 || compareBytes(a.key, b.rangeEnd) >= 0) return false;
  let depth = 0;
  while (a.place[depth] === b.place[depth]) depth += 1;
  // An odd depth is a choice between two branches of one transaction.
  if (depth % 2 === 1) return false;
  const bothNested = a.place.length > depth + 1 && b.place.length > depth + 1;
  const deleteIsLater = b.rangeEnd !== undefined && b.place[depth]! > a.place[depth]!;
  return !(bothNested && deleteIsLater);
}

function randomOperations(prng: Prng, depth: number): RequestOpShape[] {
  const keys = ["a", "b", "c", "d", "e", "f", "g", "h"].map(utf8);
  const key = () => keys[prng.below(keys.length)]!;
  return Array.from({ length: prng.below(4) }, () => {
    if (depth < 4 && prng.chance(0.4)) {
      return nest(randomOperations(prng, depth + 1), randomOperations(prng, depth + 1));
    }
    if (prng.chance(0.7)) return put(key());
    return del(key(), prng.chance(0.5) ? EMPTY_BYTES : key());
  });
}

function refuses(check: () => void): boolean {
  try {
    check();
    return false;
  } catch (error) {
    if (error instanceof EtcdError && error.code === "duplicateKey") return true;
    throw error;
  }
}

test("checkWriteConflicts() decides as a comparison of all pairs does", () => {
  const prng = new Prng(7);
  let refused = 0;
  const rounds = 20_000;
  for (let i = 0; i < rounds; i += 1) {
    const operations = randomOperations(prng, 0);
    const writes = placedWrites(operations, []);
    const expected = writes.some((a, at) => writes.slice(at + 1).some((b) => conflict(a, b)));
    assert.equal(refuses(() => checkWriteConflicts(txnOf(operations))), expected, `round ${i}`);
    if (expected) refused += 1;
  }
  assert.ok(refused > rounds / 10 && refused < rounds * 0.9, `${refused} of ${rounds} refused`);
});

test("checkWriteConflicts() takes time in proportion to a hostile request, not to its square", () => {
  let made = 0;
  const writes = (count: number) =>
    Array.from({ length: count }, () => {
      made += 1;
      const bytes = [made & 255, (made >> 8) & 255, made >> 16];
      if (made % 2 === 0) return put(Uint8Array.from(bytes));
      return del(Uint8Array.from([...bytes, 1]), Uint8Array.from([...bytes, 2]));
    });
  const nests = (count: number, inner: () => RequestOpShape[]) =>
    Array.from({ length: count }, () => nest(inner(), inner()));
  // 64,000 writes, and then the same 100 levels down: about what fits into a request.
  const wide = nests(40, () => nests(20, () => writes(20)));
  let deep = wide;
  for (let depth = 0; depth < 100; depth += 1) deep = [nest(writes(1), deep), ...writes(1)];
  for (const operations of [wide, deep]) {
    const before = performance.now();
    assert.equal(refuses(() => checkWriteConflicts(txnOf(operations))), false);
    // It is a tenth of a second; a comparison of all pairs, or copying at every level, is a minute.
    assert.ok(performance.now() - before < 20_000);
  }
});

test("checkTxn() refuses nesting beyond the budget before it goes there", () => {
  let operations: RequestOpShape[] = [put(utf8("a"))];
  for (let depth = 0; depth < 5000; depth += 1) operations = [nest(operations, [])];
  assert.throws(
    () => checkTxn(txnOf(operations), 128),
    (error) => error instanceof EtcdError && error.code === "tooManyOperations",
  );
});

test("checkTxn() counts the longest list of each level against what the levels above have left", () => {
  const puts = (count: number, from: number) =>
    Array.from({ length: count }, (_, i) => put(Uint8Array.of(from + i)));
  const tooMany = (operations: RequestOpShape[], max: number) => {
    try {
      checkTxn(txnOf(operations), max);
      return false;
    } catch (error) {
      assert.ok(error instanceof EtcdError);
      assert.equal(error.code, "tooManyOperations");
      return true;
    }
  };
  assert.equal(tooMany(puts(4, 0), 4), false);
  assert.equal(tooMany(puts(5, 0), 4), true);
  assert.equal(tooMany([nest(puts(3, 0), [])], 4), false);
  assert.equal(tooMany([nest(puts(4, 0), [])], 4), true);
  assert.equal(tooMany([nest([], puts(3, 0)), nest(puts(2, 10), [])], 4), true);
  assert.equal(tooMany([nest([], puts(2, 0)), nest(puts(2, 10), [])], 4), false);
});
