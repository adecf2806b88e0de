import type { Sweeper, Swept } from "../http2/sweeper.ts";
import type { Digest } from "../ports/digest.ts";
import type { RequestBody } from "./api.ts";
import type { Exchange } from "./exchange.ts";
import { defaultHttp1Limits, type Http1Limits } from "./limits.ts";
import { plainBody, ResponseHead } from "./response_head.ts";
import { WebSocketConnection, type WebSocketHandler } from "./websocket_connection.ts";
import { answerHandshake } from "./websocket_handshake.ts";

/** Bounds for WebSockets, beside those of the connection. A message has the time that the body of a request has. */
export interface WebSocketLimits extends Pick<Http1Limits, "bodyTimeoutMs" | "bodyBytesPerSecondMin"> {
  readonly messageBytesMax: number;
  /** A client that has been silent for so long is sent a ping. */
  readonly pingIntervalMs: number;
  /** How long its answer may take. */
  readonly pongTimeoutMs: number;
  /** For how long the client's close frame is waited for after ours. */
  readonly closeTimeoutMs: number;
}

/** Defaults, each with its reason. */
export const defaultWebSocketLimits: Omit<WebSocketLimits, "messageBytesMax"> = {
  bodyTimeoutMs: defaultHttp1Limits.bodyTimeoutMs,
  bodyBytesPerSecondMin: defaultHttp1Limits.bodyBytesPerSecondMin,
  // Below the minute after which proxies give up a connection on which nothing moves.
  pingIntervalMs: 30_000,
  pongTimeoutMs: 30_000,
  closeTimeoutMs: 2_000,
};

export interface WebSocketServerOptions {
  readonly sweeper: Sweeper;
  readonly digest: Digest;
  readonly limits: Partial<WebSocketLimits> & Pick<WebSocketLimits, "messageBytesMax">;
  /** Told of an exception that a handler threw while time passed: a defect. */
  readonly onDefect: (error: unknown) => void;
}

/** Takes over exchanges that ask for a WebSocket, and looks after those that are open. */
export class WebSocketServer implements Swept {
  readonly sweeper: Sweeper;
  readonly limits: WebSocketLimits;
  readonly #digest: Digest;
  readonly #onDefect: (error: unknown) => void;
  readonly #open = new Set<WebSocketConnection>();
  #draining = false;

  constructor(options: WebSocketServerOptions) {
    this.sweeper = options.sweeper;
    this.limits = { ...defaultWebSocketLimits, ...options.limits };
    this.#digest = options.digest;
    this.#onDefect = options.onDefect;
  }

  get connections(): number {
    return this.#open.size;
  }

  /** Answers a handshake. `subprotocol` is what is agreed to of those that the client offers. */
  accept(
    exchange: Exchange,
    subprotocol: string | undefined,
    open: (socket: WebSocketConnection) => WebSocketHandler,
  ): RequestBody {
    const head = this.#draining ? shuttingDown : answerHandshake(exchange, this.#digest, subprotocol);
    if (head.status !== 101) {
      exchange.startReply(head).write(plainBody(head.status));
      exchange.finishReply();
      return refusedBody;
    }
    exchange.switchProtocols(head);
    const socket = new WebSocketConnection(exchange, this);
    if (this.#open.size === 0) this.sweeper.add(this);
    this.#open.add(socket);
    socket.handler = open(socket);
    return socket;
  }

  forget(socket: WebSocketConnection): void {
    this.#open.delete(socket);
    if (this.#open.size === 0) this.sweeper.remove(this);
  }

  /** Closes all with "going away". */
  drain(): void {
    this.#draining = true;
    for (const socket of this.#open) socket.goAway();
  }

  sweep(nowMs: number): void {
    try {
      for (const socket of this.#open) socket.sweep(nowMs);
    } catch (error) {
      this.#onDefect(error);
    }
  }
}

const shuttingDown = new ResponseHead(503, [["Content-Type", "text/plain; charset=utf-8"]]);
const refusedBody: RequestBody = { onData() {}, onEnd() {}, onAbort() {}, onWritable() {} };
