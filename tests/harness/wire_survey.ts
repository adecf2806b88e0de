/**
 * A slow reading of protobuf's wire format, against a schema, that judges instead of decoding: it tells the
 * bytes on which decoders are known to differ from those on which they must agree.
 */
import type { DescField, DescMessage, Message } from "@bufbuild/protobuf";
import { concatBytes } from "../../src/base/bytes.ts";

/**
 * `regular`: nothing odd in the structure (a string may still not be UTF-8).
 * `mistyped`: regular but for fields of another wire type than the schema says.
 * `strict`: only a strict decoder refuses it: groups, fields that run over the end of what holds them, varints of
 * more than 64 bits, and what is broken after a mistyped field, where decoders no longer agree on what is what.
 * `broken`: no decoder takes it.
 */
export type Survey = "regular" | "mistyped" | "strict" | "broken";

/** The trouble that ends a reading. */
class Trouble extends Error {
  readonly survey: Survey;

  constructor(survey: Survey) {
    super(survey);
    this.survey = survey;
  }
}

/** One field: what it is, and where its tag ends, its value begins (after a length), and it ends. */
interface WireField {
  readonly no: number;
  readonly wireType: number;
  /** Undefined when the schema does not know it, or knows it with another wire type: `mistyped`. */
  readonly field: DescField | undefined;
  readonly mistyped: boolean;
  readonly tagEnd: number;
  readonly valueStart: number;
  readonly end: number;
}

export function surveyMessage(schema: DescMessage, bytes: Uint8Array): Survey {
  const seen = { mistyped: false };
  try {
    surveyRange(schema, bytes, 0, bytes.length, seen);
    return seen.mistyped ? "mistyped" : "regular";
  } catch (error) {
    if (!(error instanceof Trouble)) throw error;
    return seen.mistyped ? "strict" : error.survey;
  }
}

/** What has been met so far, in any message of the input. */
interface Seen {
  mistyped: boolean;
}

function surveyRange(schema: DescMessage, bytes: Uint8Array, start: number, end: number, seen: Seen): void {
  for (const { field, wireType, valueStart, end: fieldEnd } of fieldsOf(schema, bytes, start, end, seen)) {
    if (field === undefined) continue;
    if (field.message !== undefined) surveyRange(field.message, bytes, valueStart, fieldEnd, seen);
    else if (wireType === 2 && wireTypeOf(field) === 0) {
      for (let at = valueStart; at < fieldEnd;) at = readVarint(bytes, at, fieldEnd).end;
    }
  }
}

function* fieldsOf(
  schema: DescMessage,
  bytes: Uint8Array,
  start: number,
  end: number,
  seen: Seen,
): Generator<WireField> {
  for (let at = start; at < end;) {
    const tag = readVarint(bytes, at, end);
    if (tag.end - at > 5 || tag.value >= 2n ** 32n) throw new Trouble("broken");
    const no = Number(tag.value >> 3n);
    const wireType = Number(tag.value & 7n);
    if (no === 0 || wireType > 5) throw new Trouble("broken");
    const declared = schema.fields.find((candidate) => candidate.number === no);
    const field = declared !== undefined && takes(declared, wireType) ? declared : undefined;
    const mistyped = field !== declared;
    if (mistyped) seen.mistyped = true;
    if (wireType === 3 || wireType === 4) throw new Trouble("strict");
    let valueStart = tag.end;
    let next = tag.end + (wireType === 1 ? 8 : 4);
    if (wireType === 0) next = readVarint(bytes, tag.end, end).end;
    if (wireType === 2) {
      const length = readVarint(bytes, tag.end, end);
      valueStart = length.end;
      // A length past 32 bits is cut by some decoders, and they may find that many bytes.
      if (length.value >= 2n ** 32n) throw new Trouble("strict");
      next = valueStart + Number(length.value);
    }
    if (next > end) throw ranOver(bytes, end);
    yield { no, wireType, field, mistyped, tagEnd: tag.end, valueStart, end: next };
    at = next;
  }
}

function readVarint(bytes: Uint8Array, start: number, end: number): { value: bigint; end: number } {
  let value = 0n;
  for (let i = 0; i < 10; i += 1) {
    if (start + i >= end) throw ranOver(bytes, end);
    const byte = bytes[start + i]!;
    value |= BigInt(byte & 127) << BigInt(7 * i);
    if (byte < 128) {
      if (value >= 2n ** 64n) throw new Trouble("strict");
      return { value, end: start + i + 1 };
    }
  }
  throw new Trouble("strict");
}

/** Past the end of the input nothing can be read; past the end of a part of it, careless decoders read on. */
function ranOver(bytes: Uint8Array, end: number): Trouble {
  return new Trouble(end === bytes.length ? "broken" : "strict");
}

function wireTypeOf(field: DescField): number {
  const lengthDelimited = field.message !== undefined || field.scalar === 9 || field.scalar === 12;
  return lengthDelimited ? 2 : 0;
}

function takes(field: DescField, wireType: number): boolean {
  return wireType === wireTypeOf(field) || (field.fieldKind === "list" && wireType === 2);
}

const MOVED = 2 ** 28;
/** Above every field number of the schemas. */
const NUMBER_MAX = 10_000;

/**
 * The same bytes with every mistyped field under a number that no schema knows, so that any decoder takes it for an
 * unknown field. `unmoveMistyped` gives the unknown fields of the decoded message their own numbers again.
 */
export function moveMistyped(schema: DescMessage, bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  const seen = { mistyped: false };
  for (const item of fieldsOf(schema, bytes, 0, bytes.length, seen)) {
    const { no, wireType, field, mistyped, tagEnd, valueStart, end } = item;
    parts.push(varint((mistyped ? no + MOVED : no) * 8 + wireType));
    if (field?.message !== undefined) {
      const inner = moveMistyped(field.message, bytes.subarray(valueStart, end));
      parts.push(varint(inner.length), inner);
    } else parts.push(bytes.subarray(tagEnd, end));
  }
  return concatBytes(parts);
}

export function unmoveMistyped(message: Message): void {
  if (message.$unknown !== undefined) {
    message.$unknown = message.$unknown.map((field) => {
      const no = field.no - MOVED;
      return no > 0 && no < NUMBER_MAX ? { ...field, no } : field;
    });
  }
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    else if (typeof value === "object" && value !== null && !(value instanceof Uint8Array)) {
      if ("$typeName" in value) unmoveMistyped(value as Message);
      else if ("case" in value && "value" in value) visit(value.value);
    }
  };
  for (const [name, value] of Object.entries(message)) if (name !== "$unknown") visit(value);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value % 128) | 128);
  bytes.push(value);
  return Uint8Array.from(bytes);
}
