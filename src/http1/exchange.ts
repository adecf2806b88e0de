import { ByteWriter } from "../base/byte_writer.ts";
import { utf8 } from "../base/bytes.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { HttpExchange, RequestBody } from "./api.ts";
import type { Http1Connection } from "./connection.ts";
import { fieldValue, type RequestHead } from "./head_reader.ts";
import type { ResponseHead } from "./response_head.ts";

const CR = 0x0d;
const LF = 0x0a;
const ZERO = 0x30;
const lengthLabel = utf8("Content-Length: ");
const closeLine = utf8("Connection: close\r\n");
const keepAliveLine = utf8("Connection: keep-alive\r\n");
const chunkedLine = utf8("Transfer-Encoding: chunked\r\n");
const lineEnd = utf8("\r\n");
const lastChunk = utf8("0\r\n\r\n");
/** More than the largest body has. */
const LENGTH_DIGITS_MAX = 16;

/** One request on a connection, and its response. */
export class Exchange implements HttpExchange {
  readonly head: RequestHead;
  body!: RequestBody;
  /** Something of the response has been sent, or is about to be. */
  begun = false;
  ended = false;
  /** "100 Continue" has been sent. */
  continued = false;
  bodyIsOpenEnded = false;
  /** Set before the response begins: the connection is closed after it. */
  isLast = false;
  readonly #connection: Http1Connection;
  #persists = false;
  #isChunked = false;
  /** The response has a body that is sent. */
  #sendsBody = true;
  /** Where the reply begins in the output, and where its body does. */
  #replyAt = 0;
  #bodyAt = 0;
  #replyHead: ResponseHead | undefined;

  constructor(connection: Http1Connection, head: RequestHead) {
    this.#connection = connection;
    this.head = head;
  }

  get method(): string {
    return this.head.method;
  }

  get target(): string {
    return this.head.target;
  }

  get peer(): PeerInfo {
    return this.#connection.transport.peer;
  }

  header(name: string): string | undefined {
    return fieldValue(this.head.fields, name);
  }

  /** Pushes back on a client whose body comes faster than it is wanted. */
  pauseBody(paused: boolean): void {
    if (!this.ended) this.#connection.pauseBody(paused);
  }

  /** The client hears no more of this request: it has gone, or its connection is being closed. */
  abort(): void {
    if (this.ended) return;
    this.begun = true;
    this.ended = true;
    this.body.onAbort();
  }

  /** Breaks a response off, so that the client knows it is not complete. */
  destroy(): void {
    if (!this.ended) this.#connection.destroy();
  }

  startReply(head: ResponseHead): ByteWriter {
    if (this.begun) return new ByteWriter(1024); // Its client has gone, or there is a reply already.
    const out = this.#connection.touch();
    this.#replyAt = out.length;
    this.#replyHead = head;
    this.#persists = this.#connection.mayPersist(this);
    this.#startHead(out, head);
    out.write(lengthLabel);
    this.#bodyAt = out.length + head.lengthDigits + 4;
    out.reserve(head.lengthDigits + 4);
    out.length = this.#bodyAt;
    return out;
  }

  cancelReply(): void {
    if (this.#replyHead === undefined) return;
    this.#connection.buffer.length = this.#replyAt;
    this.#replyHead = undefined;
    this.begun = false;
  }

  finishReply(): void {
    const head = this.#replyHead;
    if (head === undefined) return;
    this.#replyHead = undefined;
    const out = this.#connection.buffer;
    const length = out.length - this.#bodyAt;
    const digits = decimalDigits(length);
    if (digits !== head.lengthDigits) this.#moveBody(out, digits - head.lengthDigits);
    head.lengthDigits = digits;
    const { bytes } = out;
    let at = this.#bodyAt;
    bytes[--at] = LF;
    bytes[--at] = CR;
    bytes[--at] = LF;
    bytes[--at] = CR;
    for (let rest = length, i = 0; i < digits; i += 1) {
      bytes[--at] = ZERO + rest % 10;
      rest = Math.floor(rest / 10);
    }
    if (!this.#sendsBody) out.length = this.#bodyAt;
    this.#end();
  }

  /** Makes room for digits that were not foreseen, or takes it back. */
  #moveBody(out: ByteWriter, by: number): void {
    if (by > 0) out.reserve(LENGTH_DIGITS_MAX);
    out.bytes.copyWithin(this.#bodyAt + by, this.#bodyAt, out.length);
    out.length += by;
    this.#bodyAt += by;
  }

  /** Writes everything but what frames the body. */
  #startHead(out: ByteWriter, head: ResponseHead): void {
    this.begun = true;
    this.#sendsBody = this.head.method !== "HEAD" && head.hasBody;
    out.write(head.bytesAt(this.#connection.server.date));
    if (!this.#persists) out.write(closeLine);
    else if (this.head.minorVersion === 0) out.write(keepAliveLine);
  }

  begin(head: ResponseHead): void {
    if (this.ended || this.begun) return;
    const out = this.#connection.touch();
    // HTTP/1.0 has no chunks: there the end of the connection is that of the body.
    this.#isChunked = head.hasBody && this.head.minorVersion === 1;
    this.#persists = this.head.keepAlive && !this.isLast && (this.#isChunked || !head.hasBody);
    this.#startHead(out, head);
    if (this.#isChunked) out.write(chunkedLine);
    out.write(lineEnd);
  }

  /**
   * Answers 101 to a request that has no body and asks for it: from here on `onData` brings what the client sends,
   * and `write` sends, as it is; `end` closes the connection. To be called within `onRequest`.
   */
  switchProtocols(head: ResponseHead): void {
    if (this.begun) return;
    const out = this.#connection.touch();
    this.begun = true;
    this.bodyIsOpenEnded = true;
    out.write(head.bytesAt(this.#connection.server.date));
    out.write(lineEnd);
    this.#connection.openBody(this);
  }

  write(bytes: Uint8Array): void {
    if (this.ended || !this.#sendsBody || bytes.length === 0) return;
    const connection = this.#connection;
    if (this.#isChunked) connection.touch().write(utf8(`${bytes.length.toString(16)}\r\n`));
    connection.writeBytes(bytes);
    if (this.#isChunked) connection.touch().write(lineEnd);
  }

  end(): void {
    if (this.ended) return;
    if (this.#isChunked && this.#sendsBody) this.#connection.touch().write(lastChunk);
    this.#end();
  }

  #end(): void {
    this.ended = true;
    // A request may well go on while it is answered in a stream: only now it is known whether it came to an end.
    this.#connection.responseEnd(this, this.#persists && this.#connection.mayPersist(this));
  }

  get writable(): boolean {
    return !this.ended && this.#connection.writable;
  }
}

function decimalDigits(value: number): number {
  let digits = 1;
  for (let bound = 10; value >= bound; bound *= 10) digits += 1;
  return digits;
}
