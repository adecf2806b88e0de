import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteSlab } from "../../src/backend/byte_slab.ts";
import { bytesFromText, textFromBytes } from "../../src/backend/byte_text.ts";
import { ChunkPool, RevisionRun } from "../../src/backend/revision_run.ts";
import { RevisionSet } from "../../src/backend/revision_set.ts";
import { Dice } from "./entry_script.ts";

function bytes(length: number, fill: number): Uint8Array {
  return new Uint8Array(length).fill(fill);
}

function mains(run: RevisionRun, main: number, sub: number, recordsMax = Infinity): string[] {
  const seen: string[] = [];
  run.scan(main, sub, recordsMax, (atMain, atSub, tombstone, keyValue) => {
    seen.push(`${atMain}.${atSub}${tombstone ? "t" : ""}:${keyValue.length}`);
    return true;
  });
  return seen;
}

for (const pooled of [false, true]) {
  test(`RevisionRun equals a plain list under appends and removals, ${pooled ? "with" : "without"} a pool`, () => {
    const pool = pooled ? new ChunkPool() : undefined;
    for (let round = 0; round < 3; round += 1) {
      const run = new RevisionRun(pool);
      const model: { main: number; sub: number; tombstone: boolean; fill: number; length: number }[] = [];
      const dice = new Dice(round + 1);
      let main = 1;
      for (let step = 0; step < 4000; step += 1) {
        if (model.length === 0 || dice.below(3) > 0) {
          main += dice.below(3);
          const last = model.findLast(() => true);
          const sub = last !== undefined && last.main === main ? last.sub + 1 : 0;
          if (last === undefined || main >= last.main) {
            const length = dice.below(50) === 0 ? dice.below(100_000) : dice.below(200);
            const record = { main, sub, tombstone: dice.below(4) === 0, fill: dice.below(256), length };
            // The newest record is never removed, so the model's last one is the run's.
            run.append(record.main, record.sub, record.tombstone, bytes(length, record.fill));
            model.push(record);
          }
        } else {
          const at = dice.below(Math.max(model.length - 1, 1));
          if (at < model.length - 1) {
            const record = model[at]!;
            assert.equal(run.remove(record.main, record.sub, !record.tombstone), false);
            assert.equal(run.remove(record.main, record.sub, record.tombstone), true);
            assert.equal(run.remove(record.main, record.sub, record.tombstone), false);
            model.splice(at, 1);
          }
        }
        if (step % 97 === 0) {
          const at = dice.below(model.length);
          const record = model[at]!;
          const found = run.get(record.main, record.sub);
          assert.deepEqual(found, record.tombstone ? undefined : bytes(record.length, record.fill));
          assert.deepEqual(
            mains(run, record.main, record.sub, 5),
            model.slice(at, at + 5).map((r) => `${r.main}.${r.sub}${r.tombstone ? "t" : ""}:${r.length}`),
          );
        }
      }
      assert.equal(run.count, model.length);
      assert.equal(run.bytes, model.reduce((sum, record) => sum + record.length, 0));
      run.release();
      assert.equal(run.count, 0);
      assert.deepEqual(mains(run, 0, 0), []);
    }
  });
}

test("RevisionRun refuses a revision that is not past the newest one, even a removed one", () => {
  const run = new RevisionRun();
  run.append(5, 1, false, bytes(1, 1));
  for (const [main, sub] of [[5, 1], [5, 0], [4, 9]] as const) {
    assert.throws(() => run.append(main, sub, false, bytes(1, 1)), /is not past the newest one/);
  }
  run.remove(5, 1, false);
  assert.throws(() => run.append(5, 1, false, bytes(1, 1)), /is not past the newest one/);
  run.append(5, 2, false, bytes(1, 1));
});

test("RevisionRun.startsAtOrBefore() tells which side of its first revision another one is on", () => {
  const run = new RevisionRun();
  assert.equal(run.startsAtOrBefore(9, 9), false);
  run.append(5, 1, false, bytes(1, 1));
  assert.deepEqual([[5, 0], [5, 1], [5, 2], [4, 9], [6, 0]].map(([m, s]) => run.startsAtOrBefore(m!, s!)), [
    false,
    true,
    true,
    false,
    true,
  ]);
});

test("RevisionSet holds what was added", () => {
  const set = new RevisionSet();
  assert.equal(set.isEmpty, true);
  set.add(7, 0);
  set.add(7, 300);
  assert.deepEqual([[7, 0], [7, 300], [7, 1], [8, 0]].map(([m, s]) => set.has(m!, s!)), [
    true,
    true,
    false,
    false,
  ]);
  assert.equal(set.isEmpty, false);
  set.clear();
  assert.deepEqual([set.isEmpty, set.has(7, 0), set.has(7, 300)], [true, false, false]);
});

test("ByteSlab copies, and no copy shares bytes with another", () => {
  const slab = new ByteSlab();
  const copies = [];
  for (let i = 0; i < 500; i += 1) copies.push(slab.copy(bytes((i * 37) % 9000, i % 256)));
  for (const copy of copies.filter((_, i) => i % 2 === 0)) copy.fill(255);
  for (const [i, copy] of copies.entries()) {
    if (i % 2 === 1) assert.deepEqual(new Uint8Array(copy), bytes((i * 37) % 9000, i % 256));
  }
});

test("textFromBytes() and bytesFromText() are inverse and keep byte order", () => {
  const all = new Uint8Array(10_000).map((_, at) => at % 256);
  assert.deepEqual(bytesFromText(textFromBytes(all)), all);
  assert.equal(textFromBytes(new Uint8Array(0)), "");
  const sorted = [[0xff], [0x61, 0], [0x61], [0x80], [0]].map((b) => textFromBytes(Uint8Array.from(b)))
    .sort();
  assert.deepEqual(sorted.map((text) => [...bytesFromText(text)]), [[0], [0x61], [0x61, 0], [0x80], [0xff]]);
});
