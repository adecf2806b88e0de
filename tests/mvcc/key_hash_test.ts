import assert from "node:assert/strict";
import { test } from "node:test";
import { hashKey } from "../../src/mvcc/key_hash.ts";

// HalfSipHash-1-3 of 00 01 02 ... (of length 0, 1, 2, ...) under the key 00 01 ... 07, as the Linux kernel's
// own test has them.
const vectors = [
  0x5814c896,
  0xe7e864ca,
  0xbc4b0e30,
  0x01539939,
  0x7e059ea6,
  0x88e3d89b,
  0xa0080b65,
  0x9d38d9d6,
  0x577999b1,
  0xc839caed,
  0xe4fa32cf,
  0x959246ee,
  0x6b28096c,
  0x66dd9cd6,
  0x16658a7c,
  0xd0257b04,
  0x8b31d501,
];

test("hashKey agrees with the published vectors", () => {
  const bytes = Uint8Array.from({ length: vectors.length }, (_, i) => i);
  for (let length = 0; length < vectors.length; length += 1) {
    assert.equal(
      hashKey(bytes, 0, length, 0x03020100, 0x07060504) >>> 0,
      vectors[length],
      `length ${length}`,
    );
  }
});

test("hashKey does not depend on where the key lies when it is part of a larger array", () => {
  const bytes = Uint8Array.from({ length: 40 }, (_, i) => i * 7);
  for (let start = 0; start < 8; start += 1) {
    for (let end = start; end < bytes.length; end += 1) {
      assert.equal(hashKey(bytes, start, end, 5, 6), hashKey(bytes.slice(start, end), 0, end - start, 5, 6));
    }
  }
});
