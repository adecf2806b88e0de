import assert from "node:assert/strict";
import { test } from "node:test";
import { compareBytes, utf8 } from "../../src/base/bytes.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import type { KeyIndex, StoredKeyValue } from "../../src/mvcc/key_index_api.ts";
import { ModelKeyIndex } from "../harness/model_key_index.ts";

const SEED = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);

/** mulberry32: whole numbers in [0, below). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

type Random = (below: number) => number;

function storedKeyValue(
  key: Uint8Array,
  createMain: number,
  version: number,
  length: number,
): StoredKeyValue {
  // As in a page of records, there is something before the key and behind it.
  const bytes = Uint8Array.of(1, 2, 3, ...key, 4, 5);
  return { bytes, keyStart: 3, keyEnd: 3 + key.length, createMain, version, length };
}

/** Makes the keys of a run: how they look decides how the tree's nodes share prefixes. */
const keyShapes: Record<string, (random: Random) => Uint8Array> = {
  "short binary": (random) =>
    Uint8Array.from({ length: 1 + random(3) }, () => [0, 1, 0x7f, 0x80, 0xff][random(5)]!),
  "long common prefix": (random) => utf8(`/registry/pods/default/${"x".repeat(random(3))}pod-${random(400)}`),
  "prefixes of each other": (random) => new Uint8Array(1 + random(300)).fill([0, 0xff, 0x61][random(3)]!),
  "spread": (random) => Uint8Array.from({ length: 1 + random(12) }, () => random(256)),
};

/** A run of writes on both indexes at once; `main` goes up with each. */
class Pair {
  readonly arena = new ArenaKeyIndex(SEED);
  readonly model = new ModelKeyIndex();
  main: number;
  compacted: number;

  constructor(main = 1) {
    this.main = main;
    this.compacted = main;
  }

  put(key: Uint8Array, sub = 0): void {
    const slots = [this.arena.put(key, this.main, sub), this.model.put(key, this.main, sub)] as const;
    if (this.main % 7 > 0) {
      // Any number will do, past 2^31 too.
      const bytes = this.main * 1_000_003 % 2 ** 32;
      this.arena.setBytes(slots[0], bytes);
      this.model.setBytes(slots[1], bytes);
    }
    assert.deepEqual(newestFacts(this.arena, slots[0]), newestFacts(this.model, slots[1]));
  }

  tombstone(key: Uint8Array, sub = 0): void {
    assert.equal(this.arena.tombstone(key, this.main, sub), this.model.tombstone(key, this.main, sub));
  }

  /** Returns how many keys were deleted. */
  tombstoneRange(start: Uint8Array, end: Uint8Array | undefined, sub = 0): number {
    const facts = [this.arena, this.model].map((index) => {
      const visited: unknown[] = [];
      const count = index.tombstoneRange(
        start,
        end,
        this.main,
        sub,
        (slot) => void visited.push(newestFacts(index, slot)),
      );
      assert.equal(visited.length, count);
      return visited;
    });
    assert.deepEqual(facts[0], facts[1]);
    return facts[0]!.length;
  }

  compactAll(atMain: number, keysMax: number, between: () => void): void {
    this.compacted = atMain;
    const kept: string[][] = [];
    for (const index of [this.arena, this.model]) {
      const revisions: string[] = [];
      for (
        let slices = 0;
        !index.compactSlice(atMain, keysMax, (main, sub) => revisions.push(`${main}.${sub}`));
      ) {
        slices += 1;
        assert.ok(slices < 100_000, "compaction does not end");
        if (index === this.arena) between();
      }
      kept.push(revisions.sort());
      // Another pass at the same revision finds the same.
      const again: string[] = [];
      while (!index.compactSlice(atMain, 1000, (main, sub) => again.push(`${main}.${sub}`)));
      assert.deepEqual(again.sort(), revisions);
    }
    assert.deepEqual(kept[0], kept[1]);
  }

  compare(random: Random, keys: readonly Uint8Array[]): void {
    const { arena, model } = this;
    assert.equal(arena.keyCount, model.keyCount);
    assert.equal(arena.liveCount, model.liveCount);
    const atMain = this.compacted + random(this.main - this.compacted + 2);
    assert.deepEqual(kept(arena, atMain), kept(model, atMain));
    for (let i = 0; i < 20; i += 1) {
      const key = keys[random(keys.length)]!;
      assert.equal(arena.find(key) >= 0, model.find(key) >= 0);
      const at = this.compacted + random(this.main - this.compacted + 2);
      assert.deepEqual(seekFacts(arena, key, at), seekFacts(model, key, at));
    }
    for (let i = 0; i < 3; i += 1) {
      const start = i === 0 ? new Uint8Array(0) : keys[random(keys.length)]!;
      const end = random(3) === 0 ? undefined : keys[random(keys.length)]!;
      const limit = random(2) === 0 ? Infinity : 1 + random(10);
      for (const at of [this.main, atMain]) {
        assert.equal(arena.count(start, end, at), model.count(start, end, at), `count at ${at}`);
        assert.deepEqual(visitFacts(arena, start, end, at, limit), visitFacts(model, start, end, at, limit));
        const looksMax = 1 + random(100);
        assert.equal(countInSlices(arena, start, end, at, looksMax), model.count(start, end, at));
        assert.equal(visitInSlices(arena, start, end, at, looksMax), model.count(start, end, at));
      }
    }
  }
}

function newestFacts(index: KeyIndex, slot: number): unknown {
  return {
    key: index.keyBytes(slot),
    createMain: index.createMain(slot),
    version: index.version(slot),
    modMain: index.modMain(slot),
    modSub: index.modSub(slot),
    live: index.isLive(slot),
  };
}

function hit(index: KeyIndex): string {
  const { hitMain, hitSub, hitCreateMain, hitVersion, hitBytes } = index;
  return `${hitMain}.${hitSub} created ${hitCreateMain} version ${hitVersion}, ${hitBytes} bytes`;
}

function seekFacts(index: KeyIndex, key: Uint8Array, atMain: number): string {
  return index.seek(key, atMain) ? hit(index) : "not live";
}

function visitFacts(
  index: KeyIndex,
  start: Uint8Array,
  end: Uint8Array | undefined,
  atMain: number,
  limit: number,
): string[] {
  const facts: string[] = [];
  index.visit(start, end, atMain, (slot) => {
    facts.push(`${index.keyBytes(slot).toString()}: ${hit(index)}`);
    return facts.length < limit;
  });
  return facts;
}

function countInSlices(
  index: KeyIndex,
  start: Uint8Array,
  end: Uint8Array | undefined,
  atMain: number,
  looksMax: number,
): number {
  let count = index.count(start, end, atMain, looksMax);
  while (index.resumeSlot >= 0) count += index.count(index.keyBytes(index.resumeSlot), end, atMain, looksMax);
  return count;
}

function visitInSlices(
  index: KeyIndex,
  start: Uint8Array,
  end: Uint8Array | undefined,
  atMain: number,
  looksMax: number,
): number {
  let count = 0;
  for (let from = start;; from = index.keyBytes(index.resumeSlot)) {
    let visits = 0;
    index.visit(from, end, atMain, () => {
      visits += 1;
      return true;
    }, looksMax);
    assert.ok(visits <= looksMax);
    count += visits;
    if (index.resumeSlot < 0) return count;
  }
}

function kept(index: KeyIndex, atMain: number): string[] {
  const revisions: string[] = [];
  index.keepAt(atMain, (main, sub) => revisions.push(`${main}.${sub}`));
  return revisions.sort();
}

function runProperty(
  seed: number,
  shape: (random: Random) => Uint8Array,
  steps: number,
  firstMain: number,
): void {
  const random = randomFrom(seed);
  const keys = Array.from({ length: 20 + random(400) }, () => shape(random));
  // Some keys are written far more often than others, for long histories.
  const someKey = () => keys[random(4) === 0 ? random(Math.min(3, keys.length)) : random(keys.length)]!;
  const deletesOf20 = 1 + random(14);
  const pair = new Pair(firstMain);
  const write = () => {
    pair.main += 1;
    // Mostly small sub revisions, as a transaction has; some only a large range delete or none has.
    const firstSub = [0, 0, 0, 5_000_000, 0x7fff_fff0][random(5)]!;
    for (let sub = firstSub + random(3); sub >= firstSub; sub -= 1) {
      const lastSub = 2 * firstSub + 3 - sub;
      if (random(20) < deletesOf20) pair.tombstone(someKey(), lastSub);
      else pair.put(someKey(), lastSub);
    }
  };
  for (let step = 0; step < steps; step += 1) {
    write();
    if (random(40) === 0) {
      pair.main += 1;
      pair.tombstoneRange(someKey(), random(8) === 0 ? undefined : someKey(), random(100));
    }
    if (random(30) === 0) pair.compare(random, keys);
    if (random(150) === 0) {
      const atMain = pair.compacted + random(pair.main - pair.compacted + 1);
      if (atMain > pair.compacted) {
        pair.compactAll(atMain, 1 + random(50), random(2) === 0 ? write : () => {});
      }
      pair.compare(random, keys);
    }
  }
  for (const key of keys) {
    pair.main += 1;
    pair.tombstone(key);
  }
  pair.main += 1;
  pair.compactAll(pair.main, 1 + random(100), () => {});
  assert.equal(pair.arena.keyCount, 0);
  pair.compare(random, keys);
}

for (const [name, shape] of Object.entries(keyShapes)) {
  test(`ArenaKeyIndex agrees with the model when keys are ${name}`, () => {
    for (let seed = 1; seed <= 6; seed += 1) {
      try {
        runProperty(seed, shape, 1500, seed % 3 === 0 ? 2 ** 40 - 500 : seed % 3 === 1 ? 1 : 2 ** 52);
      } catch (error) {
        throw new Error(`SEED ${seed}: ${String(error)}`, { cause: error });
      }
    }
  });
}

test("ArenaKeyIndex agrees with the model when the tree has several levels", () => {
  for (const order of ["ascending", "descending", "random"]) {
    const random = randomFrom(7);
    const pair = new Pair();
    const keyOf = (i: number): string => `/registry/pods/${String(i * 37).padStart(9, "0")}`;
    const keys = Array.from({ length: 12_000 }, (_, i) => utf8(keyOf(i)));
    if (order === "descending") keys.reverse();
    if (order === "random") shuffle(keys, random);
    for (const key of keys) {
      pair.main += 1;
      pair.put(key);
    }
    pair.compare(random, keys);
    // Deletes most keys, in runs and scattered, then removes them from the tree by compaction.
    for (let i = 0; i < keys.length; i += 1) {
      pair.main += 1;
      if ((i > 2000 && i < 9000) || random(3) > 0) pair.tombstone(keys[i]!);
    }
    pair.compare(random, keys);
    const atMain = pair.main;
    for (let i = 0; i < 200; i += 1) {
      pair.main += 1;
      if (random(2) === 0) pair.put(keys[random(keys.length)]!);
      else pair.tombstone(keys[random(keys.length)]!);
    }
    pair.compactAll(atMain, 500, () => {});
    for (let i = 0; i < 20; i += 1) pair.compare(random, keys);
    for (let i = 0; i < 3000; i += 1) {
      pair.main += 1;
      pair.put(keys[random(keys.length)]!);
    }
    for (let i = 0; i < 10; i += 1) pair.compare(random, keys);
    let deleted = 0;
    for (let i = 0; i < 10; i += 1) {
      pair.main += 1;
      const at = 1000 * (i + 1);
      deleted += pair.tombstoneRange(utf8(keyOf(at)), utf8(keyOf(at + random(1500))));
      pair.compare(random, keys);
    }
    assert.ok(deleted > 1000);
    pair.main += 1;
    pair.tombstoneRange(new Uint8Array(0), undefined);
    assert.equal(pair.arena.liveCount, 0);
    pair.compare(random, keys);
  }
});

test("ArenaKeyIndex agrees with the model when a key has thousands of versions", () => {
  for (let deletesOf100 = 0; deletesOf100 <= 40; deletesOf100 += 20) {
    const random = randomFrom(deletesOf100);
    const pair = new Pair();
    const keys = [utf8("hot"), utf8("warm")];
    for (let round = 0; round < 12; round += 1) {
      for (let i = 0; i < 2000; i += 1) {
        pair.main += 1;
        const key = keys[random(10) === 0 ? 1 : 0]!;
        if (random(100) < deletesOf100) pair.tombstone(key);
        else pair.put(key);
      }
      for (let i = 0; i < 5; i += 1) pair.compare(random, keys);
      if (round % 3 !== 2) continue;
      pair.compactAll(pair.compacted + random(pair.main - pair.compacted), 10, () => {});
      for (let i = 0; i < 5; i += 1) pair.compare(random, keys);
    }
  }
});

test("ArenaKeyIndex agrees with the model when keys are very long", () => {
  const random = randomFrom(3);
  const pair = new Pair();
  const long = new Uint8Array(1 << 20).fill(0x61);
  const keys: Uint8Array[] = [];
  for (const length of [254, 255, 256, 65_535, 65_536, 65_537, 1 << 20]) {
    for (const last of [0x00, 0x61, 0xff]) {
      const key = long.slice(0, length);
      key[length - 1] = last;
      keys.push(key);
    }
  }
  shuffle(keys, random);
  for (let round = 0; round < 2; round += 1) {
    for (const key of keys) {
      pair.main += 1;
      pair.put(key);
    }
    for (const key of keys) {
      pair.main += 1;
      if (random(2) === 0) pair.tombstone(key);
    }
    for (const key of keys) {
      assert.equal(seekFacts(pair.arena, key, pair.main), seekFacts(pair.model, key, pair.main));
      assert.equal(pair.arena.count(key, undefined, pair.main), pair.model.count(key, undefined, pair.main));
      assert.equal(
        pair.arena.count(key, undefined, pair.main - 5),
        pair.model.count(key, undefined, pair.main - 5),
      );
    }
    pair.compactAll(pair.main, 3, () => {});
    assert.equal(pair.arena.keyCount, pair.model.keyCount);
  }
});

test("ArenaKeyIndex agrees with the model when it is restored from the records of a store", () => {
  const random = randomFrom(11);
  const keys = Array.from({ length: 300 }, (_, i) => utf8(`key-${i}`));
  for (let round = 0; round < 20; round += 1) {
    const arena = new ArenaKeyIndex(SEED);
    const model = new ModelKeyIndex();
    let main = 100;
    for (let i = 0; i < 1500; i += 1) {
      main += 1;
      const key = keys[random(keys.length)]!;
      if (random(4) === 0) {
        const tombstone = storedKeyValue(key, 0, 0, 0);
        arena.restoreTombstone(tombstone, main, 0);
        model.restoreTombstone(tombstone, main, 0);
        continue;
      }
      // Mostly what the store wrote; at times a record before it is missing, as after a half-done compaction.
      const slot = model.find(key);
      const live = slot >= 0 && model.isLive(slot);
      const intact = live && random(10) > 0;
      const createMain = intact ? model.createMain(slot) : live ? main - 50 : main;
      const version = intact ? model.version(slot) + 1 : live ? 1 + random(1000) : 1;
      const put = storedKeyValue(key, createMain, version, main * 3);
      arena.restore(put, main, 0);
      model.restore(put, main, 0);
    }
    while (!arena.restoredSlice(100));
    for (const key of keys) {
      for (let i = 0; i < 10; i += 1) {
        const at = 100 + random(main - 99);
        assert.equal(seekFacts(arena, key, at), seekFacts(model, key, at));
      }
    }
    assert.equal(arena.liveCount, model.liveCount);
    assert.equal(arena.count(keys[5]!, keys[3]!, main - 700), model.count(keys[5]!, keys[3]!, main - 700));
  }
});

for (const [shape, makeKey] of Object.entries(keyShapes)) {
  test(`ArenaKeyIndex goes on from a restored store as if it had never stopped: ${shape}`, () => {
    const random = randomFrom(12);
    for (const count of [0, 1, 2, 9, 127, 128, 129, 700, 20_000]) {
      const pair = new Pair();
      const keys = Array.from({ length: count }, () => makeKey(random));
      for (const key of keys) {
        pair.main += 1;
        const slot = pair.model.find(key);
        const live = slot >= 0 && pair.model.isLive(slot);
        if (live && random(3) === 0) {
          const tombstone = storedKeyValue(key, 0, 0, 0);
          for (const index of [pair.arena, pair.model]) index.restoreTombstone(tombstone, pair.main, 0);
          continue;
        }
        const createMain = live ? pair.model.createMain(slot) : pair.main;
        const version = live ? pair.model.version(slot) + 1 : 1;
        const put = storedKeyValue(key, createMain, version, 1 + random(1000));
        for (const index of [pair.arena, pair.model]) index.restore(put, pair.main, 0);
      }
      while (!pair.arena.restoredSlice(1 + random(1000)));
      if (count === 0) keys.push(makeKey(random));
      pair.compare(random, keys);
      for (let i = 0; i < 300; i += 1) {
        pair.main += 1;
        const key = random(2) === 0 ? makeKey(random) : keys[random(keys.length)]!;
        if (random(2) === 0) pair.put(key);
        else pair.tombstone(key);
      }
      pair.compare(random, keys);
      pair.compactAll(pair.main, 100, () => {});
      pair.compare(random, keys);
    }
  });
}

test("ArenaKeyIndex takes space for the keys that are left when many come and go", () => {
  const index = new ArenaKeyIndex(SEED);
  const random = randomFrom(5);
  let main = 1;
  const left: Uint8Array[] = [];
  for (let round = 0; round < 50; round += 1) {
    const keys = Array.from(
      { length: 4000 },
      (_, i) => utf8(`/round/${random(2 ** 31)}/${"y".repeat((round % 7) * 20)}/${i}`),
    );
    for (const key of keys) index.put(key, ++main, 0);
    for (const key of keys) index.put(key, ++main, 0);
    // One key of twenty stays for good, so that every chunk of key bytes keeps some.
    for (let i = 0; i < keys.length; i += 1) {
      if (i % 20 === 0) left.push(keys[i]!);
      else assert.ok(index.tombstone(keys[i]!, ++main, 0));
    }
    main += 1;
    while (!index.compactSlice(main, 1000, () => {}));
    assert.equal(index.keyCount, left.length);
    for (let i = 0; i < 20; i += 1) assert.equal(index.seek(left[random(left.length)]!, main), true);
  }
  const fresh = new ArenaKeyIndex(SEED);
  for (const key of left) fresh.put(key, ++main, 0);
  for (let i = 0; i < 4000; i += 1) fresh.put(utf8(`/one more round/${i}`), ++main, 0);
  const limit = fresh.memoryBytes * 2;
  assert.ok(index.memoryBytes < limit, `${index.memoryBytes} bytes, of which a new index needs ${limit / 2}`);
  assert.deepEqual(
    visitFacts(index, new Uint8Array(0), undefined, main, Infinity).map((fact) => fact.split(":")[0]),
    left.toSorted(compareBytes).map(String),
  );
});

test("ArenaKeyIndex keeps its size when all keys go and others come", () => {
  const index = new ArenaKeyIndex(SEED);
  let main = 1;
  let afterTwo = 0;
  for (let round = 0; round < 20; round += 1) {
    for (let i = 0; i < 10_000; i += 1) index.put(utf8(`/round/${(i * 7919) % 10_000}/${round}`), ++main, 0);
    for (let i = 0; i < 10_000; i += 1) index.tombstone(utf8(`/round/${i}/${round}`), ++main, 0);
    main += 1;
    while (!index.compactSlice(main, 1000, () => {}));
    assert.equal(index.keyCount, 0);
    if (round === 1) afterTwo = index.memoryBytes;
  }
  assert.ok(index.memoryBytes <= afterTwo, `${index.memoryBytes} bytes, after two rounds ${afterTwo}`);
});

test("ArenaKeyIndex seeks a revision of long ago about as fast as one of late", () => {
  const index = new ArenaKeyIndex(SEED);
  const key = utf8("hot");
  const versions = 400_000;
  for (let main = 2; main < versions; main += 1) index.put(key, main, 0);
  const random = randomFrom(9);
  // Without signposts the second takes a hundred times as long as the first.
  const late = fastest(() => index.seek(key, versions - 1 - random(versions / 100)));
  const any = fastest(() => index.seek(key, 2 + random(versions - 3)));
  assert.ok(any < late * 20, `${any} ms against ${late} ms`);
});

test("ArenaKeyIndex refuses changes when a visit is under way", () => {
  const index = new ArenaKeyIndex(SEED);
  const key = utf8("a");
  index.put(key, 2, 0);
  const all = new Uint8Array(0);
  const changes: ((index: KeyIndex) => void)[] = [
    (index) => index.put(key, 3, 0),
    (index) => index.put(utf8("b"), 3, 0),
    (index) => index.tombstone(key, 3, 0),
    (index) => index.tombstoneRange(all, undefined, 3, 0, () => {}),
    (index) => index.compactSlice(3, 10, () => {}),
  ];
  for (const change of changes) {
    assert.throws(() =>
      index.visit(all, undefined, 2, () => {
        change(index);
        return true;
      }), /during a visit/);
  }
  assert.equal(index.put(key, 3, 0), index.find(key));
  assert.throws(() => index.put(key, 3, 0), /follows/);
});

test("ArenaKeyIndex visit may read the index when it visits", () => {
  const index = new ArenaKeyIndex(SEED);
  for (let i = 0; i < 1000; i += 1) index.put(utf8(`key-${i}`), i + 2, 0);
  const keys: string[] = [];
  index.visit(utf8("key-1"), utf8("key-2"), 2000, (slot) => {
    const modMain = index.hitMain;
    const key = index.keyBytes(slot);
    assert.equal(index.count(utf8("key-9"), undefined, 2000), 111);
    assert.ok(index.seek(key, 2000));
    assert.equal(index.hitMain, modMain);
    keys.push(new TextDecoder().decode(key));
    return true;
  });
  assert.equal(keys.length, 111);
  assert.deepEqual(keys, keys.toSorted());
});

/** The shortest of five times that a hundred calls took, in milliseconds. */
function fastest(call: () => void): number {
  let shortest = Infinity;
  for (let round = 0; round < 5; round += 1) {
    const begin = performance.now();
    for (let i = 0; i < 100; i += 1) call();
    shortest = Math.min(shortest, performance.now() - begin);
  }
  return shortest;
}

function shuffle<T>(values: T[], random: Random): void {
  for (let i = values.length - 1; i > 0; i -= 1) {
    const j = random(i + 1);
    [values[i], values[j]] = [values[j]!, values[i]!];
  }
}
