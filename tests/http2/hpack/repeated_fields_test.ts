import { test } from "node:test";
import assert from "node:assert/strict";
import { Prng } from "../../../src/base/prng.ts";
import type { HeaderField } from "../../../src/http2/api.ts";
import { HpackDecoder } from "../../../src/http2/hpack/decoder.ts";
import { encodeStaticBlock } from "../../../src/http2/hpack/encoder.ts";
import { RepeatedFields, TABLE_EMPTY, TABLE_UNUSED } from "../../../src/http2/hpack/repeated_fields.ts";
import { TABLE_BYTES_DEFAULT } from "../../../src/http2/hpack/table.ts";
import { fieldsOf, hex } from "../support.ts";

const TYPE: HeaderField = ["content-type", "application/grpc"];
const STATUS: HeaderField = ["grpc-status", "0"];
const MESSAGE: HeaderField = ["grpc-message", ""];
const repeated = new RepeatedFields([TYPE, STATUS, MESSAGE]);
const head = repeated.block([[":status", "200"], TYPE]);
const trailers = repeated.block([STATUS, MESSAGE]);

test("RepeatedBlock inserts its fields once and is indices afterwards", () => {
  const first = head.formFor(TABLE_EMPTY);
  assert.equal(first.bytes[1], 0x40 | 31);
  assert.equal(first.state, 1);
  assert.deepEqual(head.formFor(first.state), { bytes: hex("88 be"), state: 1 });
  const end = trailers.formFor(first.state);
  assert.equal(end.state, 3);
  assert.deepEqual(head.formFor(end.state), { bytes: hex("88 c0"), state: 3 });
  assert.deepEqual(trailers.formFor(end.state), { bytes: hex("bf be"), state: 3 });
});

test("RepeatedBlock does without the table when the peer has none", () => {
  assert.deepEqual(head.formFor(TABLE_UNUSED), {
    bytes: encodeStaticBlock([[":status", "200"], TYPE]),
    state: TABLE_UNUSED,
  });
});

test("RepeatedBlock is decoded to its fields, whatever was sent before it", () => {
  const random = new Prng(1);
  const all = [TYPE, STATUS, MESSAGE, [":status", "200"], ["grpc-encoding", "gzip"], ["token", "x"]] as const;
  for (let run = 0; run < 200; run += 1) {
    const decoder = new HpackDecoder(TABLE_BYTES_DEFAULT);
    let state = TABLE_EMPTY;
    for (let i = 0; i < 12; i += 1) {
      const fields = all.filter(() => random.below(2) === 0);
      const form = repeated.block(fields).formFor(state);
      state = form.state;
      assert.deepEqual(fieldsOf(decoder, form.bytes), fields);
      assert.equal(decoder.table.count, state);
    }
  }
});

test("RepeatedFields refuses more than a peer's table is sure to hold", () => {
  assert.throws(() => new RepeatedFields([["a", "v".repeat(4_096)]]), /evict each other/);
});
