import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES, utf8 } from "../base/bytes.ts";
import type { Flushable } from "../http2/flush_queue.ts";
import type { Swept } from "../http2/sweeper.ts";
import type { ByteStream, ByteStreamHandler } from "../ports/sockets.ts";
import type { RequestBody } from "./api.ts";
import { ChunkedReader } from "./chunked_reader.ts";
import { Exchange } from "./exchange.ts";
import { CHUNKED, HeadReader, type RequestHead } from "./head_reader.ts";
import type { Http1Limits } from "./limits.ts";
import { plainBody, ResponseHead } from "./response_head.ts";
import type { Http1Server } from "./server.ts";

const LF = 0x0a;
const continueBytes = utf8("HTTP/1.1 100 Continue\r\n\r\n");
/** Bodies written in one piece from this on go to the socket as they are. */
const DIRECT_BYTES = 16_384;

const noBody: RequestBody = { onData() {}, onEnd() {}, onAbort() {}, onWritable() {} };

/**
 * The server's end of an HTTP/1.1 connection (RFC 9112). Requests are served one after the other, in the order they
 * come; what a client sends ahead of its turn waits. Output is gathered and written once a turn.
 */
export class Http1Connection implements ByteStreamHandler, Flushable, Swept {
  readonly transport: ByteStream;
  readonly #server: Http1Server;
  readonly #limits: Http1Limits;
  readonly #heads: HeadReader;
  /** The request being served: until it has been read and answered. */
  #exchange: Exchange | undefined;

  // Input.
  /** Octets of the request's body that have not come, `CHUNKED`, or `Infinity` after a switch of protocols. */
  #bodyLeft = 0;
  #chunked: ChunkedReader | undefined;
  /** Octets of it that have. */
  #bodyBytes = 0;
  /** A head that has begun, or what came ahead of its turn. */
  #waiting: ByteWriter | undefined;
  #reading = false;
  #pausedByConsumer = false;
  #pausedByAhead = false;
  #pausedByOutput = false;
  #paused = false;

  // Output.
  readonly buffer = new ByteWriter(0);
  #touched = false;
  #promised = false;
  #queuedBytes = 0;
  /** `writable` has been false since `onWritable` was called. */
  #starved = false;

  // Times of the sweeper's clock, and the ways a connection ends.
  /** Since when the connection is idle, or since when its head or body has been coming. */
  #sinceMs: number;
  /** A part of a head has come. */
  #headBegun = false;
  #queuedSinceMs = -1;
  #peerEndedMs = -1;
  #closingSinceMs = -1;
  #lingerBytes = 0;
  #draining = false;
  #closed = false;

  constructor(transport: ByteStream, server: Http1Server) {
    this.transport = transport;
    this.#server = server;
    this.#limits = server.limits;
    this.#heads = new HeadReader(server.limits);
    this.#sinceMs = server.sweeper.nowMs;
    transport.handler = this;
  }

  /** Closes the connection now when it is idle, and otherwise after the response under way. */
  drain(): void {
    this.#draining = true;
    if (this.#exchange !== undefined || this.#closingSinceMs >= 0) return;
    if (this.#touched || this.#queuedBytes > 0) this.#finish();
    else this.destroy();
  }

  // Input.

  onData(chunk: Uint8Array): void {
    if (this.#closingSinceMs >= 0) {
      this.#lingerBytes += chunk.length;
      if (this.#lingerBytes > this.#limits.lingerBytesMax) this.transport.destroy();
      return;
    }
    this.#server.clock.monotonicMs(); // For the requests in the chunk: they take `recentMs`.
    this.#promised = true;
    if (this.#waiting === undefined) this.#read(chunk, 0);
    else this.#gather(chunk);
    this.#promised = false;
    if (this.#touched) this.flush();
  }

  /** More of a head that has begun, or more that is ahead of its turn. */
  #gather(chunk: Uint8Array): void {
    const waiting = this.#waiting!;
    waiting.write(chunk);
    if (this.#exchange !== undefined) {
      if (waiting.length >= this.#limits.aheadBytesMax) {
        this.#pausedByAhead = true;
        this.#regulate();
      }
      return;
    }
    // A head is read again only when a line more of it is there, so that one byte at a time costs nothing.
    if (chunk.indexOf(LF) < 0 && waiting.length < this.#limits.headBytesMax) return;
    this.#readWaiting();
  }

  #readWaiting(): void {
    const waiting = this.#waiting!;
    this.#waiting = undefined;
    this.#read(waiting.bytes.subarray(0, waiting.length), 0);
  }

  #read(bytes: Uint8Array, start: number): void {
    this.#reading = true;
    try {
      let at = start;
      while (at < bytes.length && this.#closingSinceMs < 0 && !this.#closed) {
        if (this.#bodyLeft !== 0) at = this.#readBody(bytes, at);
        else if (this.#exchange === undefined) at = this.#readHead(bytes, at);
        else {
          this.#keep(bytes, at);
          break;
        }
        if (at < 0) break;
      }
    } catch (error) {
      this.#defect(error);
    }
    this.#reading = false;
  }

  #keep(bytes: Uint8Array, at: number): void {
    this.#waiting = new ByteWriter(Math.max(256, (bytes.length - at) * 2));
    this.#waiting.write(bytes.subarray(at));
  }

  /** Returns where the head ends, or -1 when nothing more can be read. */
  #readHead(bytes: Uint8Array, at: number): number {
    const head = this.#heads.read(bytes, at, bytes.length);
    if (head === undefined) {
      if (!this.#headBegun) this.#sinceMs = this.#server.sweeper.nowMs;
      this.#headBegun = true;
      this.#keep(bytes, at);
      return -1;
    }
    if (typeof head === "number") {
      this.refuse(head);
      return -1;
    }
    this.#begin(head, this.#heads.end === bytes.length);
    return this.#heads.end;
  }

  #begin(head: RequestHead, bodyIsAwaited: boolean): void {
    const exchange = new Exchange(this, head);
    this.#exchange = exchange;
    this.#headBegun = false;
    this.#bodyLeft = head.bodyLength;
    this.#bodyBytes = 0;
    if (head.bodyLength === CHUNKED) {
      this.#chunked = new ChunkedReader(
        this.#limits,
        (chunk, start, end) => this.#deliver(chunk, start, end),
      );
    }
    exchange.body = noBody;
    const body = this.#server.handler.onRequest(exchange);
    exchange.body = body;
    if (this.#exchange !== exchange) return;
    if (this.#bodyLeft === 0) {
      if (!exchange.ended) body.onEnd();
      return;
    }
    this.#sinceMs = this.#server.sweeper.nowMs;
    if (head.expectsContinue && bodyIsAwaited && !exchange.begun) {
      exchange.continued = true;
      this.touch().write(continueBytes);
    }
  }

  /** Returns where the body, or what there is of it, ends; -1 when it is malformed. */
  #readBody(bytes: Uint8Array, at: number): number {
    const chunked = this.#chunked;
    if (chunked !== undefined) {
      const end = chunked.read(bytes, at);
      if (end < 0) {
        this.#refuseBody();
        return -1;
      }
      if (chunked.done) {
        this.#chunked = undefined;
        this.#bodyEnd();
      }
      return end;
    }
    const end = Math.min(bytes.length, at + this.#bodyLeft);
    this.#bodyLeft -= end - at;
    this.#deliver(bytes, at, end);
    if (this.#bodyLeft === 0) this.#bodyEnd();
    return end;
  }

  /** What comes after the response is complete, nobody wants. */
  #deliver(bytes: Uint8Array, start: number, end: number): void {
    this.#bodyBytes += end - start;
    const exchange = this.#exchange;
    if (exchange !== undefined && !exchange.ended) exchange.body.onData(bytes, start, end);
  }

  #bodyEnd(): void {
    this.#bodyLeft = 0;
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    if (exchange.ended) this.#nextRequest();
    else exchange.body.onEnd();
  }

  /** The request is answered and read: the next one may begin. */
  #nextRequest(): void {
    this.#exchange = undefined;
    this.#sinceMs = this.#server.sweeper.nowMs;
    if (this.#draining || (this.#peerEndedMs >= 0 && this.#waiting === undefined)) return this.#finish();
    this.#pausedByConsumer = false;
    this.#pausedByAhead = false;
    this.#regulate();
    // What came ahead of its turn has it now.
    if (!this.#reading && this.#waiting !== undefined) this.#readWaiting();
  }

  /** Answers what cannot be served, and closes. */
  refuse(status: number): void {
    const text = plainBody(status);
    const head = new ResponseHead(status, refusalFields);
    const out = this.touch();
    out.write(head.bytesAt(this.#server.date));
    out.write(utf8(`Content-Length: ${text.length}\r\nConnection: close\r\n\r\n`));
    out.write(text);
    this.#finish();
  }

  #refuseBody(): void {
    const exchange = this.#exchange!;
    const isBegun = exchange.begun;
    exchange.abort();
    if (isBegun) this.destroy();
    else this.refuse(400);
  }

  #defect(error: unknown): void {
    this.#server.onDefect(error);
    this.destroy();
  }

  // What the exchange asks for.

  get server(): Http1Server {
    return this.#server;
  }

  /** Whether the connection could carry another request if the response were complete now. */
  mayPersist(exchange: Exchange): boolean {
    if (!exchange.head.keepAlive || exchange.isLast || this.#draining) return false;
    if (this.#bodyLeft === 0) return true;
    // A client that was not asked for its body may send it or not.
    if (exchange.head.expectsContinue && !exchange.continued) return false;
    return this.#bodyLeft !== CHUNKED && this.#bodyLeft <= this.#limits.unwantedBytesMax;
  }

  /** The request has become a conversation: all that comes is its, to the end of the connection. */
  openBody(exchange: Exchange): void {
    if (exchange === this.#exchange) this.#bodyLeft = Infinity;
  }

  /** The response is complete. */
  responseEnd(exchange: Exchange, persists: boolean): void {
    if (exchange !== this.#exchange) return;
    if (!persists) this.#finish();
    else if (this.#bodyLeft === 0) this.#nextRequest();
    else this.pauseBody(false);
  }

  pauseBody(paused: boolean): void {
    if (this.#pausedByConsumer && !paused) this.#sinceMs = this.#server.sweeper.nowMs;
    this.#pausedByConsumer = paused;
    this.#regulate();
  }

  #regulate(): void {
    const paused = this.#pausedByConsumer || this.#pausedByAhead || this.#pausedByOutput;
    if (paused === this.#paused) return;
    this.#paused = paused;
    if (paused) this.transport.pause();
    else this.transport.resume();
  }

  // Output.

  /** The buffer, ready to be appended to; it is written at the end of the turn at the latest. */
  touch(): ByteWriter {
    if (this.#touched) return this.buffer;
    this.#touched = true;
    this.buffer.bytes = this.#server.flushQueue.takeBuffer();
    if (!this.#promised && !this.#closed) this.#server.flushQueue.add(this);
    return this.buffer;
  }

  /** Sends bytes that may be long; they must not change any more. */
  writeBytes(bytes: Uint8Array): void {
    const out = this.touch();
    if (bytes.length < DIRECT_BYTES) return out.write(bytes);
    this.#writeBuffer();
    this.#write(bytes);
    this.touch();
  }

  get writable(): boolean {
    if (this.#queuedBytes + this.buffer.length < this.#limits.outputBytesMax) return true;
    this.#starved = true;
    return false;
  }

  flush(): void {
    if (this.#closed) return;
    this.#writeBuffer();
    if (this.#closingSinceMs >= 0) return this.transport.end();
    if (this.#starved) this.#feed();
  }

  #writeBuffer(): void {
    const { buffer } = this;
    const { length, bytes } = buffer;
    this.#touched = false;
    buffer.length = 0;
    buffer.bytes = EMPTY_BYTES;
    // A socket that keeps output will keep this, too: it gets a copy of its size, unless the buffer is full.
    const copied = this.#queuedBytes > 0 && length * 2 < bytes.length;
    const held = length > 0 && this.#write(copied ? bytes.slice(0, length) : bytes.subarray(0, length));
    if ((copied || !held) && bytes.length > 0) this.#server.flushQueue.giveBuffer(bytes);
  }

  /** Returns whether the transport keeps the bytes. */
  #write(bytes: Uint8Array): boolean {
    if (this.transport.write(bytes) === "free") return false;
    this.#queuedBytes = this.transport.queuedBytes;
    if (this.#queuedSinceMs < 0) this.#queuedSinceMs = this.#server.sweeper.nowMs;
    if (this.#queuedBytes >= this.#limits.outputBytesPause && !this.#pausedByOutput) {
      // A client that sends and does not read must not make us gather answers.
      this.#pausedByOutput = true;
      this.#regulate();
    }
    return true;
  }

  #feed(): void {
    if (this.#queuedBytes + this.buffer.length >= this.#limits.outputBytesMax) return;
    this.#starved = false;
    const exchange = this.#exchange;
    if (exchange === undefined || exchange.ended) return;
    try {
      exchange.body.onWritable();
    } catch (error) {
      this.#defect(error);
    }
  }

  onDrain(): void {
    this.#queuedBytes = 0;
    this.#queuedSinceMs = -1;
    this.#pausedByOutput = false;
    if (this.#closed || this.#closingSinceMs >= 0) return;
    this.#regulate();
    if (this.#starved) this.#feed();
  }

  // Ends.

  /** Sends what is to be sent, then closes; the client has some time to read it. */
  #finish(): void {
    if (this.#closingSinceMs >= 0 || this.#closed) return;
    this.#closingSinceMs = this.#server.sweeper.nowMs;
    this.#waiting = undefined;
    this.#pausedByConsumer = this.#pausedByAhead = this.#pausedByOutput = false;
    this.#regulate();
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.abort();
    this.touch();
  }

  /** Breaks off. */
  destroy(): void {
    this.transport.destroy();
  }

  onEnd(): void {
    if (this.#closingSinceMs >= 0) return;
    this.#peerEndedMs = this.#server.sweeper.nowMs;
    const exchange = this.#exchange;
    if (exchange === undefined) this.#finish();
    else if (this.#bodyLeft !== 0) this.destroy();
  }

  onClose(_error: Error | undefined): void {
    this.#closed = true;
    this.#touched = true; // Nothing is to be flushed any more.
    this.buffer.length = 0;
    this.#server.forget(this);
    const exchange = this.#exchange;
    this.#exchange = undefined;
    try {
      exchange?.abort();
    } catch (error) {
      this.#server.onDefect(error);
    }
  }

  sweep(nowMs: number): void {
    const limits = this.#limits;
    if (this.#queuedSinceMs >= 0) {
      if (nowMs - this.#queuedSinceMs > limits.stallTimeoutMs) this.destroy();
      return;
    }
    if (this.#closingSinceMs >= 0) {
      if (nowMs - this.#closingSinceMs > limits.lingerMs) this.destroy();
      return;
    }
    const exchange = this.#exchange;
    const tookMs = nowMs - this.#sinceMs;
    if (exchange === undefined) {
      if (tookMs > (this.#headBegun ? limits.headTimeoutMs : limits.idleTimeoutMs)) this.destroy();
    } else if (
      this.#bodyLeft !== 0 && !this.#pausedByConsumer && (exchange.ended || !exchange.bodyIsOpenEnded)
    ) {
      const earnedMs = this.#bodyBytes * 1_000 / limits.bodyBytesPerSecondMin;
      if (tookMs > limits.bodyTimeoutMs + earnedMs) this.destroy();
    } else if (this.#peerEndedMs >= 0 && nowMs - this.#peerEndedMs > limits.halfCloseMs) {
      this.destroy();
    }
  }
}

const refusalFields = [["Content-Type", "text/plain; charset=utf-8"]] as const;
