/** Random protobuf-es messages, with a liking for the values at which encodings change. */
import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import type { Prng } from "../../src/base/prng.ts";

const texts: readonly string[] = [
  "a",
  "root",
  "a longer name with spaces in it",
  "Zürich",
  "日本",
  "\ufeffbom",
  "\u{1f511}",
];

/** A message of at most `depth` levels below the outermost. */
export function randomMessage(schema: DescMessage, prng: Prng, depth = 4): Message {
  const init: Record<string, unknown> = {};
  const many = schema.fields.length > 12;
  for (const member of schema.members) {
    if (prng.chance(many ? 0.8 : 0.35)) continue;
    if (member.kind === "oneof") {
      const field = member.fields[prng.below(member.fields.length)]!;
      const value = randomValue(field, prng, depth);
      if (value !== undefined) init[member.localName] = { case: field.localName, value };
    } else if (member.fieldKind === "list") {
      const items = Array.from({ length: prng.below(4) }, () => randomValue(member, prng, depth));
      init[member.localName] = items.filter((item) => item !== undefined);
    } else init[member.localName] = randomValue(member, prng, depth);
  }
  const message = create(schema, init);
  if (prng.chance(0.15)) message.$unknown = randomUnknown(prng);
  return message;
}

function randomValue(field: DescField, prng: Prng, depth: number): unknown {
  if (field.message !== undefined) {
    return depth === 0 ? undefined : randomMessage(field.message, prng, depth - 1);
  }
  if (field.enum !== undefined) return prng.chance(0.1) ? -1 - prng.below(9) : prng.below(6);
  switch (field.scalar) {
    case ScalarType.BYTES:
      return Uint8Array.from({ length: randomLength(prng) }, () => prng.below(256));
    case ScalarType.STRING:
      return prng.chance(0.2) ? "" : texts[prng.below(texts.length)]!.repeat(prng.chance(0.1) ? 20 : 1);
    case ScalarType.BOOL:
      return prng.chance(0.5);
    case ScalarType.INT64:
      return randomInteger(prng);
    case ScalarType.UINT64:
      return BigInt.asUintN(64, randomInteger(prng));
    default:
      throw new Error(`No random value for ${field}`);
  }
}

/** Near a power of two, on either side of zero. */
function randomInteger(prng: Prng): bigint {
  const power = 1n << BigInt(prng.below(64));
  const near = power + BigInt(prng.below(3)) - 1n;
  return BigInt.asIntN(64, prng.chance(0.2) ? -near : near);
}

function randomLength(prng: Prng): number {
  switch (prng.below(8)) {
    case 0:
      return 0;
    case 1:
      return 100 + prng.below(60);
    case 2:
      return prng.chance(0.05) ? 16_300 + prng.below(200) : 300;
    default:
      return prng.below(20);
  }
}

function randomUnknown(prng: Prng): NonNullable<Message["$unknown"]> {
  return Array.from({ length: 1 + prng.below(3) }, () => {
    const no = 20_000 + prng.below(1_000_000);
    switch (prng.below(4)) {
      case 0:
        return { no, wireType: 0, data: Uint8Array.of(0x96, prng.below(128)) };
      case 1:
        return { no, wireType: 1, data: new Uint8Array(8).fill(prng.below(256)) };
      case 2:
        return { no, wireType: 2, data: Uint8Array.of(2, prng.below(256), prng.below(256)) };
      default:
        return { no, wireType: 5, data: new Uint8Array(4).fill(prng.below(256)) };
    }
  });
}
