import type { ByteWriter } from "../base/byte_writer.ts";
import {
  cursor,
  readEnum,
  readInt64,
  readLength,
  readLongTag,
  readText,
  readUnknown,
  readVarint,
} from "../base/wire.ts";
import { encodeBase64 } from "../base/base64.ts";
import type { FieldPlan, MessagePlan } from "./json_plan.ts";

const QUOTE = 0x22;
const COMMA = 0x2c;
const MINUS = 0x2d;
const ARRAY_OPEN = 0x5b;
const ARRAY_CLOSE = 0x5d;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;
const BACKSLASH = 0x5c;
const WIRE_TYPE_BITS = 3;
const SAFE_INTEGER_MAX = 0x1f_ffff;
const TWO_POW_32 = 0x1_0000_0000;

const encoder = new TextEncoder();
const TRUE = encoder.encode("true");

/**
 * Appends a message as JSON, from its protobuf bytes as this server's encoders write them: fields in the order
 * of their numbers. The text is protojson's in Go with etcd's settings: original names, no white space, fields
 * that are zero left out, 64-bit integers and bytes in strings, enums by name.
 * `inStream`: characters that HTML minds are escaped in strings, as etcd does in streams alone.
 */
export function writeJson(
  out: ByteWriter,
  plan: MessagePlan,
  bytes: Uint8Array,
  start: number,
  end: number,
  inStream: boolean,
): void {
  const writer = new JsonMessageWriter(plan, inStream);
  writer.begin(out);
  writer.add(out, bytes, start, end);
  writer.end(out);
}

/** Writes a message whose fields come in several pieces, none of them cut. */
export class JsonMessageWriter {
  readonly #plan: MessagePlan;
  readonly #inStream: boolean;
  #isFirst = true;
  /** The repeated field whose array has been begun. */
  #open: FieldPlan | undefined = undefined;

  constructor(plan: MessagePlan, inStream: boolean) {
    this.#plan = plan;
    this.#inStream = inStream;
  }

  begin(out: ByteWriter): void {
    out.byte(OBJECT_OPEN);
  }

  add(out: ByteWriter, bytes: Uint8Array, start: number, end: number): void {
    const plan = this.#plan;
    const inStream = this.#inStream;
    let isFirst = this.#isFirst;
    let open = this.#open;
    let at = start;
    while (at < end) {
      let tag = bytes[at++]!;
      if (tag > 127) {
        tag = readLongTag(bytes, at - 1, end);
        at = cursor.at;
      }
      const field = plan.fields[tag >>> WIRE_TYPE_BITS];
      if (field === undefined || field.tag !== tag) {
        at = readUnknown({}, tag, bytes, at, end); // Of a later version, in what another server stored.
        continue;
      }
      if (open !== undefined && open !== field) {
        out.byte(ARRAY_CLOSE);
        open = undefined;
      }
      if (!field.explicit && !field.repeated && bytes[at] === 0) {
        at += 1; // A zero, or a string of no length.
        continue;
      }
      if (!isFirst) out.byte(COMMA);
      isFirst = false;
      if (open === undefined) {
        out.write(field.label);
        if (field.repeated) {
          out.byte(ARRAY_OPEN);
          open = field;
        }
      }
      at = writeValue(out, field, bytes, at, end, inStream);
    }
    this.#isFirst = isFirst;
    this.#open = open;
  }

  end(out: ByteWriter): void {
    if (this.#open !== undefined) out.byte(ARRAY_CLOSE);
    out.byte(OBJECT_CLOSE);
  }
}

/** Appends one value and returns where the next field begins. */
function writeValue(
  out: ByteWriter,
  field: FieldPlan,
  bytes: Uint8Array,
  at: number,
  end: number,
  inStream: boolean,
): number {
  switch (field.kind) {
    case "message": {
      const length = readLength(bytes, at, end);
      const start = cursor.at;
      writeJson(out, field.message!, bytes, start, start + length, inStream);
      return start + length;
    }
    case "bytes": {
      const length = readLength(bytes, at, end);
      const start = cursor.at;
      out.byte(QUOTE);
      encodeBase64(out, bytes, start, start + length);
      out.byte(QUOTE);
      return start + length;
    }
    case "string":
      writeText(out, readText(bytes, at, end), inStream);
      return cursor.at;
    case "bool":
      out.write(TRUE);
      return at + 1;
    case "enum": {
      const value = readEnum(bytes, at, end);
      const name = field.enumNames.get(value);
      if (name !== undefined) out.write(name);
      else writeDigits(out, value);
      return cursor.at;
    }
    case "int32":
    case "uint32": {
      const value = Number(readInt64(bytes, at, end));
      writeDigits(out, value);
      return cursor.at;
    }
    default: {
      out.byte(QUOTE);
      writeInteger64(out, field.kind === "int64", bytes, at, end);
      out.byte(QUOTE);
      return cursor.at;
    }
  }
}

function writeInteger64(out: ByteWriter, signed: boolean, bytes: Uint8Array, at: number, end: number): void {
  const first = bytes[at]!;
  if (first < 128) {
    cursor.at = at + 1;
    return writeDigits(out, first);
  }
  readVarint(bytes, at, end);
  const { high, low } = cursor;
  // A number that is exact needs no digits of a bigint.
  if (high <= SAFE_INTEGER_MAX) writeDigits(out, high * TWO_POW_32 + low);
  else writeAscii(out, longDigits(signed, high, low));
}

interface LongNumber {
  readonly signed: boolean;
  readonly high: number;
  readonly low: number;
  readonly digits: string;
}

/** Numbers of many digits that were written last, by their low bits: the ids of cluster and member are in every header. */
const remembered: (LongNumber | undefined)[] = new Array(8);

function longDigits(signed: boolean, high: number, low: number): string {
  const slot = low & (remembered.length - 1);
  const known = remembered[slot];
  if (known?.low === low && known.high === high && known.signed === signed) return known.digits;
  const value = (BigInt(high) << 32n) | BigInt(low);
  const digits = String(signed ? BigInt.asIntN(64, value) : value);
  remembered[slot] = { signed, high, low, digits };
  return digits;
}

/** A whole number that is exact. */
function writeDigits(out: ByteWriter, value: number): void {
  if (value < 0) {
    out.byte(MINUS);
    value = -value;
  }
  if (value < 10) return out.byte(0x30 + value);
  writeAscii(out, String(value));
}

function writeAscii(out: ByteWriter, text: string): void {
  out.reserve(text.length);
  for (let i = 0; i < text.length; i += 1) out.bytes[out.length + i] = text.charCodeAt(i);
  out.length += text.length;
}

/** Appends a string in quotes. */
export function writeText(out: ByteWriter, text: string, inStream: boolean): void {
  out.reserve(text.length + 2);
  const { bytes, length } = out;
  bytes[length] = QUOTE;
  let i = 0;
  for (; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e || code === QUOTE || code === BACKSLASH || (inStream && HTML.has(code))) {
      break;
    }
    bytes[length + 1 + i] = code;
  }
  if (i === text.length) {
    bytes[length + 1 + i] = QUOTE;
    out.length = length + i + 2;
    return;
  }
  let escaped = JSON.stringify(text);
  if (inStream) escaped = escaped.replace(HTML_CHARACTERS, escapeCharacter);
  out.write(encoder.encode(escaped));
}

/** What Go's encoding/json escapes by default, so that JSON may stand within HTML and JavaScript. */
const HTML_CHARACTERS = /[<>&\u2028\u2029]/g;
const HTML: ReadonlySet<number> = new Set([0x3c, 0x3e, 0x26]);

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
