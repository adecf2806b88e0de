import { ByteWriter } from "../base/byte_writer.ts";
import { beginMessage, endMessage, writeInteger } from "../base/wire.ts";
import { decodeBase64 } from "../base/base64.ts";
import type { FieldPlan, MessagePlan } from "./json_plan.ts";

/** Text that is no JSON of the message it should be. The fault is the sender's; the words are protojson's. */
export class JsonError extends Error {
  override readonly name = "JsonError";
}

/**
 * How deep objects and arrays may nest. A transaction takes three levels for each that it is nested in, and
 * no more than some 127 of them can be.
 */
const DEPTH_MAX = 500;
/** Bytes of a refused value that an error repeats. */
const QUOTED_BYTES_MAX = 64;

const QUOTE = 0x22;
const COMMA = 0x2c;
const COLON = 0x3a;
const BACKSLASH = 0x5c;
const MINUS = 0x2d;
const ZERO = 0x30;
const NINE = 0x39;
const ARRAY_OPEN = 0x5b;
const ARRAY_CLOSE = 0x5d;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;
const EXACT_DIGITS = 15;

/**
 * Turns the protobuf JSON of a message into its protobuf bytes, in one pass without objects in between: there
 * is nothing for `__proto__` to change, and integers of 64 bits stay exact. What is accepted is what Go's
 * protojson accepts (https://protobuf.dev/programming-guides/json/): both spellings of a field's name, enums
 * by name and number, integers as numbers and strings; what it ignores is ignored: unknown fields, unknown
 * enum names, null.
 */
export class JsonReader {
  readonly #out = new ByteWriter(4096);
  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;
  #at = 0;
  #end = 0;
  #depth = 0;

  /**
   * The protobuf bytes of the JSON object `bytes[start, end)`; no bytes at all stand for an empty one. Throws
   * `JsonError`.
   */
  read(plan: MessagePlan, bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array {
    this.#bytes = bytes;
    this.#start = start;
    this.#at = start;
    this.#end = end;
    this.#depth = 0;
    this.#out.clear();
    this.#skipSpace();
    if (this.#at < end) {
      this.#message(plan);
      this.#skipSpace();
      if (this.#at < end) throw this.#unexpected();
    }
    this.#bytes = new Uint8Array(0);
    return this.#out.toBytes();
  }

  #message(plan: MessagePlan): void {
    this.#expect(OBJECT_OPEN);
    this.#enter();
    let seen = 0;
    let separator = false;
    for (;;) {
      const next = this.#peek();
      if (next === OBJECT_CLOSE) break;
      if (separator) this.#expect(COMMA);
      separator = true;
      const nameAt = this.#skipSpace();
      const field = this.#fieldName(plan);
      this.#expect(COLON);
      if (field === undefined) {
        this.#skipValue();
        continue;
      }
      if ((seen & field.ownBit) !== 0) {
        throw this.#error(nameAt, `duplicate field ${this.#quoted(nameAt)}`);
      }
      seen |= field.ownBit;
      if (this.#peek() === 0x6e) {
        this.#literal("null");
        continue;
      }
      if ((seen & field.oneofBit) !== 0) {
        const text = `error parsing ${this.#quoted(nameAt)}, oneof ${field.oneofName} is already set`;
        throw this.#error(nameAt, text);
      }
      seen |= field.oneofBit;
      if (field.repeated) this.#list(field);
      else this.#value(field, field.explicit);
    }
    this.#at += 1;
    this.#depth -= 1;
  }

  #list(field: FieldPlan): void {
    this.#expect(ARRAY_OPEN);
    this.#enter();
    for (let first = true; this.#peek() !== ARRAY_CLOSE; first = false) {
      if (!first) this.#expect(COMMA);
      this.#value(field, true);
    }
    this.#at += 1;
    this.#depth -= 1;
  }

  /** Zeros and empty values are left out unless `explicit`. */
  #value(field: FieldPlan, explicit: boolean): void {
    const out = this.#out;
    switch (field.kind) {
      case "message": {
        const start = beginMessage(out, field.tag);
        this.#message(field.message!);
        endMessage(out, start);
        return;
      }
      case "bytes":
        return this.#bytesValue(field, explicit);
      case "string": {
        const at = this.#skipSpace();
        if (this.#peek() !== QUOTE) throw this.#invalid(field, at);
        const text = this.#string();
        if (text === "" && !explicit) return;
        const encoded = encoder.encode(text);
        out.varint(field.tag);
        out.varint(encoded.length);
        return out.write(encoded);
      }
      case "bool": {
        const at = this.#skipSpace();
        const isTrue = this.#peek() === 0x74;
        if (!isTrue && this.#peek() !== 0x66) throw this.#invalid(field, at);
        this.#literal(isTrue ? "true" : "false");
        if (isTrue || explicit) writeInteger(out, field.tag, isTrue ? 1 : 0);
        return;
      }
      case "enum": {
        const at = this.#skipSpace();
        const value = this.#peek() === QUOTE
          ? field.enumNumbers.get(this.#string())
          : this.#integer(field, at);
        if (value === undefined) return; // A name of a later version.
        if (explicit || value !== 0) writeInteger(out, field.tag, value);
        return;
      }
      default: {
        const at = this.#skipSpace();
        const value = this.#integer(field, at);
        if (explicit || (value !== 0 && value !== 0n)) writeInteger(out, field.tag, value);
      }
    }
  }

  #bytesValue(field: FieldPlan, explicit: boolean): void {
    const start = this.#skipSpace();
    if (this.#peek() !== QUOTE) throw this.#invalid(field, start);
    const out = this.#out;
    const before = out.length;
    const end = this.#bytes.indexOf(QUOTE, start + 1);
    if (end < 0 || end >= this.#end) throw this.#cutShort();
    out.varint(field.tag);
    let length = decodeBase64(this.#bytes, start + 1, end, out);
    if (length === undefined) {
      // An escaped slash is well-formed JSON; everything else that is no base64 is refused.
      const text = encoder.encode(this.#string());
      length = decodeBase64(text, 0, text.length, out);
      if (length === undefined) throw this.#invalid(field, start);
    } else this.#at = end + 1;
    if (length === 0 && !explicit) out.length = before;
  }

  /** An integer as a number or in a string, whole, and in the range of its kind. */
  #integer(field: FieldPlan, start: number): number | bigint {
    const bytes = this.#bytes;
    const isQuoted = this.#peek() === QUOTE;
    let at = isQuoted ? start + 1 : start;
    const isNegative = bytes[at] === MINUS;
    if (isNegative) at += 1;
    const firstDigit = at;
    let value = 0;
    for (; at < this.#end; at += 1) {
      const byte = bytes[at]!;
      if (byte < ZERO || byte > NINE) break;
      value = value * 10 + (byte - ZERO);
    }
    const digits = at - firstDigit;
    const isPlain = digits > 0 && digits <= EXACT_DIGITS && (digits === 1 || bytes[firstDigit] !== ZERO) &&
      (isQuoted ? bytes[at] === QUOTE : at < this.#end && isDelimiter(bytes[at]!));
    if (isPlain) {
      this.#at = isQuoted ? at + 1 : at;
      return this.#inRange(field, isNegative && value !== 0 ? -value : value, start);
    }
    const text = isQuoted ? this.#string() : this.#numberText(field, start);
    const exact = wholeNumber(text);
    if (exact === undefined) throw this.#invalid(field, start);
    return this.#inRange(field, exact, start);
  }

  #inRange(field: FieldPlan, value: number | bigint, start: number): number | bigint {
    const [min, max] = RANGES[field.kind as keyof typeof RANGES];
    if (value < min || value > max) throw this.#invalid(field, start);
    return value;
  }

  /** The characters of a number, which must be one as JSON has it. */
  #numberText(field: FieldPlan, start: number): string {
    let at = start;
    while (at < this.#end && !isDelimiter(this.#bytes[at]!)) at += 1;
    const text = lenientDecoder.decode(this.#bytes.subarray(start, at));
    if (!JSON_NUMBER.test(text)) {
      if (start === at || /^[-0-9"{[tfn]/.test(text)) throw this.#invalid(field, start);
      throw this.#unexpected();
    }
    this.#at = at;
    return text;
  }

  /** Reads the name of a member; undefined when the message has no such field. */
  #fieldName(plan: MessagePlan): FieldPlan | undefined {
    const start = this.#skipSpace() + 1;
    if (this.#peek() !== QUOTE) throw this.#unexpected();
    const bytes = this.#bytes;
    let end = start;
    while (end < this.#end && bytes[end] !== QUOTE) end += 1;
    if (end === this.#end) throw this.#cutShort();
    const length = end - start;
    const names = plan.namesOfLength[length];
    if (names !== undefined) {
      next: for (const name of names) {
        for (let i = 0; i < length; i += 1) if (bytes[start + i] !== name.bytes[i]) continue next;
        this.#at = end + 1;
        return name.field;
      }
    }
    this.#at = start - 1;
    if (this.#skipPlainString()) return undefined;
    const text = this.#string(); // Escapes may have hidden a name that is known.
    return plan.namesOfLength[text.length]?.find((name) => name.text === text)?.field;
  }

  /** Reads a string, with its escapes undone. */
  #string(): string {
    const start = this.#at;
    const bytes = this.#bytes;
    let isPlain = true;
    let at = start + 1;
    for (;; at += 1) {
      if (at >= this.#end) throw this.#cutShort();
      const byte = bytes[at]!;
      if (byte === QUOTE) break;
      if (byte < 0x20) throw this.#error(at, "invalid character in a string");
      if (byte === BACKSLASH) {
        isPlain = false;
        at += 1;
      }
    }
    this.#at = at + 1;
    let text: string;
    try {
      text = decoder.decode(bytes.subarray(start + 1, at));
      if (!isPlain) text = JSON.parse(`"${text}"`) as string;
    } catch {
      throw this.#error(start, "invalid escape or UTF-8 in a string");
    }
    if (LONE_SURROGATE.test(text)) throw this.#error(start, "invalid surrogate pair in a string");
    return text;
  }

  /** Reads over a value of any kind, which must be well-formed. */
  #skipValue(): void {
    switch (this.#peek()) {
      case QUOTE:
        return this.#skipString();
      case OBJECT_OPEN:
        return this.#skipMembers(OBJECT_CLOSE);
      case ARRAY_OPEN:
        return this.#skipMembers(ARRAY_CLOSE);
      case 0x74:
        return this.#literal("true");
      case 0x66:
        return this.#literal("false");
      case 0x6e:
        return this.#literal("null");
      default: {
        if (this.#skipPlainNumber()) return;
        const start = this.#at;
        while (this.#at < this.#end && !isDelimiter(this.#bytes[this.#at]!)) this.#at += 1;
        if (JSON_NUMBER.test(lenientDecoder.decode(this.#bytes.subarray(start, this.#at)))) return;
        this.#at = start;
        throw this.#unexpected();
      }
    }
  }

  #skipString(): void {
    if (!this.#skipPlainString()) this.#string();
  }

  /** Reads over a string that is ASCII without escapes; false, and nothing read, when it is another one. */
  #skipPlainString(): boolean {
    for (let at = this.#at + 1; at < this.#end; at += 1) {
      const byte = this.#bytes[at]!;
      if (byte === QUOTE) {
        this.#at = at + 1;
        return true;
      }
      if (byte < 0x20 || byte > 0x7e || byte === BACKSLASH) return false;
    }
    throw this.#cutShort();
  }

  /** Reads over a number that is digits alone; false, and nothing read, when it is another one. */
  #skipPlainNumber(): boolean {
    let at = this.#at;
    while (at < this.#end && this.#bytes[at]! >= ZERO && this.#bytes[at]! <= NINE) at += 1;
    const digits = at - this.#at;
    const isPlain = digits > 0 && (digits === 1 || this.#bytes[this.#at] !== ZERO) && at < this.#end &&
      isDelimiter(this.#bytes[at]!);
    if (isPlain) this.#at = at;
    return isPlain;
  }

  #skipMembers(close: number): void {
    this.#at += 1;
    this.#enter();
    for (let first = true; this.#peek() !== close; first = false) {
      if (!first) this.#expect(COMMA);
      if (close === OBJECT_CLOSE) {
        if (this.#peek() !== QUOTE) throw this.#unexpected();
        this.#skipString();
        this.#expect(COLON);
      }
      this.#skipValue();
    }
    this.#at += 1;
    this.#depth -= 1;
  }

  #literal(text: "true" | "false" | "null"): void {
    const end = this.#at + text.length;
    for (let i = 0; i < text.length; i += 1) {
      if (this.#at + i >= this.#end) throw this.#cutShort();
      if (this.#bytes[this.#at + i] !== text.charCodeAt(i)) throw this.#unexpected();
    }
    if (end < this.#end && !isDelimiter(this.#bytes[end]!)) throw this.#unexpected();
    this.#at = end;
  }

  #enter(): void {
    this.#depth += 1;
    if (this.#depth > DEPTH_MAX) throw new JsonError("exceeded max depth");
  }

  #expect(byte: number): void {
    if (this.#peek() !== byte) throw this.#unexpected();
    this.#at += 1;
  }

  /** The next byte that is no white space, which stays where it is. */
  #peek(): number {
    const at = this.#skipSpace();
    if (at >= this.#end) throw this.#cutShort();
    return this.#bytes[at]!;
  }

  #skipSpace(): number {
    let at = this.#at;
    for (; at < this.#end; at += 1) {
      const byte = this.#bytes[at]!;
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) break;
    }
    this.#at = at;
    return at;
  }

  #invalid(field: FieldPlan, start: number): JsonError {
    return this.#error(
      start,
      `invalid value for ${field.kind} field ${field.jsonName}: ${this.#quoted(start)}`,
    );
  }

  #unexpected(): JsonError {
    return this.#error(this.#at, `unexpected token ${this.#quoted(this.#at)}`, "syntax error ");
  }

  #cutShort(): JsonError {
    return new JsonError("unexpected EOF");
  }

  /** What stands at a place, up to the end of the value or name. */
  #quoted(start: number): string {
    const bytes = this.#bytes;
    const isString = bytes[start] === QUOTE;
    let end = start + 1;
    const max = Math.min(start + QUOTED_BYTES_MAX, this.#end);
    while (end < max && (isString ? bytes[end] !== QUOTE : !isDelimiter(bytes[end]!))) end += 1;
    return lenientDecoder.decode(bytes.subarray(start, isString && end < max ? end + 1 : end));
  }

  #error(at: number, text: string, prefix = ""): JsonError {
    let line = 1;
    let lineStart = this.#start;
    for (let i = lineStart; i < at; i += 1) {
      if (this.#bytes[i] !== 0x0a) continue;
      line += 1;
      lineStart = i + 1;
    }
    return new JsonError(`proto: ${prefix}(line ${line}:${at - lineStart + 1}): ${text}`);
  }
}

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;
const LONE_SURROGATE = /\p{Surrogate}/u;
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const lenientDecoder = new TextDecoder();
const encoder = new TextEncoder();

const RANGES = {
  int32: [-0x8000_0000, 0x7fff_ffff],
  enum: [-0x8000_0000, 0x7fff_ffff],
  uint32: [0, 0xffff_ffff],
  int64: [-(1n << 63n), (1n << 63n) - 1n],
  uint64: [0, (1n << 64n) - 1n],
} as const satisfies Record<string, readonly [number | bigint, number | bigint]>;

/** Digits of the largest 64-bit integer. */
const DIGITS_MAX = 20;

/** The integer that a JSON number stands for, exactly; undefined when it is none or far out of range. */
function wholeNumber(text: string): bigint | undefined {
  if (!JSON_NUMBER.test(text)) return undefined;
  const [, sign, whole, fraction = "", exponent = "0"] = NUMBER_PARTS.exec(text)!;
  const written = (whole! + fraction).replace(/^0+/, "");
  const digits = written.replace(/0+$/, "");
  if (digits === "") return 0n;
  const zeros = Number(exponent) - fraction.length + (written.length - digits.length);
  if (zeros < 0 || digits.length + zeros > DIGITS_MAX) return undefined;
  const value = BigInt(digits + "0".repeat(zeros));
  return sign === "-" ? -value : value;
}

const NUMBER_PARTS = /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/** Whether a byte may follow a number or a literal. */
function isDelimiter(byte: number): boolean {
  return byte <= 0x20 || byte === COMMA || byte === OBJECT_CLOSE || byte === ARRAY_CLOSE || byte === COLON ||
    byte === OBJECT_OPEN || byte === ARRAY_OPEN || byte === QUOTE;
}
