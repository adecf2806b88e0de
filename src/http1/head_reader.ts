import { binaryString } from "../base/binary_string.ts";
import type { HeaderField } from "./api.ts";
import type { Http1Limits } from "./limits.ts";

/** Everything before a request's body. Requests whose heads were the same bytes share one object. */
export interface RequestHead {
  readonly method: string;
  readonly target: string;
  /** 0 or 1, of HTTP/1.0 and HTTP/1.1. */
  readonly minorVersion: number;
  readonly fields: readonly HeaderField[];
  /** Octets of the body; `CHUNKED` when it says itself where it ends. */
  readonly bodyLength: number;
  /** The connection may carry another request afterwards. */
  readonly keepAlive: boolean;
  /** The client waits for "100 Continue" before it sends the body. */
  readonly expectsContinue: boolean;
}

export const CHUNKED = -1;

/** The status of the response that refuses a head. */
export type HeadRefusal = 400 | 414 | 417 | 431 | 501 | 505;

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const TAB = 0x09;
const COLON = 0x3a;
const ZERO = 0x30;
const DELETE = 0x7f;

/** Characters of methods and field names (RFC 9110 section 5.6.2). */
const isToken = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") {
  isToken[character.charCodeAt(0)] = 1;
}
/** What follows the target, but for the last digit of the version. */
const VERSION = Uint8Array.from(" HTTP/1.", (character) => character.charCodeAt(0));

const HOST = /^(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]*)?$/;
const CONTENT_LENGTH = /^[0-9]{1,15}$/;

/** Heads of one connection that are remembered, and the length up to which they are. */
const KEPT_HEADS = 4;
const KEPT_BYTES_MAX = 1024;

interface KeptHead {
  readonly bytes: Uint8Array;
  readonly head: RequestHead;
}

/**
 * Reads request heads (RFC 9112 sections 2 to 6), strictly: whatever two implementations could understand in two
 * ways is refused, for that is what request smuggling is made of. Lines end with CR LF, no line is folded, no
 * space precedes a colon, and a body has one length.
 * A client repeats itself: a head of the same bytes as one of the last few is not read again.
 */
export class HeadReader {
  /** After a head has been read: where the body begins. */
  end = 0;
  readonly #limits: Http1Limits;
  readonly #kept: KeptHead[] = [];
  #nextKept = 0;
  /** Where the fields of the head at hand begin and end: name, name's end, value, value's end. */
  readonly #places: number[] = [];

  constructor(limits: Http1Limits) {
    this.#limits = limits;
  }

  /** The head that begins at `start`; undefined when it goes on behind `end`. */
  read(bytes: Uint8Array, start: number, end: number): RequestHead | HeadRefusal | undefined {
    for (const kept of this.#kept) {
      if (!beginsWith(bytes, start, end, kept.bytes)) continue;
      this.end = start + kept.bytes.length;
      return kept.head;
    }
    const limit = Math.min(end, start + this.#limits.headBytesMax);
    const head = this.#parse(bytes, start, limit);
    if (head === undefined && limit < end) return 431;
    if (typeof head === "object" && this.end - start <= KEPT_BYTES_MAX) {
      this.#kept[this.#nextKept] = { bytes: bytes.slice(start, this.end), head };
      this.#nextKept = (this.#nextKept + 1) % KEPT_HEADS;
    }
    return head;
  }

  #parse(bytes: Uint8Array, start: number, limit: number): RequestHead | HeadRefusal | undefined {
    let at = start;
    // One empty line too many after the request before is forgiven.
    if (bytes[at] === CR) {
      if (at + 1 === limit) return undefined;
      if (bytes[at + 1] !== LF) return 400;
      at += 2;
    }
    const methodAt = at;
    while (at < limit && isToken[bytes[at]!] === 1) at += 1;
    if (at === limit) return undefined;
    if (bytes[at] !== SP || at === methodAt) return 400;
    const targetAt = at + 1;
    const targetLimit = Math.min(limit, targetAt + this.#limits.targetBytesMax + 1);
    at = targetAt;
    while (at < targetLimit && bytes[at]! > SP && bytes[at]! < DELETE) at += 1;
    if (at - targetAt > this.#limits.targetBytesMax) return 414;
    if (at === limit) return undefined;
    if (at === targetAt) return 400;
    const targetEnd = at;
    for (let i = 0; i < VERSION.length; i += 1, at += 1) {
      if (at === limit) return undefined;
      if (bytes[at] !== VERSION[i]) return wrongVersion(bytes, targetEnd, limit);
    }
    if (at + 3 > limit) return undefined;
    const minorVersion = bytes[at]! - ZERO;
    if (minorVersion < 0 || minorVersion > 9 || bytes[at + 1] !== CR || bytes[at + 2] !== LF) return 400;
    if (minorVersion > 1) return 505;
    const problem = this.#findFields(bytes, at + 3, limit);
    if (problem !== undefined) return problem === 0 ? undefined : problem;
    const text = binaryString(bytes.subarray(start, this.end));
    const method = text.slice(methodAt - start, targetAt - 1 - start);
    const target = text.slice(targetAt - start, targetEnd - start);
    return headOf(method, target, minorVersion, this.#fieldsOf(text, start));
  }

  /** Fills `#places` and sets `end`. Returns what is wrong, or 0 when more bytes are needed. */
  #findFields(bytes: Uint8Array, from: number, limit: number): HeadRefusal | 0 | undefined {
    const places = this.#places;
    places.length = 0;
    let at = from;
    for (;;) {
      if (at === limit) return 0;
      if (bytes[at] === CR) {
        if (at + 1 === limit) return 0;
        if (bytes[at + 1] !== LF) return 400;
        this.end = at + 2;
        return undefined;
      }
      if (places.length === this.#limits.fieldsMax * 4) return 431;
      const nameAt = at;
      while (at < limit && isToken[bytes[at]!] === 1) at += 1;
      if (at === limit) return 0;
      if (bytes[at] !== COLON || at === nameAt) return 400;
      const nameEnd = at;
      at += 1;
      while (at < limit && (bytes[at] === SP || bytes[at] === TAB)) at += 1;
      const valueAt = at;
      while (at < limit && isText(bytes[at]!)) at += 1;
      if (at + 1 >= limit) return at < limit && bytes[at] !== CR ? 400 : 0;
      if (bytes[at] !== CR || bytes[at + 1] !== LF) return 400;
      let valueEnd = at;
      while (valueEnd > valueAt && (bytes[valueEnd - 1] === SP || bytes[valueEnd - 1] === TAB)) valueEnd -= 1;
      places.push(nameAt, nameEnd, valueAt, valueEnd);
      at += 2;
    }
  }

  #fieldsOf(text: string, start: number): HeaderField[] {
    const places = this.#places;
    const fields: HeaderField[] = [];
    for (let i = 0; i < places.length; i += 4) {
      const name = text.slice(places[i]! - start, places[i + 1]! - start).toLowerCase();
      fields.push([name, text.slice(places[i + 2]! - start, places[i + 3]! - start)]);
    }
    return fields;
  }
}

function beginsWith(bytes: Uint8Array, start: number, end: number, prefix: Uint8Array): boolean {
  const { length } = prefix;
  if (end - start < length) return false;
  for (let i = 0; i < length; i += 1) if (bytes[start + i] !== prefix[i]) return false;
  return true;
}

function isText(byte: number): boolean {
  return byte >= SP ? byte !== DELETE : byte === TAB;
}

/** "HTTP/2.0" and the like are a version that is not served, all else is no version. */
function wrongVersion(bytes: Uint8Array, at: number, limit: number): HeadRefusal {
  return /^ HTTP\/\d\.\d\r$/.test(binaryString(bytes.subarray(at, Math.min(limit, at + 10)))) ? 505 : 400;
}

/** What the fields say of the message they belong to (RFC 9112 sections 3.2, 6 and 9). */
function headOf(
  method: string,
  target: string,
  minorVersion: number,
  fields: readonly HeaderField[],
): RequestHead | HeadRefusal {
  if (!isTarget(method, target)) return 400;
  let hosts = 0;
  let bodyLength: number | undefined;
  let isChunked = false;
  let keepAlive = minorVersion === 1;
  let closes = false;
  let expectsContinue = false;
  for (const [name, value] of fields) {
    switch (name) {
      case "host":
        hosts += 1;
        if (!HOST.test(value)) return 400;
        break;
      case "content-length":
        // Also equal ones: whoever sends two has joined messages that were not his.
        if (bodyLength !== undefined || !CONTENT_LENGTH.test(value)) return 400;
        bodyLength = Number(value);
        break;
      case "transfer-encoding":
        if (isChunked || minorVersion === 0) return 400;
        if (value.toLowerCase() !== "chunked") return /chunked/i.test(value) ? 400 : 501;
        isChunked = true;
        break;
      case "connection":
        for (const option of value.toLowerCase().split(",")) {
          if (option.trim() === "close") closes = true;
          else if (option.trim() === "keep-alive") keepAlive = true;
        }
        break;
      case "expect":
        if (value.toLowerCase() !== "100-continue") return 417;
        expectsContinue = minorVersion === 1;
        break;
    }
  }
  if (hosts > 1 || (hosts === 0 && minorVersion === 1)) return 400;
  if (isChunked && bodyLength !== undefined) return 400;
  return {
    method,
    target,
    minorVersion,
    fields,
    bodyLength: isChunked ? CHUNKED : bodyLength ?? 0,
    keepAlive: keepAlive && !closes,
    expectsContinue,
  };
}

/** The forms of RFC 9112 section 3.2. */
function isTarget(method: string, target: string): boolean {
  if (target.charCodeAt(0) === 0x2f) return true;
  if (target === "*") return method === "OPTIONS";
  return method === "CONNECT" || /^https?:\/\/[^/]/i.test(target);
}

/** Values of all fields of a name, joined as RFC 9110 section 5.3 has it. */
export function fieldValue(fields: readonly HeaderField[], name: string): string | undefined {
  let joined: string | undefined;
  for (let i = 0; i < fields.length; i += 1) {
    const field = fields[i]!;
    if (field[0] === name) joined = joined === undefined ? field[1] : `${joined}, ${field[1]}`;
  }
  return joined;
}
