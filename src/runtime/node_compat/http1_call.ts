import type { IncomingMessage, ServerResponse } from "node:http";
import type { HttpAnswer, HttpCall, HttpCallBody, HttpCallHandler } from "../../ports/http_call.ts";
import type { PeerInfo } from "../../ports/sockets.ts";
import { plainBytes } from "./byte_stream.ts";

/** Offers a request to `handler`; false when it leaves it. */
export function startCall(
  handler: HttpCallHandler,
  request: IncomingMessage,
  response: ServerResponse,
  peer: PeerInfo,
): boolean {
  const answer = new NodeAnswer(response);
  const body = handler(new NodeCall(request, peer), answer);
  if (body === undefined) return false;
  answer.start(body, request);
  return true;
}

class NodeCall implements HttpCall {
  readonly peer: PeerInfo;
  readonly #request: IncomingMessage;

  constructor(request: IncomingMessage, peer: PeerInfo) {
    this.#request = request;
    this.peer = peer;
  }

  get method(): string {
    return this.#request.method ?? "";
  }

  get target(): string {
    return this.#request.url ?? "";
  }

  header(name: string): string | undefined {
    const value = this.#request.headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  }
}

/** Node's response as an `HttpAnswer`. */
class NodeAnswer implements HttpAnswer {
  readonly #response: ServerResponse;
  #isEnded = false;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  /** Hands the request's body on, and tells the body's taker how the response fares. */
  start(body: HttpCallBody, request: IncomingMessage): void {
    const response = this.#response;
    request.on("data", (chunk: Uint8Array) => body.onData(plainBytes(chunk)));
    request.on("end", () => body.onEnd());
    response.on("drain", () => body.onWritable());
    response.on("error", ignore); // "close" follows.
    response.on("close", () => {
      if (this.#isEnded) return;
      this.#isEnded = true;
      body.onAbort();
    });
  }

  send(status: number, headers: Readonly<Record<string, string>>, body: Uint8Array): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    // Copied, because what does not leave at once waits in the socket.
    const copy = body.slice();
    this.#response.writeHead(status, { ...headers, "content-length": copy.length }).end(copy);
  }

  begin(status: number, headers: Readonly<Record<string, string>>): void {
    if (!this.#isEnded) this.#response.writeHead(status, headers);
  }

  write(bytes: Uint8Array): void {
    if (!this.#isEnded) this.#response.write(bytes);
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#response.end();
  }

  get writable(): boolean {
    return !this.#response.writableNeedDrain;
  }
}

function ignore(): void {}
