import assert from "node:assert/strict";
import { test } from "node:test";
import { binaryString } from "../../src/base/binary_string.ts";
import { compareBytes } from "../../src/base/bytes.ts";
import { IntervalTree } from "../../src/base/interval_tree.ts";
import { Prng } from "../../src/base/prng.ts";

interface Interval {
  readonly begin: string;
  readonly end: string | undefined;
  readonly value: number;
}

function nameOf({ begin, end }: Pick<Interval, "begin" | "end">): string {
  return `${begin}..${end ?? ""}`;
}

function stabbed(tree: IntervalTree<number>, point: string): number[] {
  const found: number[] = [];
  tree.stab(point, found);
  return found;
}

test("IntervalTree finds what a list of intervals finds", () => {
  const prng = new Prng(1);
  const point = (): string => String.fromCharCode(97 + prng.below(20)) + (prng.below(3) === 0 ? "x" : "");
  for (let round = 0; round < 20; round += 1) {
    const tree = new IntervalTree<number>();
    const list = new Map<string, Interval>();
    for (let i = 0; i < 400; i += 1) {
      const begin = point();
      const end = prng.below(8) === 0 ? undefined : begin + point();
      const name = nameOf({ begin, end });
      if (prng.below(3) === 0) {
        assert.equal(tree.delete(begin, end), list.delete(name));
      } else {
        tree.set(begin, end, i);
        list.set(name, { begin, end, value: i });
      }
      assert.equal(tree.size, list.size);
      assert.equal(tree.get(begin, end), list.get(name)?.value);
      const at = point();
      const expected = [...list.values()].filter((each) =>
        each.begin <= at && (each.end === undefined || at < each.end)
      );
      assert.deepEqual(stabbed(tree, at).sort(), expected.map(({ value }) => value).sort());
    }
    const values = [...list.values()].map(({ value }) => value).sort();
    assert.deepEqual([...tree.values()].sort(), values);
    assert.equal(tree.first(), [...tree.values()][0]);
    for (const { begin, end } of list.values()) assert.ok(tree.delete(begin, end));
    assert.equal(tree.first(), undefined);
    assert.equal(tree.size, 0);
  }
});

test("IntervalTree stays shallow when intervals come in order", () => {
  const tree = new IntervalTree<number>();
  const count = 100_000;
  for (let i = 0; i < count; i += 1) {
    const begin = String(i).padStart(6, "0");
    tree.set(begin, `${begin}~`, i);
  }
  // A tree that is a list would exhaust the stack here, long before it is done.
  for (let i = 0; i < count; i += 997) {
    assert.deepEqual(stabbed(tree, `${String(i).padStart(6, "0")}5`), [i]);
  }
  for (let i = 0; i < count; i += 1) {
    const begin = String(i).padStart(6, "0");
    assert.ok(tree.delete(begin, `${begin}~`));
  }
});

test("binaryString orders and tells apart byte strings as their bytes do", () => {
  const prng = new Prng(2);
  const samples = [0, 1, 2, 3, 4096, 4097, 9000].flatMap((length) =>
    [0, 1, 2].map(() => Uint8Array.from({ length }, () => prng.below(256)))
  );
  samples.push(Uint8Array.of(0xc3), Uint8Array.of(0xc3, 0xa4), Uint8Array.of(0x7f), Uint8Array.of(0x80));
  for (const a of samples) {
    const text = binaryString(a);
    assert.deepEqual(Uint8Array.from(text, (character) => character.charCodeAt(0)), a);
    for (const b of samples) {
      const other = binaryString(b);
      assert.equal(Math.sign(compareBytes(a, b)), text < other ? -1 : text > other ? 1 : 0);
    }
  }
});
