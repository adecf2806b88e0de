import assert from "node:assert/strict";
import { test } from "node:test";
import { type DescMessage, fromBinary, fromJson, type Message, toBinary, toJson } from "@bufbuild/protobuf";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import { Prng } from "../../src/base/prng.ts";
import { gatewayBindings } from "../../src/gateway/bindings.ts";
import { messagePlan } from "../../src/gateway/json_plan.ts";
import { JsonError, JsonReader } from "../../src/gateway/json_reader.ts";
import { JsonSplitter } from "../../src/gateway/json_splitter.ts";
import { writeJson } from "../../src/gateway/json_writer.ts";
import {
  CompareSchema,
  PutRequestSchema,
  RangeRequestSchema,
  TxnRequestSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import { ResponseHeaderSchema } from "../../src/gen/etcdserverpb/header_pb.ts";
import { WatchRequestSchema, WatchResponseSchema } from "../../src/gen/etcdserverpb/watch_pb.ts";
import { randomMessage } from "../harness/random_message.ts";

const ROUNDS = 40;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const reader = new JsonReader();

function written(schema: DescMessage, message: Message, inStream = false): string {
  const out = new ByteWriter();
  const bytes = toBinary(schema, message, { writeUnknownFields: false });
  writeJson(out, messagePlan(schema), bytes, 0, bytes.length, inStream);
  return decoder.decode(out.toBytes());
}

function read(schema: DescMessage, json: string | Uint8Array): Message {
  const bytes = typeof json === "string" ? encoder.encode(json) : json;
  return fromBinary(schema, reader.read(messagePlan(schema), bytes), { recursionLimit: 300 });
}

function withoutUnknown(schema: DescMessage, message: Message): Message {
  return fromBinary(schema, toBinary(schema, message, { writeUnknownFields: false }));
}

/** `random_message` leaves the kinds of 32 bits to others. */
function isRandomisable(schema: DescMessage): boolean {
  return !["etcdserverpb.HashResponse", "etcdserverpb.HashKVResponse"].includes(schema.typeName);
}

test("writeJson prints replies as protobuf-es does", () => {
  const prng = new Prng(20);
  for (const { output } of gatewayBindings.values()) {
    if (!isRandomisable(output)) continue;
    for (let round = 0; round < ROUNDS; round += 1) {
      const message = withoutUnknown(output, randomMessage(output, prng));
      const expected = toJson(output, message, { useProtoFieldName: true });
      assert.deepEqual(JSON.parse(written(output, message)), expected);
    }
  }
});

test("JsonReader takes the JSON of protobuf-es, in both spellings", () => {
  const prng = new Prng(21);
  for (const { input } of gatewayBindings.values()) {
    if (!isRandomisable(input)) continue;
    for (let round = 0; round < ROUNDS; round += 1) {
      const message = withoutUnknown(input, randomMessage(input, prng));
      for (const useProtoFieldName of [true, false]) {
        for (const space of [0, 2]) {
          const json = JSON.stringify(toJson(input, message, { useProtoFieldName }), null, space);
          assert.deepEqual(toBinary(input, read(input, json)), toBinary(input, message));
        }
      }
    }
  }
});

test("writeJson leaves out zeros but not what a oneof holds", () => {
  const compare = fromJson(CompareSchema, { key: "AA==", value: "" });
  assert.equal(written(CompareSchema, compare), '{"key":"AA==","value":""}');
  const range = { key: "", limit: "0", sort_order: "NONE", keys_only: false, revision: "5" };
  assert.equal(written(RangeRequestSchema, fromJson(RangeRequestSchema, range)), '{"revision":"5"}');
});

test("writeJson escapes for HTML in streams alone", () => {
  const response = fromJson(WatchResponseSchema, { cancel_reason: 'a<b>&\u2028"\n\u0001é' });
  assert.equal(written(WatchResponseSchema, response), '{"cancel_reason":"a<b>&\u2028\\"\\n\\u0001é"}');
  assert.equal(
    written(WatchResponseSchema, response, true),
    '{"cancel_reason":"a\\u003cb\\u003e\\u0026\\u2028\\"\\n\\u0001é"}',
  );
});

test("writeJson keeps 64-bit integers exact, signed or not, whatever was written before", () => {
  // All end in the same bits; the second time each is remembered, or overwritten.
  const ids = [(1n << 64n) - 1n, (1n << 63n) - 1n, (1n << 54n) - 1n, (1n << 53n) - 1n, 127n];
  for (const id of [...ids, ...ids]) {
    const unsigned = fromJson(ResponseHeaderSchema, { cluster_id: String(id) });
    assert.equal(written(ResponseHeaderSchema, unsigned), `{"cluster_id":"${id}"}`);
    for (const signed of [BigInt.asIntN(64, id), -BigInt.asIntN(64, id)]) {
      const message = fromJson(ResponseHeaderSchema, { revision: String(signed) });
      assert.equal(written(ResponseHeaderSchema, message), `{"revision":"${signed}"}`);
    }
  }
});

test("JsonReader keeps 64-bit integers exact", () => {
  const exact: readonly (readonly [string, bigint])[] = [
    ["9007199254740993", 9007199254740993n],
    ["-9223372036854775808", -(1n << 63n)],
    ['"9223372036854775807"', (1n << 63n) - 1n],
    ["1e3", 1000n],
    ["1.50e1", 15n],
    ["12.0", 12n],
    ['"12e0"', 12n],
    ["9.223372036854775807E18", (1n << 63n) - 1n],
    ["-0", 0n],
    ["0e999999999", 0n],
    ["-7", -7n],
  ];
  for (const [json, value] of exact) {
    const message = read(RangeRequestSchema, `{"limit":${json}}`) as Message & { readonly limit: bigint };
    assert.equal(message.limit, value, json);
  }
});

test("JsonReader ignores what protojson ignores", () => {
  const unknown = '{"a":[1,{"b":null}],"key":"no"}';
  const texts = [
    `{"__proto__":${unknown},"constructor":1,"key":"Zm9v"}`,
    `{"x":${unknown},"key":"Zm9v","y":-1.5e-3,"z":"\\u00e9\\""}`,
    '{"key":"Zm9v","sort_order":"OF_A_LATER_VERSION","limit":null}',
    '\t{ "k\\u0065y" : "Zm9v" }\r\n',
    '{"key":"Zm9v","sortTarget":0}',
  ];
  for (const text of texts) {
    assert.deepEqual(
      toBinary(RangeRequestSchema, read(RangeRequestSchema, text) as never),
      Uint8Array.of(0x0a, 3, 0x66, 0x6f, 0x6f),
      text,
    );
  }
  assert.deepEqual(Object.keys(Object.prototype), []);
});

test("JsonReader takes base64 of both alphabets, padded or not, also with escaped slashes", () => {
  const texts = ["+/8=", "-_8=", "+/8", "-_8", "+\\/8=", "\\u002b\\/8"];
  for (const text of texts) {
    const { key } = read(PutRequestSchema, `{"key":"${text}"}`) as Message & { readonly key: Uint8Array };
    assert.deepEqual(key, Uint8Array.of(0xfb, 0xff), text);
  }
});

test("JsonReader refuses what is no message", () => {
  const refused = [
    "[]",
    "null",
    "1",
    '"x"',
    "{",
    '{"key"',
    '{"key":',
    '{"key":"Zm9v"',
    '{"key":"Zm9v',
    '{"key":"Zm9v"} junk',
    '{"key":"Zm9v"}{}',
    '{"key":"Zm9v",}',
    '{,"key":"Zm9v"}',
    '{"key" "Zm9v"}',
    '{"key":"Zm9v" "limit":1}',
    '{"key":"Zm9v","key":"Zm9v"}',
    '{"key":"Zm9v","k\\u0065y":"Zm9v"}',
    '{"rangeEnd":"Zg==","range_end":"Zg=="}',
    '{"key":"!!"}',
    '{"key":"Zm9vY"}',
    '{"key":"Zm=v"}',
    '{"key":"+_8="}',
    '{"key":"Zg="}',
    '{"key":5}',
    '{"key":["Zg=="]}',
    '{"limit":NaN}',
    '{"limit":"NaN"}',
    '{"limit":Infinity}',
    '{"limit":1.5}',
    '{"limit":01}',
    '{"limit":+1}',
    '{"limit":" 1"}',
    '{"limit":""}',
    '{"limit":1e99}',
    '{"limit":9223372036854775808}',
    '{"limit":-9223372036854775809}',
    '{"limit":true}',
    '{"limit":[]}',
    '{"limit":{}}',
    '{"serializable":1}',
    '{"serializable":"true"}',
    '{"serializable":truex}',
    '{"sort_order":1.5}',
    '{"sort_order":2147483648}',
    '{"x":tru}',
    '{"x":[1,]}',
    '{"x":{"a"}}',
    '{"x":"\\x"}',
    '{"x":"\\ud800"}',
    '{"x":"a\nb"}',
    `{"x":${"[".repeat(10_000)}${"]".repeat(10_000)}}`,
    `{"x":${'{"a":'.repeat(10_000)}`,
    "\ufeff{}",
  ];
  for (const text of refused) {
    assert.throws(() => read(RangeRequestSchema, text), JsonError, text.slice(0, 60));
  }
  assert.throws(() => read(RangeRequestSchema, Uint8Array.of(0x7b, 0x22, 0xff, 0x22)), JsonError);
  const member = encoder.encode('{"name":"é"}');
  assert.throws(() => read(RangeRequestSchema, member.filter((byte) => byte !== 0xa9)), JsonError);
  const twoOfOneof = '{"create_request":{},"cancel_request":{}}';
  assert.throws(() => read(WatchRequestSchema, twoOfOneof), JsonError);
});

test("JsonReader reads transactions nested as deep as etcd takes them, and no deeper than its limit", () => {
  const nested = (levels: number): string =>
    '{"success":[{"request_txn":'.repeat(levels) + "{}" + "}]}".repeat(levels);
  read(TxnRequestSchema, nested(127));
  assert.throws(() => read(TxnRequestSchema, nested(400)), JsonError);
  assert.throws(() => read(TxnRequestSchema, nested(100_000)), JsonError);
});

test("JsonReader never throws anything but JsonError for mangled text", () => {
  const prng = new Prng(22);
  const samples = [...gatewayBindings.values()].filter(({ input }) => isRandomisable(input));
  for (let round = 0; round < 2_000; round += 1) {
    const { input } = samples[prng.below(samples.length)]!;
    const bytes = encoder.encode(JSON.stringify(toJson(input, randomMessage(input, prng))));
    for (let change = 0; change <= prng.below(3); change += 1) {
      bytes[prng.below(bytes.length)] = prng.chance(0.5)
        ? prng.below(256)
        : '{}[]",:\\0-e'.charCodeAt(prng.below(11));
    }
    const end = prng.chance(0.3) ? prng.below(bytes.length) : bytes.length;
    try {
      reader.read(messagePlan(input), bytes.subarray(0, end));
    } catch (error) {
      assert.ok(error instanceof JsonError, String(error));
    }
  }
});

test("JsonSplitter cuts objects out of chunks of any size", () => {
  const objects = ['{"a":"}{\\""}', "{}", '{"b":{"c":[{}]}}'];
  const bytes = encoder.encode(` ${objects.join("\n")}${objects.join("")} `);
  for (const size of [1, 2, 3, 7, 1000]) {
    const found: string[] = [];
    const splitter = new JsonSplitter(100, (object) => found.push(decoder.decode(object)));
    for (let at = 0; at < bytes.length; at += size) splitter.push(bytes.subarray(at, at + size));
    assert.deepEqual(found, [...objects, ...objects]);
    assert.ok(splitter.atBoundary);
  }
  const splitter = new JsonSplitter(10, () => {});
  assert.throws(() => splitter.push(encoder.encode("[1]")), JsonError);
  assert.throws(() => new JsonSplitter(10, () => {}).push(encoder.encode('{"a":"0123456789')), JsonError);
});
