import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { EMPTY_CONF_STATE } from "../../src/raft/conf_change.ts";
import { MemoryStorage } from "../../src/raft/storage.ts";
import { type Entry, EntryType } from "../../src/raft/types.ts";

const voters = { ...EMPTY_CONF_STATE, voters: [1n] };

function entries(from: number, to: number, term: number, data = EMPTY_BYTES): Entry[] {
  const list: Entry[] = [];
  for (let index = from; index <= to; index += 1) list.push({ term, index, type: EntryType.normal, data });
  return list;
}

test("MemoryStorage agrees with a plain array under any appends, compactions and snapshots", () => {
  const prng = new Prng(1);
  for (let round = 0; round < 100; round += 1) {
    const storage = new MemoryStorage();
    /** Terms by index; those up to `compacted` are only known for `compacted` itself. */
    let terms: number[] = [0];
    let compacted = 0;
    let term = 1;
    for (let step = 0; step < 60; step += 1) {
      const draw = prng.below(10);
      const last = terms.length - 1;
      if (draw < 7) {
        if (prng.chance(0.3)) term += 1;
        const from = compacted + 1 + prng.below(last - compacted + 1);
        const batch = entries(from, from + prng.below(70), term);
        storage.append(batch);
        terms = [...terms.slice(0, from), ...batch.map((entry) => entry.term)];
      } else if (draw < 9) {
        compacted += prng.below(last - compacted + 1);
        storage.compact(compacted);
      } else {
        const index = last + 1 + prng.below(5);
        term += 1;
        storage.applySnapshot({ index, term, confState: voters, data: EMPTY_BYTES });
        terms = new Array<number>(index).fill(0).concat(term);
        compacted = index;
      }
      assert.equal(storage.firstIndex, compacted + 1);
      assert.equal(storage.lastIndex, terms.length - 1);
      assert.equal(storage.term(compacted - 1), undefined);
      assert.equal(storage.term(terms.length), undefined);
      for (let index = compacted; index < terms.length; index += 1) {
        assert.equal(storage.term(index), terms[index], `term at ${index}`);
      }
      const all = storage.entries(storage.firstIndex, storage.lastIndex + 1, Infinity);
      assert.deepEqual(all.map((entry) => entry.term), terms.slice(compacted + 1));
    }
  }
});

test("MemoryStorage.entries cuts to the limit, but not to nothing", () => {
  const storage = new MemoryStorage();
  storage.append(entries(1, 5, 1, utf8("12345678")));
  const count = (bytesMax: number) => storage.entries(1, 6, bytesMax).length;
  assert.deepEqual([0, 39, 40, 79, 80, 81, 200, 1000].map(count), [1, 1, 1, 1, 2, 2, 5, 5]);
  assert.throws(() => storage.entries(1, 7, 100), /are stored/);
});

test("MemoryStorage.append passes over compacted entries and refuses a gap", () => {
  const storage = new MemoryStorage();
  storage.append(entries(1, 10, 1));
  storage.compact(5);
  storage.append(entries(3, 4, 1));
  assert.equal(storage.lastIndex, 10);
  storage.append(entries(4, 7, 2));
  assert.deepEqual([storage.firstIndex, storage.lastIndex, storage.term(6)], [6, 7, 2]);
  assert.throws(() => storage.append(entries(9, 9, 2)), /stored after 7/);
  assert.throws(() => storage.compact(8), /ends at 7/);
});

test("MemoryStorage.createSnapshot keeps the newest", () => {
  const storage = new MemoryStorage();
  storage.append(entries(1, 10, 3));
  assert.equal(storage.snapshot(), undefined);
  assert.deepEqual(storage.createSnapshot(7, voters, utf8("s")), {
    index: 7,
    term: 3,
    confState: voters,
    data: utf8("s"),
  });
  assert.equal(storage.createSnapshot(6, voters, EMPTY_BYTES), undefined);
  assert.equal(storage.snapshot()?.index, 7);
  assert.throws(() => storage.createSnapshot(11, voters, EMPTY_BYTES), /snapshot at 11/);
  storage.compact(7);
  storage.applySnapshot({ index: 5, term: 3, confState: voters, data: EMPTY_BYTES });
  assert.deepEqual([storage.firstIndex, storage.lastIndex], [8, 10]);
});

test("dropping from the front costs the same however long the log is", () => {
  // Not a measurement of time but of work: each entry may be moved a few times, not once per batch.
  const storage = new MemoryStorage();
  const moves = countedSlices(() => {
    for (let index = 1; index <= 200_000; index += 100) {
      storage.append(entries(index, index + 99, 1));
      if (index > 5000) storage.compact(index - 5000);
    }
  });
  assert.equal(storage.lastIndex, 200_000);
  assert.ok(moves < 400_000, `${moves} entries moved for 200,000`);
});

function countedSlices(run: () => void): number {
  const slice = Array.prototype.slice;
  let moved = 0;
  Array.prototype.slice = function (this: unknown[], ...args: [number?, number?]) {
    const result = slice.apply(this, args);
    moved += result.length;
    return result;
  };
  try {
    run();
  } finally {
    Array.prototype.slice = slice;
  }
  return moved;
}
