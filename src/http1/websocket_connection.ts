import { EMPTY_BYTES } from "../base/bytes.ts";
import type { RequestBody } from "./api.ts";
import type { Exchange } from "./exchange.ts";
import {
  CLOSE_GOING_AWAY,
  CLOSE_NO_STATUS,
  CLOSE_NORMAL,
  CLOSE_POLICY,
  FINAL,
  type FrameSink,
  OPCODE_CLOSE,
  OPCODE_CONTINUATION,
  OPCODE_PING,
  OPCODE_PONG,
  OPCODE_TEXT,
  WebSocketReader,
} from "./websocket_reader.ts";
import type { WebSocketServer } from "./websocket_server.ts";

/** Who takes what comes over a WebSocket. */
export interface WebSocketHandler {
  /** A message of the client, text or binary. Its memory is the handler's. */
  onMessage(message: Uint8Array): void;
  /** `WebSocketConnection.writable` is true again. */
  onWritable(): void;
  /** Nothing can be sent any more and nothing comes. Called once, also after `close`. */
  onClose(): void;
}

/**
 * The server's end of a WebSocket (RFC 6455), over an exchange whose protocol has been switched: output is gathered,
 * limited and timed as any output of that connection is. Calls after the end do nothing.
 */
export class WebSocketConnection implements RequestBody, FrameSink {
  handler!: WebSocketHandler;
  readonly #exchange: Exchange;
  readonly #server: WebSocketServer;
  readonly #reader: WebSocketReader;
  /** Part of a message has been sent. */
  #inMessage = false;
  /** Our close frame has been sent. */
  #closing = false;
  #ended = false;
  /** The handler has been told of the end. */
  #released = false;

  // Times of the sweeper's clock.
  /** When the client was last heard of. */
  #heardMs: number;
  /** Since when a ping waits for its answer, or -1. */
  #pingedMs = -1;
  /** Since when a message has been coming, or -1. */
  #messageSinceMs = -1;
  #closingSinceMs = -1;

  constructor(exchange: Exchange, server: WebSocketServer) {
    this.#exchange = exchange;
    this.#server = server;
    this.#reader = new WebSocketReader(server.limits.messageBytesMax, this);
    this.#heardMs = server.sweeper.nowMs;
  }

  get writable(): boolean {
    return !this.#closing && this.#exchange.writable;
  }

  /** Sends a text message, or the next part of one, which must not change any more; it is UTF-8 as a whole. */
  send(bytes: Uint8Array, isFinal: boolean): void {
    if (this.#closing || this.#ended) return;
    this.#exchange.write(
      frameStart(this.#inMessage ? OPCODE_CONTINUATION : OPCODE_TEXT, isFinal, bytes.length),
    );
    this.#exchange.write(bytes);
    this.#inMessage = !isFinal;
  }

  /** Sends a close frame. What the client still sends is dropped; its answer, or a timeout, ends the connection. */
  close(code: number): void {
    if (this.#closing || this.#ended) return;
    this.#closing = true;
    this.#closingSinceMs = this.#server.sweeper.nowMs;
    const payload = code === CLOSE_NO_STATUS ? EMPTY_BYTES : Uint8Array.of(code >> 8, code & 0xff);
    this.#sendControl(OPCODE_CLOSE, payload);
  }

  /** Closes without waiting for the client: it has closed already, broken a rule, or kept us waiting. */
  #end(code: number): void {
    this.close(code);
    this.#exchange.end();
    this.#finish();
  }

  /** The server shuts down. */
  goAway(): void {
    this.close(CLOSE_GOING_AWAY);
    this.#release();
  }

  #sendControl(opcode: number, payload: Uint8Array): void {
    this.#exchange.write(frameStart(opcode, true, payload.length));
    this.#exchange.write(payload);
  }

  #finish(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#server.forget(this);
    this.#release();
  }

  #release(): void {
    if (this.#released) return;
    this.#released = true;
    this.handler.onClose();
  }

  // RequestBody: the bytes of the connection.

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    this.#heardMs = this.#server.sweeper.nowMs;
    this.#pingedMs = -1;
    const code = this.#reader.read(chunk, start, end);
    if (code !== 0) this.#end(code);
    else if (this.#reader.messageBytes === undefined) this.#messageSinceMs = -1;
    else if (this.#messageSinceMs < 0) this.#messageSinceMs = this.#heardMs;
  }

  /** A switched connection has no end but that of its socket. */
  onEnd(): void {}

  onAbort(): void {
    this.#finish();
  }

  onWritable(): void {
    if (!this.#closing) this.handler.onWritable();
  }

  // FrameSink

  onMessage(message: Uint8Array): void {
    this.#messageSinceMs = -1;
    if (!this.#closing) this.handler.onMessage(message);
  }

  onPing(payload: Uint8Array): void {
    if (!this.#closing) this.#sendControl(OPCODE_PONG, payload);
  }

  onCloseFrame(code: number): void {
    this.#end(code);
  }

  sweep(nowMs: number): void {
    const limits = this.#server.limits;
    if (this.#closing) {
      // What is still queued is sent: from here on it is the end of any connection.
      if (nowMs - this.#closingSinceMs > limits.closeTimeoutMs) this.#end(CLOSE_NORMAL);
    } else if (!this.#exchange.writable) {
      // A client that is busy with its output may not have come to our ping; the connection has a limit for that.
      this.#heardMs = nowMs;
      this.#pingedMs = -1;
    } else if (this.#messageIsLate(nowMs)) {
      this.#end(CLOSE_POLICY);
    } else if (this.#pingedMs >= 0) {
      if (nowMs - this.#pingedMs > limits.pongTimeoutMs) this.#exchange.destroy();
    } else if (nowMs - this.#heardMs > limits.pingIntervalMs) {
      this.#pingedMs = nowMs;
      this.#sendControl(OPCODE_PING, EMPTY_BYTES);
    }
  }

  #messageIsLate(nowMs: number): boolean {
    if (this.#messageSinceMs < 0) return false;
    const { bodyTimeoutMs, bodyBytesPerSecondMin } = this.#server.limits;
    const earnedMs = (this.#reader.messageBytes ?? 0) * 1_000 / bodyBytesPerSecondMin;
    return nowMs - this.#messageSinceMs > bodyTimeoutMs + earnedMs;
  }
}

/** The head of a frame of ours, which are not masked. */
function frameStart(opcode: number, isFinal: boolean, length: number): Uint8Array {
  const first = opcode | (isFinal ? FINAL : 0);
  if (length < 126) return Uint8Array.of(first, length);
  if (length < 0x1_0000) return Uint8Array.of(first, 126, length >> 8, length & 0xff);
  const bytes = new Uint8Array(10);
  bytes[0] = first;
  bytes[1] = 127;
  new DataView(bytes.buffer).setBigUint64(2, BigInt(length));
  return bytes;
}
