import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { HttpExchange, RequestBody } from "../http1/api.ts";
import type { ResponseHead } from "../http1/response_head.ts";
import type { WebSocketConnection, WebSocketHandler } from "../http1/websocket_connection.ts";
import { CLOSE_INTERNAL_ERROR, CLOSE_NORMAL } from "../http1/websocket_reader.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { JsonGateway } from "./json_gateway.ts";

const LF = 0x0a;
const newline = Uint8Array.of(LF);

/**
 * A call of the JSON gateway over a WebSocket, in etcd's form (github.com/tmc/grpc-websocket-proxy): it is a POST
 * whatever the handshake was; each message of the client is a line of its body, each line of the answer a message,
 * and there is no status. A call with one request has it with the first message; after the answer the connection is
 * closed.
 */
export class WebSocketExchange implements HttpExchange, WebSocketHandler {
  readonly method = "POST";
  readonly target: string;
  readonly peer: PeerInfo;
  bodyIsOpenEnded = false;
  ended = false;
  readonly #request: HttpExchange;
  readonly #socket: WebSocketConnection;
  readonly #body: RequestBody | undefined;
  /** The one request has come. */
  #isAsked = false;
  /** Part of a line has been sent. */
  #inLine = false;
  #reply: ByteWriter | undefined;

  constructor(gateway: JsonGateway, request: HttpExchange, socket: WebSocketConnection) {
    this.target = request.target;
    this.peer = request.peer;
    this.#request = request;
    this.#socket = socket;
    this.#body = gateway.open(this);
  }

  /** Pages cannot set fields: their token comes in the list of subprotocols. */
  header(name: string): string | undefined {
    if (name !== "authorization") return this.#request.header(name);
    return bearerOf(this.#request.header(PROTOCOLS)) ?? this.#request.header(name);
  }

  // WebSocketHandler

  onMessage(message: Uint8Array): void {
    const body = this.#body;
    if (this.ended || this.#isAsked || body === undefined) return;
    body.onData(message, 0, message.length);
    if (this.ended) return;
    if (this.bodyIsOpenEnded) return body.onData(newline, 0, newline.length);
    this.#isAsked = true;
    body.onEnd();
  }

  onWritable(): void {
    if (!this.ended) this.#body?.onWritable();
  }

  onClose(): void {
    if (this.ended) return;
    this.ended = true;
    this.#body?.onAbort();
  }

  // HttpExchange

  startReply(_head: ResponseHead): ByteWriter {
    return this.#reply = new ByteWriter(1024);
  }

  cancelReply(): void {
    this.#reply = undefined;
  }

  finishReply(): void {
    const reply = this.#reply;
    if (reply === undefined) return;
    this.#reply = undefined;
    if (!this.ended) this.#socket.send(reply.bytes.subarray(0, reply.length), true);
    this.end();
  }

  begin(_head: ResponseHead): void {}

  /** A part of a line is sent as a part of a message: nothing is gathered here. */
  write(bytes: Uint8Array): void {
    if (this.ended) return;
    let start = 0;
    for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, start)) {
      if (at > start || this.#inLine) this.#socket.send(bytes.subarray(start, at), true);
      this.#inLine = false;
      start = at + 1;
    }
    if (start === bytes.length) return;
    this.#inLine = true;
    this.#socket.send(bytes.subarray(start), false);
  }

  end(): void {
    if (this.ended) return;
    this.ended = true;
    if (this.#inLine) this.#socket.send(EMPTY_BYTES, true);
    this.#socket.close(CLOSE_NORMAL);
  }

  destroy(): void {
    if (this.ended) return;
    this.ended = true;
    this.#socket.close(CLOSE_INTERNAL_ERROR);
  }

  get writable(): boolean {
    return !this.ended && this.#socket.writable;
  }
}

const PROTOCOLS = "sec-websocket-protocol";

/** Of the subprotocols that a client offers, the one that is agreed to: only "Bearer" means something. */
export function agreedProtocol(request: HttpExchange): string | undefined {
  return request.header(PROTOCOLS)?.startsWith("Bearer") ? "Bearer" : undefined;
}

/** "Bearer, token", with or without the space, as a value of the Authorization field. */
function bearerOf(protocols: string | undefined): string | undefined {
  const token = protocols === undefined ? null : /Bearer,(.*)$/.exec(protocols);
  return token === null ? undefined : `Bearer ${token[1]!.trim()}`;
}
