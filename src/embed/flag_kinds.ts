import { formatFeatureGates, type GateSettings, parseFeatureGates, parseGoBool } from "./feature_gates.ts";
import { formatGoDuration, parseGoDuration } from "../base/go_duration.ts";
import { parseUrls } from "./urls.ts";

/** What the value of a flag is, and how it is read and written. */
export interface FlagKind<T> {
  /** How the value stands in a configuration file. */
  readonly fileType: "string" | "boolean" | "integer" | "nanoseconds" | "list";
  /** Booleans may be given without a value. */
  readonly isBoolean?: boolean;
  /** `before` is the value so far. Throws `SyntaxError` with the text that etcd has for it. */
  parse(text: string, before: T): T;
  format(value: T): string;
}

export const text: FlagKind<string> = {
  fileType: "string",
  parse: (value) => value,
  format: (value) => value,
};

export const bool: FlagKind<boolean> = {
  fileType: "boolean",
  isBoolean: true,
  parse(value) {
    const result = parseGoBool(value);
    if (result === undefined) throw new SyntaxError("parse error");
    return result;
  },
  format: String,
};

export const int: FlagKind<number> = integer(-(2n ** 63n), 2n ** 63n - 1n);
export const uint: FlagKind<number> = integer(0n, 2n ** 64n - 1n);

export const uint32: FlagKind<number> = {
  ...uint,
  parse(value) {
    const cause = (reason: string) => `strconv.ParseUint: parsing ${JSON.stringify(value)}: ${reason}`;
    const result = parseGoInteger(value, false);
    if (result === undefined) throw new SyntaxError(cause("invalid syntax"));
    if (result >= 2n ** 32n) throw new SyntaxError(cause("value out of range"));
    return Number(result);
  },
};

/** Milliseconds. */
export const duration: FlagKind<number> = {
  fileType: "nanoseconds",
  parse(value) {
    try {
      return parseGoDuration(value);
    } catch {
      throw new SyntaxError("parse error");
    }
  },
  format: formatGoDuration,
};

/** URLs to listen on or to advertise; "" leaves what was there. */
export const urls: FlagKind<readonly string[]> = {
  fileType: "string",
  parse: (value, before) => value === "" ? before : parseUrls(value),
  format: (value) => value.join(","),
};

/** Web origins, or "*". */
export const origins: FlagKind<readonly string[]> = {
  ...urls,
  parse: (value, before) => value === "*" ? [...new Set([...before, "*"])] : parseUrls(value),
};

export const list: FlagKind<readonly string[]> = {
  fileType: "list",
  parse: (value) => value.split(","),
  format: (value) => value.join(","),
};

/** A list whose order has no meaning. */
export const set: FlagKind<readonly string[]> = {
  ...list,
  parse: (value) => [...new Set(value.split(","))].sort(),
};

/** A set that is one string in a configuration file. */
export const commaSet: FlagKind<readonly string[]> = { ...set, fileType: "string" };

export const gates: FlagKind<GateSettings> = {
  fileType: "string",
  parse: parseFeatureGates,
  format: formatFeatureGates,
};

/** Flags of earlier releases: any value, and none, is taken and means nothing. */
export const ignored: FlagKind<boolean> = { ...bool, parse: () => true, format: () => "" };

export function choice<const T extends string>(...values: readonly T[]): FlagKind<T> {
  return {
    fileType: "string",
    parse(value) {
      if (!values.includes(value as T)) throw new SyntaxError("invalid value");
      return value as T;
    },
    format: (value) => value,
  };
}

export function choices(...values: readonly string[]): FlagKind<readonly string[]> {
  return {
    fileType: "string",
    parse(text, before) {
      const chosen = text.split(",");
      for (const value of chosen) {
        if (!values.includes(value)) throw new SyntaxError(`invalid value ${JSON.stringify(value)}`);
      }
      return [...before, ...chosen].sort();
    },
    format: (value) => value.join(","),
  };
}

function integer(min: bigint, max: bigint): FlagKind<number> {
  return {
    fileType: "integer",
    parse(value) {
      const result = parseGoInteger(value, min < 0n);
      if (result === undefined) throw new SyntaxError("parse error");
      if (result < min || result > max) throw new SyntaxError("value out of range");
      return saturate(result);
    },
    format: String,
  };
}

/** No flag means another thing past 2^53, so that a number is enough to keep its value. */
function saturate(value: bigint): number {
  const limit = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > limit ? limit : value < -limit ? -limit : value);
}

/** Reads an integer literal of Go: decimal, 0x, 0o, 0b or a leading 0 for octal, with underscores. */
function parseGoInteger(value: string, signed: boolean): bigint | undefined {
  const match =
    /^([-+]?)(0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])+|0|[1-9](?:_?\d)*)$/
      .exec(value);
  if (match === null || (match[1] !== "" && !signed)) return undefined;
  const digits = match[2]!.replaceAll("_", "");
  const magnitude = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  return match[1] === "-" ? -magnitude : magnitude;
}
