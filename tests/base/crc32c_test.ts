import assert from "node:assert/strict";
import { test } from "node:test";
import { crc32c } from "../../src/base/crc32c.ts";
import { Prng } from "../../src/base/prng.ts";

function checksum(bytes: Uint8Array): number {
  return crc32c(bytes, 0, bytes.length, 0);
}

test("crc32c gives the values of RFC 3720 B.4", () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, i) => i);
  assert.equal(checksum(new Uint8Array(32)), 0x8a9136aa);
  assert.equal(checksum(new Uint8Array(32).fill(0xff)), 0x62a8ab43);
  assert.equal(checksum(ascending), 0x46dd794e);
  assert.equal(checksum(ascending.toReversed()), 0x113fdb5c);
  assert.equal(checksum(new TextEncoder().encode("123456789")), 0xe3069283);
  assert.equal(checksum(new Uint8Array(0)), 0);
});

test("crc32c agrees with division bit by bit and chains over pieces", () => {
  const prng = new Prng(1);
  for (let round = 0; round < 300; round += 1) {
    const bytes = Uint8Array.from({ length: prng.below(120) }, () => prng.below(256));
    const expected = bitByBit(bytes);
    const start = prng.below(bytes.length + 1);
    const end = start + prng.below(bytes.length - start + 1);
    const first = crc32c(bytes, 0, start, 0);
    const second = crc32c(bytes, start, end, first);
    assert.equal(crc32c(bytes, end, bytes.length, second), expected, `round ${round}`);
  }
});

function bitByBit(bytes: Uint8Array): number {
  let remainder = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit += 1) {
      const odd = ((remainder ^ (byte >>> bit)) & 1) === 1;
      remainder = (remainder >>> 1) ^ (odd ? 0x82f63b78 : 0);
    }
  }
  return ~remainder >>> 0;
}
