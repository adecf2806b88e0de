import type { HeaderField, RequestHead } from "./api.ts";
import { BlockCache } from "./block_cache.ts";
import { type HeaderSink, HpackDecoder } from "./hpack/decoder.ts";
import { CLASS_UNKNOWN, type FieldClass, type HeaderEntry, TABLE_BYTES_DEFAULT } from "./hpack/table.ts";
import type { Http2Limits } from "./limits.ts";

/**
 * Why a block gives no head. "compression" ends the connection; "malformed" is an error of the stream;
 * "too large" is a valid block whose fields exceed our limits.
 */
export type HeadFailure = "compression" | "malformed" | "too large";

/** A request's head as the engine needs it. */
export interface DecodedRequestHead extends RequestHead {
  /** Octets that the body must have, or -1 when the client did not say. */
  readonly contentLength: number;
}

/** A response's head; shared by responses whose blocks were the same bytes. */
export interface ResponseHead {
  readonly status: number;
  readonly fields: readonly HeaderField[];
  readonly contentLength: number;
  memo: unknown;
}

const CLASS_PLAIN: FieldClass = 1;
const CLASS_CONTENT_LENGTH: FieldClass = 2;
const CLASS_METHOD: FieldClass = 3;
const CLASS_SCHEME: FieldClass = 4;
const CLASS_AUTHORITY: FieldClass = 5;
const CLASS_PATH: FieldClass = 6;
const CLASS_STATUS: FieldClass = 7;
const CLASS_INVALID: FieldClass = 8;

/** Pseudo-headers, and the fields that HTTP/2 forbids because they speak of an HTTP/1.1 connection. */
const classOfName: ReadonlyMap<string, FieldClass> = new Map([
  [":method", CLASS_METHOD],
  [":scheme", CLASS_SCHEME],
  [":authority", CLASS_AUTHORITY],
  [":path", CLASS_PATH],
  [":status", CLASS_STATUS],
  ["content-length", CLASS_CONTENT_LENGTH],
  ["connection", CLASS_INVALID],
  ["proxy-connection", CLASS_INVALID],
  ["keep-alive", CLASS_INVALID],
  ["transfer-encoding", CLASS_INVALID],
  ["upgrade", CLASS_INVALID],
]);

/** 1 for the characters of a field name: those of a token (RFC 9110 section 5.6.2) without upper case. */
const nameCharacters = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
  nameCharacters[character.charCodeAt(0)] = 1;
}

function classify({ field: [name, value] }: HeaderEntry): FieldClass {
  for (let i = 0; i < value.length; i += 1) {
    // Blanks around a value are let pass, as grpc-go does: metadata has them, and they harm nobody.
    const code = value.charCodeAt(i);
    if (code === 0 || code === 10 || code === 13) return CLASS_INVALID;
  }
  const known = classOfName.get(name);
  if (known === CLASS_CONTENT_LENGTH) return /^[0-9]{1,15}$/.test(value) ? known : CLASS_INVALID;
  if (known !== undefined) return known;
  if (name === "te") return value === "trailers" ? CLASS_PLAIN : CLASS_INVALID;
  if (name.length === 0) return CLASS_INVALID;
  for (let i = 0; i < name.length; i += 1) if (nameCharacters[name.charCodeAt(i)] !== 1) return CLASS_INVALID;
  return CLASS_PLAIN;
}

const NO_FIELDS: readonly HeaderField[] = [];

/** Turns the header blocks of one connection into heads and trailers, and checks them (RFC 9113 section 8). */
export class HeadReader implements HeaderSink {
  readonly #decoder = new HpackDecoder(TABLE_BYTES_DEFAULT);
  readonly #requests = new BlockCache<DecodedRequestHead>();
  readonly #responses = new BlockCache<ResponseHead>();
  readonly #trailers = new BlockCache<readonly HeaderField[]>();
  readonly #listBytesMax: number;
  readonly #fieldsMax: number;

  // What the block in work has shown so far.
  #fields: HeaderField[] = [];
  #listBytes = 0;
  #count = 0;
  #valid = true;
  #pseudo = 0;
  #method = "";
  #scheme = "";
  #authority = "";
  #path = "";
  #status = "";
  #contentLength = -1;

  constructor(limits: Http2Limits) {
    this.#listBytesMax = limits.headerListBytesMax;
    this.#fieldsMax = limits.headerFieldsMax;
  }

  /** The head of a request from the complete block `bytes[start, end)`. */
  readRequest(bytes: Uint8Array, start: number, end: number): DecodedRequestHead | HeadFailure {
    const version = this.#decoder.table.version;
    const known = this.#requests.find(bytes, start, end, version);
    if (known !== undefined) return known;
    const failure = this.#gather(bytes, start, end);
    if (failure !== undefined) return failure;
    const connect = this.#method === "CONNECT";
    const needed = connect ? bit(CLASS_METHOD) : bit(CLASS_METHOD) | bit(CLASS_SCHEME) | bit(CLASS_PATH);
    if ((this.#pseudo & ~bit(CLASS_AUTHORITY)) !== needed) return "malformed";
    if (!connect && this.#path === "") return "malformed";
    const head: DecodedRequestHead = {
      method: this.#method,
      scheme: this.#scheme,
      authority: this.#authority,
      path: this.#path,
      fields: this.#fields,
      contentLength: this.#contentLength,
      memo: undefined,
    };
    this.#remember(this.#requests, bytes, start, end, version, head);
    return head;
  }

  readResponse(bytes: Uint8Array, start: number, end: number): ResponseHead | HeadFailure {
    const version = this.#decoder.table.version;
    const known = this.#responses.find(bytes, start, end, version);
    if (known !== undefined) return known;
    const failure = this.#gather(bytes, start, end);
    if (failure !== undefined) return failure;
    if (this.#pseudo !== bit(CLASS_STATUS) || !/^[1-9][0-9]{2}$/.test(this.#status)) return "malformed";
    const head: ResponseHead = {
      status: Number(this.#status),
      fields: this.#fields,
      contentLength: this.#contentLength,
      memo: undefined,
    };
    this.#remember(this.#responses, bytes, start, end, version, head);
    return head;
  }

  /** The fields of a block that ends a message; the same object again for the same bytes. */
  readTrailers(bytes: Uint8Array, start: number, end: number): readonly HeaderField[] | HeadFailure {
    const version = this.#decoder.table.version;
    const known = this.#trailers.find(bytes, start, end, version);
    if (known !== undefined) return known;
    const failure = this.#gather(bytes, start, end);
    if (failure !== undefined) return failure;
    if (this.#pseudo !== 0) return "malformed";
    this.#remember(this.#trailers, bytes, start, end, version, this.#fields);
    return this.#fields;
  }

  /** Decodes a block that nobody wants, since the blocks after it build on it. False: a compression error. */
  skip(bytes: Uint8Array, start: number, end: number): boolean {
    return this.#gather(bytes, start, end) !== "compression";
  }

  onHeader(entry: HeaderEntry): void {
    this.#listBytes += entry.size;
    this.#count += 1;
    // Beyond the limits the rest is decoded for the table's sake and not looked at.
    if (this.#listBytes > this.#listBytesMax || this.#count > this.#fieldsMax) return;
    if (entry.class === CLASS_UNKNOWN) entry.class = classify(entry);
    if (entry.class === CLASS_PLAIN) {
      this.#fields.push(entry.field);
    } else if (entry.class === CLASS_INVALID) {
      this.#valid = false;
    } else if (entry.class === CLASS_CONTENT_LENGTH) {
      const length = Number(entry.field[1]);
      if (this.#contentLength >= 0 && this.#contentLength !== length) this.#valid = false;
      this.#contentLength = length;
      this.#fields.push(entry.field);
    } else {
      this.#takePseudo(entry);
    }
  }

  #takePseudo(entry: HeaderEntry): void {
    // Each at most once, and none after another field.
    if ((this.#pseudo & bit(entry.class)) !== 0 || this.#fields.length > 0) this.#valid = false;
    this.#pseudo |= bit(entry.class);
    const value = entry.field[1];
    if (entry.class === CLASS_METHOD) this.#method = value;
    else if (entry.class === CLASS_SCHEME) this.#scheme = value;
    else if (entry.class === CLASS_AUTHORITY) this.#authority = value;
    else if (entry.class === CLASS_PATH) this.#path = value;
    else this.#status = value;
  }

  #gather(bytes: Uint8Array, start: number, end: number): HeadFailure | undefined {
    this.#fields = [];
    this.#listBytes = 0;
    this.#count = 0;
    this.#valid = true;
    this.#pseudo = 0;
    this.#method = "";
    this.#scheme = "";
    this.#authority = "";
    this.#path = "";
    this.#status = "";
    this.#contentLength = -1;
    if (!this.#decoder.decode(bytes, start, end, this)) return "compression";
    if (this.#listBytes > this.#listBytesMax || this.#count > this.#fieldsMax) return "too large";
    if (!this.#valid) return "malformed";
    if (this.#fields.length === 0) this.#fields = NO_FIELDS as HeaderField[];
    return undefined;
  }

  #remember<Head>(
    cache: BlockCache<Head>,
    bytes: Uint8Array,
    start: number,
    end: number,
    versionBefore: number,
    head: Head,
  ): void {
    if (this.#decoder.table.version !== versionBefore) return;
    const referredToDynamic = this.#decoder.referredToDynamic;
    cache.store(bytes, start, end, { head, version: versionBefore, referredToDynamic });
  }
}

function bit(fieldClass: FieldClass): number {
  return 1 << fieldClass;
}
