import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyArena } from "../../src/mvcc/key_arena.ts";

const MIB = 1 << 20;

function keyOf(length: number, fill: number): Uint8Array {
  return new Uint8Array(length).fill(fill);
}

function add(arena: KeyArena, key: Uint8Array): number {
  return arena.add(key, 0, key.length);
}

function read(arena: KeyArena, ref: number): Uint8Array {
  const start = arena.startOf(ref);
  return arena.bytesOf(ref).slice(start, start + arena.lengthOf(ref));
}

test("KeyArena add stores keys of every length when they lie side by side", () => {
  const arena = new KeyArena();
  const lengths = [0, 1, 2, 3, 4, 35, 253, 254, 255, 256, 4000, 65_535, 65_536, 65_537, 2 * MIB];
  const stored = [...lengths, ...lengths].map((length, i) => {
    const key = keyOf(length, i + 1);
    return { key, ref: add(arena, key) };
  });
  for (const { key, ref } of stored) assert.deepEqual(read(arena, ref), key);
  assert.deepEqual(read(arena, arena.add(keyOf(9, 7), 2, 5)), keyOf(3, 7));
});

test("KeyArena gives memory back when all keys of a chunk are freed", () => {
  const arena = new KeyArena();
  const refs: number[] = [];
  while (arena.memoryBytes <= 3 * MIB) refs.push(add(arena, keyOf(1000, 1)));
  assert.equal(arena.memoryBytes, 4 * MIB);
  for (const ref of refs) arena.free(ref);
  assert.equal(arena.memoryBytes, MIB);
  const large = add(arena, keyOf(2 * MIB, 1));
  assert.equal(arena.memoryBytes, 3 * MIB);
  arena.free(large);
  assert.equal(arena.memoryBytes, MIB);
  assert.deepEqual(read(arena, add(arena, keyOf(2 * MIB, 9))), keyOf(2 * MIB, 9));
});

test("KeyArena nextInSparseChunk leads through what has to move when few keys of a chunk are left", () => {
  const arena = new KeyArena();
  const live = new Map<number, number>();
  for (let i = 0; arena.memoryBytes <= 8 * MIB; i += 1) live.set(add(arena, keyOf(1000, i)), i & 0xff);
  assert.equal(arena.nextInSparseChunk(), -1);
  let freed = 0;
  for (const ref of [...live.keys()]) {
    freed += 1;
    if (freed % 10 === 0) continue;
    arena.free(ref);
    live.delete(ref);
  }
  for (let ref = arena.nextInSparseChunk(); ref >= 0; ref = arena.nextInSparseChunk()) {
    const fill = live.get(ref);
    if (fill === undefined) continue;
    live.delete(ref);
    live.set(arena.move(ref), fill);
  }
  assert.ok(arena.memoryBytes <= 2 * MIB, `${arena.memoryBytes}`);
  for (const [ref, fill] of live) assert.deepEqual(read(arena, ref), keyOf(1000, fill));
});

test("KeyArena nextInSparseChunk starts anew when its chunk was dropped and filled again", () => {
  const arena = new KeyArena();
  const refs: number[] = [];
  while (arena.memoryBytes <= 2 * MIB) refs.push(add(arena, keyOf(1000, 1)));
  const first = refs.filter((ref) => ref >>> 18 === 0);
  for (const ref of first.slice(0, -1)) arena.free(ref);
  for (let i = 0; i < 3; i += 1) assert.equal(arena.nextInSparseChunk(), first[i]);
  arena.free(first.at(-1)!);
  // Chunk 0 comes into use again, with keys at other places.
  const again = new Set<number>();
  while (arena.memoryBytes <= 3 * MIB) again.add(add(arena, keyOf(77, 2)));
  const kept = [...again].filter((ref) => ref >>> 18 === 0);
  assert.ok(kept.length > 1000);
  for (const ref of kept.slice(0, -10)) arena.free(ref);
  assert.equal(arena.nextInSparseChunk(), kept[0]);
  assert.equal(arena.nextInSparseChunk(), kept[1]);
});
