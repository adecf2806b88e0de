import { test } from "node:test";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import {
  beginMessage,
  cursor,
  endMessage,
  readBool,
  readBytes,
  readEnum,
  readInt64,
  readLongTag,
  readText,
  readUint64,
  readUnknown,
  type UnknownField,
  WireError,
  writeInteger,
  writeIntegerUnlessZero,
  writeText,
} from "../../src/base/wire.ts";

function written(write: (out: ByteWriter) => void): number[] {
  const out = new ByteWriter(1);
  write(out);
  return [...out.toBytes()];
}

function refusal(text: string): { name: string; message: string } {
  return { name: "WireError", message: text };
}

const integers: readonly [value: bigint, bytes: number[]][] = [
  [0n, [0]],
  [127n, [127]],
  [128n, [0x80, 1]],
  [0xffff_ffffn, [0xff, 0xff, 0xff, 0xff, 0x0f]],
  [0x1_0000_0000n, [0x80, 0x80, 0x80, 0x80, 0x10]],
  [2n ** 53n - 1n, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f]],
  [2n ** 53n + 1n, [0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]],
  [2n ** 63n - 1n, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]],
  [-1n, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]],
  [-(2n ** 63n), [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1]],
];

test("readInt64() and readUint64() read what writeInteger() writes", () => {
  for (const [value, bytes] of integers) {
    assert.deepEqual(written((out) => writeInteger(out, 8, value)), [8, ...bytes]);
    const input = Uint8Array.from(bytes);
    assert.equal(readInt64(input, 0, input.length), value);
    assert.equal(cursor.at, input.length);
    assert.equal(readUint64(input, 0, input.length), BigInt.asUintN(64, value));
    assert.equal(readBool(input, 0, input.length), value !== 0n);
    assert.equal(readEnum(input, 0, input.length), Number(BigInt.asIntN(32, value)));
  }
});

test("writeInteger() writes a number as it writes the same bigint", () => {
  for (const value of [0, 1, 127, 128, 2 ** 32, 2 ** 53 - 1, -1, -(2 ** 53 - 1)]) {
    const asBigint = written((out) => writeInteger(out, 8, BigInt(value)));
    assert.deepEqual(written((out) => writeInteger(out, 8, value)), asBigint);
  }
});

test("writeIntegerUnlessZero() writes nothing for zero in either form and for what is absent", () => {
  for (const value of [0, 0n, undefined]) {
    assert.deepEqual(written((out) => writeIntegerUnlessZero(out, 8, value)), []);
  }
});

test("readInt64() refuses a varint that ends early or has more than 64 bits", () => {
  const endless = new Uint8Array(11).fill(0x80);
  assert.throws(() => readInt64(endless, 0, 11), refusal("Varint does not fit 64 bits"));
  assert.throws(() => readInt64(endless, 0, 10), refusal("Varint does not fit 64 bits"));
  assert.throws(() => readInt64(endless, 0, 9), refusal("Message ends within a field"));
  const tooLarge = Uint8Array.of(0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2);
  assert.throws(() => readInt64(tooLarge, 0, 10), refusal("Varint does not fit 64 bits"));
});

test("readers stop at the end that they are given, not at that of the buffer", () => {
  const bytes = Uint8Array.of(2, 65, 66, 67);
  assert.deepEqual([...readBytes(bytes, 0, 3)], [65, 66]);
  for (const read of [readBytes, readText]) {
    assert.throws(() => read(bytes, 0, 2), refusal("Message ends within a field"));
  }
  for (const read of [readBytes, readText, readBool, readEnum, readInt64, readUint64]) {
    assert.throws(() => read(bytes, 4, 4), WireError);
    assert.throws(() => read(bytes, 1, 1), WireError);
  }
});

test("readLongTag() refuses a tag that does not fit 32 bits", () => {
  assert.equal(readLongTag(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x0f), 0, 5), 0xffff_ffff);
  for (const bytes of [[0xff, 0xff, 0xff, 0xff, 0x1f], [0x80, 0x80, 0x80, 0x80, 0x80, 0]]) {
    const input = Uint8Array.from(bytes);
    assert.throws(() => readLongTag(input, 0, input.length), refusal("Tag does not fit 32 bits"));
  }
});

test("readText() reads what writeText() writes, and refuses what is not UTF-8", () => {
  for (const text of ["", "a", "exactly twenty-four bytes", "Zürich", "\ufeffbom", "\u{1f511}".repeat(99)]) {
    const bytes = Uint8Array.from(written((out) => writeText(out, 10, text)));
    assert.equal(readText(bytes, 1, bytes.length), text);
    assert.equal(cursor.at, bytes.length);
  }
  for (const bytes of [[1, 0xff], [2, 0xc3, 0x28], [3, 0xed, 0xa0, 0x80]]) {
    const input = Uint8Array.from(bytes);
    assert.throws(() => readText(input, 0, input.length), refusal("String is not UTF-8"));
  }
});

test("readUnknown() keeps fields as they came, and refuses field 0, groups and wire types that do not exist", () => {
  const message: { $unknown?: UnknownField[] } = {};
  const bytes = Uint8Array.of(0x96, 1, 2, 65, 66, 1, 2, 3, 4);
  assert.equal(readUnknown(message, 20 * 8, bytes, 0, 9), 2);
  assert.equal(readUnknown(message, 21 * 8 + 2, bytes, 2, 9), 5);
  assert.equal(readUnknown(message, 22 * 8 + 5, bytes, 5, 9), 9);
  assert.deepEqual(message.$unknown, [
    { no: 20, wireType: 0, data: Uint8Array.of(0x96, 1) },
    { no: 21, wireType: 2, data: Uint8Array.of(2, 65, 66) },
    { no: 22, wireType: 5, data: Uint8Array.of(1, 2, 3, 4) },
  ]);
  assert.throws(() => readUnknown(message, 2, bytes, 0, 9), refusal("Field number is 0"));
  assert.throws(() => readUnknown(message, 20 * 8 + 1, bytes, 2, 9), refusal("Message ends within a field"));
  for (const wireType of [3, 4, 6, 7]) {
    const expected = refusal(`Wire type ${wireType} is not supported`);
    assert.throws(() => readUnknown(message, 20 * 8 + wireType, bytes, 0, 9), expected);
  }
});

test("endMessage() writes the shortest length before a message of any size", () => {
  for (const length of [0, 1, 127, 128, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000]) {
    const out = new ByteWriter(1);
    out.byte(7);
    const start = beginMessage(out, 18);
    const body = new Uint8Array(length).fill(0xab);
    if (length > 0) body[0] = 1;
    out.write(body);
    endMessage(out, start);
    const expected = new ByteWriter(1);
    expected.byte(7);
    expected.varint(18);
    expected.varint(length);
    expected.write(body);
    assert.ok(Buffer.from(out.toBytes()).equals(expected.toBytes()), `${length} bytes`);
  }
});
