import { test } from "node:test";
import assert from "node:assert/strict";
import {
  createRegistry,
  type DescField,
  type DescMessage,
  fromBinary,
  type Message,
  ScalarType,
  toBinary,
} from "@bufbuild/protobuf";
import { BinaryReader, BinaryWriter, type WireType } from "@bufbuild/protobuf/wire";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import { Prng } from "../../src/base/prng.ts";
import { NESTING_MAX, WireError } from "../../src/base/wire.ts";
import { codecs } from "../../src/gen/codec/codecs.ts";
import { allFiles } from "./all_files.ts";
import { randomMessage } from "../harness/random_message.ts";
import { moveMistyped, surveyMessage, unmoveMistyped } from "../harness/wire_survey.ts";

// The generated codecs and protobuf-es are held equal: on every message, however it is encoded, and on damaged input.
// Where they differ, `surveyMessage` says why, and the tests below state what ours does instead:
// - a group: refused. Nothing in etcd's protocol has groups; protobuf-es reads over unknown ones.
// - a field that ends past the message that holds it, or a packed number past its field: refused, as by Go.
//   protobuf-es lets what is inside run over its end.
// - a varint of more than 64 bits: refused, as by Go. protobuf-es drops the bits that are too many.
// - a field of another wire type than the schema's: an unknown field, as in Go and as protobuf says. protobuf-es reads
//   it by the schema's type nevertheless.

interface Codec {
  decode(bytes: Uint8Array, start: number, end: number): Message;
  encode(out: ByteWriter, message: Message): void;
}

const registry = createRegistry(...allFiles);
const cases = Object.entries(codecs).map(([name, codec]) => {
  return { schema: registry.getMessage(name)!, codec: codec as unknown as Codec };
});

function decodeReference(schema: DescMessage, bytes: Uint8Array): Message {
  return fromBinary(schema, bytes, { recursionLimit: NESTING_MAX });
}

/** A message, or undefined for a refusal, which must be a WireError. */
function decodeOurs(codec: Codec, bytes: Uint8Array): Message | undefined {
  try {
    return codec.decode(bytes, 0, bytes.length);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return undefined;
  }
}

function tryReference(schema: DescMessage, bytes: Uint8Array): Message | undefined {
  try {
    return decodeReference(schema, bytes);
  } catch {
    return undefined;
  }
}

function encodeOurs(codec: Codec, message: Message): Uint8Array {
  const out = new ByteWriter(8);
  codec.encode(out, message);
  return out.toBytes();
}

/** Holds both decoders against each other on any bytes. */
function compareOn(schema: DescMessage, codec: Codec, bytes: Uint8Array): string {
  const survey = surveyMessage(schema, bytes);
  const ours = decodeOurs(codec, bytes);
  const where = () =>
    `${schema.typeName} ${survey} ${Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("")}`;
  switch (survey) {
    case "regular":
      assert.deepEqual(ours, tryReference(schema, bytes), where());
      break;
    case "mistyped": {
      const reference = tryReference(schema, moveMistyped(schema, bytes));
      if (reference !== undefined) unmoveMistyped(reference);
      assert.deepEqual(ours, reference, where());
      break;
    }
    case "broken":
      assert.equal(ours, undefined, where());
      assert.equal(tryReference(schema, bytes), undefined, where());
      break;
    case "strict":
      assert.equal(ours, undefined, where());
      break;
  }
  return ours === undefined ? `${survey}, refused` : `${survey}, accepted`;
}

/** Integers as numbers where they fit, and some messages as bytes: what an encoder takes beside messages. */
function cheaperForm(
  schema: DescMessage,
  message: Record<string, unknown>,
  prng: Prng,
): Record<string, unknown> {
  const cheaper: Record<string, unknown> = { $unknown: message["$unknown"] };
  const convert = (field: DescField, value: unknown): unknown => {
    if (field.message !== undefined) {
      if (prng.chance(0.5)) return toBinary(field.message, value as Message);
      return cheaperForm(field.message, value as Record<string, unknown>, prng);
    }
    return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  };
  for (const member of schema.members) {
    const value = message[member.localName];
    if (value === undefined) continue;
    if (member.kind === "oneof") {
      const { case: name, value: inner } = value as { case?: string; value?: unknown };
      const field = member.fields.find((candidate) => candidate.localName === name);
      cheaper[member.localName] = field === undefined ? value : { case: name, value: convert(field, inner) };
    } else if (member.fieldKind === "list") {
      cheaper[member.localName] = (value as unknown[]).map((item) => convert(member, item));
    } else cheaper[member.localName] = convert(member, value);
  }
  return cheaper;
}

/** The same message in another encoding: numbers unpacked, repeated ones packed, varints and lengths too long. */
function reencode(schema: DescMessage, bytes: Uint8Array, prng: Prng): Uint8Array {
  const reader = new BinaryReader(bytes);
  const fields: Uint8Array[] = [];
  while (reader.pos < reader.len) {
    const [no, wireType] = reader.tag();
    const start = reader.pos;
    reader.skip(wireType, no);
    const writer = new BinaryWriter();
    const field = schema.fields.find((candidate) => candidate.number === no);
    if (field === undefined) {
      // An unknown field is kept as it comes.
      writer.tag(no, wireType).raw(bytes.subarray(start, reader.pos));
    } else if (wireType === VARINT && field.fieldKind === "list" && prng.chance(0.5)) {
      writer.tag(no, LENGTH_DELIMITED).bytes(bytes.subarray(start, reader.pos));
    } else if (wireType === VARINT) {
      writer.tag(no, wireType).raw(lengthenVarint(bytes.subarray(start, reader.pos), prng));
    } else if (wireType === LENGTH_DELIMITED) {
      const inner = new BinaryReader(bytes.subarray(start, reader.pos)).bytes();
      const body = field.message === undefined ? inner : reencode(field.message, inner, prng);
      const length = new BinaryWriter().uint32(body.length).finish();
      writer.tag(no, wireType).raw(lengthenVarint(length, prng)).raw(body);
    }
    fields.push(writer.finish());
  }
  return concat(fields);
}

const VARINT = 0 as WireType;
const LENGTH_DELIMITED = 2 as WireType;

function lengthenVarint(varint: Uint8Array, prng: Prng): Uint8Array {
  const extra = prng.below(Math.max(1, Math.min(3, 10 - varint.length)));
  if (extra === 0 || prng.chance(0.5)) return varint;
  const longer = new Uint8Array(varint.length + extra).fill(0x80);
  longer.set(varint);
  longer[varint.length - 1]! |= 0x80;
  longer[longer.length - 1] = 0;
  return longer;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new ByteWriter(64);
  for (const part of parts) out.write(part);
  return out.toBytes();
}

function mutate(bytes: Uint8Array, prng: Prng): Uint8Array {
  const at = prng.below(bytes.length + 1);
  switch (prng.below(5)) {
    case 0:
      return bytes.slice(0, at);
    case 1: {
      const changed = bytes.slice();
      if (at < changed.length) changed[at] = prng.below(256);
      return changed;
    }
    case 2: {
      const changed = bytes.slice();
      if (at < changed.length) changed[at]! ^= 1 << prng.below(8);
      return changed;
    }
    case 3:
      return concat([bytes.subarray(0, at), randomBytes(1 + prng.below(4), prng), bytes.subarray(at)]);
    default:
      return concat([bytes.subarray(0, at), bytes.subarray(Math.min(bytes.length, at + 1 + prng.below(4)))]);
  }
}

/** Biased towards bytes that mean something: small tags, continued varints. */
function randomBytes(length: number, prng: Prng): Uint8Array {
  return Uint8Array.from({ length }, () => {
    switch (prng.below(4)) {
      case 0:
        return prng.below(16);
      case 1:
        return 0x80 | prng.below(128);
      case 2:
        return prng.below(12) * 8 + prng.below(6);
      default:
        return prng.below(256);
    }
  });
}

const MESSAGES_OF_A_TYPE = 25;

test("codecs encode a message to the bytes of protobuf-es", () => {
  const prng = new Prng(1);
  for (const { schema, codec } of cases) {
    for (let i = 0; i < MESSAGES_OF_A_TYPE; i += 1) {
      const message = randomMessage(schema, prng);
      assert.deepEqual(encodeOurs(codec, message), toBinary(schema, message), schema.typeName);
    }
  }
});

test("codecs encode numbers and encoded parts to the same bytes as messages", () => {
  const prng = new Prng(2);
  for (const { schema, codec } of cases) {
    for (let i = 0; i < MESSAGES_OF_A_TYPE; i += 1) {
      const message = randomMessage(schema, prng);
      const cheaper = cheaperForm(schema, message as unknown as Record<string, unknown>, prng);
      assert.deepEqual(
        encodeOurs(codec, cheaper as unknown as Message),
        toBinary(schema, message),
        schema.typeName,
      );
    }
  }
});

test("codecs decode what lies in the midst of other bytes to the message of protobuf-es", () => {
  const prng = new Prng(3);
  for (const { schema, codec } of cases) {
    for (let i = 0; i < MESSAGES_OF_A_TYPE; i += 1) {
      const bytes = toBinary(schema, randomMessage(schema, prng));
      const before = randomBytes(prng.below(9), prng);
      const all = concat([before, bytes, randomBytes(prng.below(9), prng)]);
      const decoded = codec.decode(all, before.length, before.length + bytes.length);
      assert.deepEqual(decoded, decodeReference(schema, bytes), schema.typeName);
    }
  }
});

test("codecs merge messages and oneofs, keep the last scalar and append lists when fields come again", () => {
  const prng = new Prng(4);
  for (const { schema, codec } of cases) {
    for (let i = 0; i < MESSAGES_OF_A_TYPE; i += 1) {
      const parts = Array.from({ length: 3 }, () => toBinary(schema, randomMessage(schema, prng)));
      const bytes = concat(parts);
      assert.deepEqual(decodeOurs(codec, bytes), decodeReference(schema, bytes), schema.typeName);
    }
  }
});

test("codecs decode packed, unpacked and needlessly long encodings to the message of protobuf-es", () => {
  const prng = new Prng(5);
  for (const { schema, codec } of cases) {
    for (let i = 0; i < MESSAGES_OF_A_TYPE; i += 1) {
      const bytes = toBinary(schema, randomMessage(schema, prng));
      const other = reencode(schema, bytes, prng);
      assert.deepEqual(decodeReference(schema, other), decodeReference(schema, bytes), schema.typeName);
      assert.deepEqual(decodeOurs(codec, other), decodeReference(schema, bytes), schema.typeName);
    }
  }
});

test("codecs refuse every truncation that protobuf-es refuses", () => {
  const prng = new Prng(6);
  for (const { schema, codec } of cases) {
    const bytes = toBinary(schema, randomMessage(schema, prng));
    for (let length = 0; length < Math.min(bytes.length, 400); length += 1) {
      compareOn(schema, codec, bytes.subarray(0, length));
    }
  }
});

test("codecs and protobuf-es agree on damaged messages and on random bytes", () => {
  const prng = new Prng(7);
  const outcomes = new Map<string, number>();
  for (const { schema, codec } of cases) {
    for (let i = 0; i < MESSAGES_OF_A_TYPE * 8; i += 1) {
      let bytes = prng.chance(0.1)
        ? randomBytes(prng.below(40), prng)
        : toBinary(schema, randomMessage(schema, prng, 2));
      for (let count = prng.below(3); count >= 0; count -= 1) bytes = mutate(bytes, prng);
      const outcome = compareOn(schema, codec, bytes);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  }
  // The damage must reach every kind of trouble, or the test shows little.
  const kinds = [
    "regular, accepted",
    "regular, refused",
    "mistyped, accepted",
    "broken, refused",
    "strict, refused",
  ];
  for (const kind of kinds) assert.ok((outcomes.get(kind) ?? 0) >= 20, `${kind}: ${outcomes.get(kind)}`);
});

test("decodeTxnRequest takes as many levels of nesting as protobuf-es is told to take", () => {
  const txn = cases.find(({ schema }) => schema.typeName === "etcdserverpb.TxnRequest")!;
  let bytes: Uint8Array = new Uint8Array(0);
  // An empty TxnRequest, wrapped into RequestOp.request_txn and TxnRequest.success round by round.
  for (let levels = 1; levels < NESTING_MAX + 20; levels += 2) {
    const reference = tryReference(txn.schema, bytes);
    assert.equal(reference !== undefined, levels <= NESTING_MAX, `${levels} levels`);
    assert.deepEqual(decodeOurs(txn.codec, bytes), reference, `${levels} levels`);
    for (const tag of [34, 18]) bytes = new BinaryWriter().raw(Uint8Array.of(tag)).bytes(bytes).finish();
  }
});

test("a decoded bytes field is a view on the input", () => {
  const input = Uint8Array.of(0x0a, 3, 1, 2, 3);
  const { key } = codecs["etcdserverpb.PutRequest"].decode(input, 0, input.length);
  input[2] = 9;
  assert.deepEqual([...key], [9, 2, 3]);
});

test("codecs cover only types that the test can make", () => {
  const scalars = new Set<ScalarType>();
  for (const { schema } of cases) {
    for (const { scalar } of schema.fields) if (scalar !== undefined) scalars.add(scalar);
  }
  const known = [ScalarType.BOOL, ScalarType.BYTES, ScalarType.INT64, ScalarType.STRING, ScalarType.UINT64];
  assert.deepEqual([...scalars].sort((a, b) => a - b), known.sort((a, b) => a - b));
});
