import { utf8 } from "../base/bytes.ts";
import type { HeaderField } from "./api.ts";

/** Reason phrases of RFC 9110 section 15, for the statuses that are sent here. */
const REASONS: Readonly<Record<number, string>> = {
  100: "Continue",
  101: "Switching Protocols",
  200: "OK",
  201: "Created",
  202: "Accepted",
  204: "No Content",
  206: "Partial Content",
  301: "Moved Permanently",
  302: "Found",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Content Too Large",
  414: "URI Too Long",
  415: "Unsupported Media Type",
  417: "Expectation Failed",
  421: "Misdirected Request",
  426: "Upgrade Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  499: "Client Closed Request",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
};

/**
 * Status and fields of a response, without those that frame its body. Heads that are sent often are made once:
 * they remember their bytes.
 */
export class ResponseHead {
  readonly status: number;
  readonly fields: readonly HeaderField[];
  /** Decimal digits of the last body's length: the next one is likely to have as many. */
  lengthDigits = 3;
  #date = "";
  #bytes: Uint8Array | undefined;

  /** Throws a TypeError when a field could be taken for something else on the wire. */
  constructor(status: number, fields: readonly HeaderField[]) {
    this.status = status;
    this.fields = fields;
    for (const [name, value] of fields) {
      if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) {
        throw new TypeError(`Cannot send the header field ${JSON.stringify(name)}: it is malformed`);
      }
    }
  }

  /** Whether a response of this status can have a body. */
  get hasBody(): boolean {
    return this.status >= 200 && this.status !== 204 && this.status !== 304;
  }

  /** The status line and the fields with that of the date, each with its line's end. */
  bytesAt(date: string): Uint8Array {
    if (this.#bytes !== undefined && date === this.#date) return this.#bytes;
    let text = `HTTP/1.1 ${this.status} ${REASONS[this.status] ?? "Unknown"}\r\n`;
    for (const [name, value] of this.fields) text += `${name}: ${value}\r\n`;
    if (date !== "") text += `Date: ${date}\r\n`;
    this.#date = date;
    this.#bytes = latin1(text);
    return this.#bytes;
  }
}

const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

function latin1(text: string): Uint8Array {
  // deno-lint-ignore no-control-regex
  if (/^[\x00-\x7f]*$/.test(text)) return utf8(text);
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** A plain-text response that says no more than its status. */
export function plainBody(status: number): Uint8Array {
  return utf8(`${status} ${REASONS[status] ?? "Unknown"}`);
}
