import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { Prng } from "../../src/base/prng.ts";
import { KeyValueSchema } from "../../src/gen/mvccpb/kv_pb.ts";
import {
  encodeKeyValue,
  encodeTransientKeyValue,
  KeyValueReader,
  withoutValue,
  withoutValueAndLease,
} from "../../src/mvcc/key_value.ts";

interface Fields {
  readonly key: Uint8Array;
  readonly createMain: number;
  readonly modMain: number;
  readonly version: number;
  readonly value: Uint8Array;
  readonly lease: bigint;
}

function randomFields(prng: Prng): Fields {
  const bytes = (max: number) => Uint8Array.from({ length: prng.below(max) }, () => prng.below(256));
  const number = () => Math.floor(prng.fraction() * 2 ** prng.below(54));
  const length = prng.chance(0.02) ? 50_000 : 100;
  return {
    key: bytes(60),
    createMain: number(),
    modMain: number(),
    version: number(),
    value: bytes(length),
    lease: BigInt.asIntN(64, (BigInt(prng.uint32()) << 32n) | BigInt(prng.uint32())) >>
      BigInt(prng.below(64)),
  };
}

function encode(fields: Fields): Uint8Array {
  const { key, createMain, modMain, version, value, lease } = fields;
  return encodeKeyValue(key, createMain, modMain, version, value, lease);
}

test("encodeKeyValue() and KeyValueReader agree with protobuf-es", () => {
  const prng = new Prng(3);
  const reader = new KeyValueReader();
  const kept: { readonly encoded: Uint8Array; readonly expected: Uint8Array }[] = [];
  for (let i = 0; i < 3000; i += 1) {
    const fields = randomFields(prng);
    const { key, createMain, modMain, version, value, lease } = fields;
    const message = create(KeyValueSchema, {
      key,
      createRevision: BigInt(createMain),
      modRevision: BigInt(modMain),
      version: BigInt(version),
      value,
      lease,
    });
    const expected = toBinary(KeyValueSchema, message);
    const encoded = encode(fields);
    assert.deepEqual(encoded, expected);
    assert.deepEqual(encodeTransientKeyValue(key, createMain, modMain, version, value, lease), expected);
    reader.read(encoded);
    assert.deepEqual(
      { ...fields },
      {
        key: reader.key,
        createMain: reader.createMain,
        modMain: reader.modMain,
        version: reader.version,
        value: reader.value,
        lease: reader.lease,
      },
    );
    assert.equal(fromBinary(KeyValueSchema, withoutValue(encoded)).lease, lease);
    assert.deepEqual(withoutValue(encoded), encode({ ...fields, value: EMPTY_BYTES }));
    assert.deepEqual(withoutValueAndLease(encoded), encode({ ...fields, value: EMPTY_BYTES, lease: 0n }));
    kept.push({ encoded, expected });
  }
  // Bytes that were handed out are not written to again.
  for (const { encoded, expected } of kept) assert.deepEqual(encoded, expected);
});

test("KeyValueReader passes over unknown fields and refuses what is no message", () => {
  const reader = new KeyValueReader();
  const unknown = Uint8Array.of(
    0x0a,
    1,
    97,
    0x38,
    0xff,
    1,
    0x42,
    2,
    1,
    2,
    0x4d,
    1,
    2,
    3,
    4,
    0x51,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    0x20,
    3,
  );
  assert.deepEqual(reader.read(unknown).key, utf8("a"));
  assert.equal(reader.version, 3);
  const malformed = [
    [0x0a],
    [0x0a, 5, 97],
    [0x10],
    [0x10, 0x80],
    [0x10, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1],
    [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
    [0x4d, 1, 2],
    [0x51, 1, 2],
    [0x0b],
    [0x30, 0x80],
  ];
  for (const bytes of malformed) {
    assert.throws(
      () => reader.read(Uint8Array.from(bytes)),
      (error) => error instanceof EtcdError && error.code === "corrupt",
      bytes.join(" "),
    );
  }
});
