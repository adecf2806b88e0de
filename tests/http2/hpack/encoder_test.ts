import { test } from "node:test";
import assert from "node:assert/strict";
import { HpackDecoder } from "../../../src/http2/hpack/decoder.ts";
import { encodeStaticBlock } from "../../../src/http2/hpack/encoder.ts";
import type { HeaderField } from "../../../src/http2/api.ts";
import { fieldsOf, hex } from "../support.ts";

test("encodeStaticBlock() uses whole static entries, then static names, then literals", () => {
  assert.deepEqual(encodeStaticBlock([[":status", "200"]]), hex("88"));
  assert.deepEqual(encodeStaticBlock([[":path", "/sample/path"]]).subarray(0, 1), hex("04"));
  assert.deepEqual(encodeStaticBlock([["custom-key", "a"]]), hex("00 88 25a849e95ba97d7f 01 61"));
});

test("encodeStaticBlock() forbids tables to keep credentials", () => {
  assert.equal(encodeStaticBlock([["token", "x"]])[0], 0x10);
  assert.equal(encodeStaticBlock([["authorization", "x"]])[0], 0x1f);
});

test("encodeStaticBlock() is decoded to the same fields and leaves the dynamic table alone", () => {
  const fields: HeaderField[] = [
    [":status", "200"],
    [":status", "418"],
    ["content-type", "application/grpc"],
    ["grpc-status", "0"],
    ["grpc-message", ""],
    ["x-bin", "\u0000\u00ff\u0080"],
    ["x-long", "v".repeat(5_000)],
    ["x-long-raw", "\u0001".repeat(300)],
    ["accept-encoding", "gzip, deflate"],
    ["accept-encoding", "gzip"],
  ];
  const decoder = new HpackDecoder(4096);
  assert.deepEqual(fieldsOf(decoder, encodeStaticBlock(fields)), fields);
  assert.equal(decoder.table.version, 0);
  assert.equal(decoder.referredToDynamic, false);
});
