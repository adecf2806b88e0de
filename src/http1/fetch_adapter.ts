import type { Clock } from "../ports/clock.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { HeaderField, RequestBody } from "./api.ts";
import type { Exchange } from "./exchange.ts";
import { plainBody, ResponseHead } from "./response_head.ts";

/** Answers a request as the fetch API has it. `request.signal` is aborted when the client goes away. */
export type FetchHandler = (request: Request, info: FetchInfo) => Response | Promise<Response>;

export interface FetchInfo {
  readonly peer: PeerInfo;
  /** The body of a GET or HEAD request, which a `Request` cannot carry. */
  readonly bodyOfGet: ReadableStream<Uint8Array> | undefined;
}

/** What a `Request` may not carry on some runtimes. */
const UNSERVED_METHODS: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);
/** Fields that speak of the connection or frame the body: both are the engine's. */
const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
/** Bytes of a request body that are read ahead of the handler. */
const BODY_AHEAD_BYTES = 64 * 1024;
/** A body whose messages come when the client has them, for as long as it wants. */
const OPEN_ENDED_BODY = /^application\/connect\+/i;

/**
 * Serves one request with a handler of the fetch API: for everything that is not on the hot path. A rejected
 * promise becomes status 500 with no detail, or ends the connection when the response had begun.
 */
export class FetchExchange implements RequestBody {
  readonly #exchange: Exchange;
  readonly #clock: Clock;
  readonly #abort = new AbortController();
  #body: ReadableStreamDefaultController<Uint8Array> | undefined;
  #onWritable: (() => void) | undefined;

  constructor(exchange: Exchange, handler: FetchHandler, clock: Clock) {
    this.#exchange = exchange;
    this.#clock = clock;
    exchange.bodyIsOpenEnded = OPEN_ENDED_BODY.test(exchange.header("content-type") ?? "");
    if (UNSERVED_METHODS.has(exchange.method)) {
      this.#sendPlain(405);
      return;
    }
    const takesBody = exchange.method !== "GET" && exchange.method !== "HEAD";
    let request: Request;
    let bodyOfGet: ReadableStream<Uint8Array> | undefined;
    try {
      const body = exchange.head.bodyLength === 0 ? undefined : this.#bodyStream();
      request = new Request(urlOf(exchange), {
        method: exchange.method,
        headers: headersOf(exchange),
        signal: this.#abort.signal,
        ...(body !== undefined && takesBody ? { body, duplex: "half" } : {}),
      } as RequestInit);
      if (!takesBody) bodyOfGet = body;
    } catch {
      // The method, target or a field is one that HTTP allows to be written but not to be meant.
      this.#sendPlain(400);
      return;
    }
    if (request.method !== exchange.method) {
      // Bun makes a GET of a method that it does not know.
      this.#sendPlain(405);
      return;
    }
    void this.#answer(request, handler, { peer: exchange.peer, bodyOfGet });
  }

  /** The body as a web stream; reading stops while the handler is `BODY_AHEAD_BYTES` behind. */
  #bodyStream(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>({
      start: (controller) => void (this.#body = controller),
      pull: () => this.#exchange.pauseBody(false),
      cancel: () => {
        // What still comes is read and dropped, so that the connection can carry the next request.
        this.#body = undefined;
        this.#exchange.pauseBody(false);
      },
    }, new ByteLengthQueuingStrategy({ highWaterMark: BODY_AHEAD_BYTES }));
  }

  async #answer(request: Request, handler: FetchHandler, info: FetchInfo): Promise<void> {
    try {
      await this.#send(await handler(request, info));
    } catch {
      if (this.#exchange.begun) this.#exchange.destroy();
      else this.#sendPlain(500);
    }
  }

  async #send(response: Response): Promise<void> {
    const exchange = this.#exchange;
    const head = new ResponseHead(response.status, fieldsOf(response.headers));
    if (exchange.method === "HEAD" || !head.hasBody || exchange.ended) {
      await response.body?.cancel();
      exchange.begin(head);
      exchange.end();
      return;
    }
    if (response.body === null) {
      exchange.startReply(head);
      exchange.finishReply();
      return;
    }
    const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    this.#abort.signal.addEventListener("abort", () => void reader.cancel().catch(ignore), { once: true });
    await this.#sendBody(head, reader);
  }

  /**
   * Sends a body as it comes. A short one, all there in this turn, leaves together with the head and with its
   * length; for one that takes its time nothing is held back beyond the turn.
   */
  async #sendBody(head: ResponseHead, reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    const exchange = this.#exchange;
    let first: Uint8Array | undefined;
    let settled = false;
    const begin = (): void => {
      if (settled) return;
      settled = true;
      exchange.begin(head);
      if (first !== undefined) exchange.write(first);
    };
    this.#clock.soon(begin);
    let next = await reader.read();
    if (!next.done && !settled) {
      first = next.value;
      next = await reader.read();
    }
    if (next.done && !settled) {
      settled = true;
      const out = exchange.startReply(head);
      if (first !== undefined) out.write(first);
      exchange.finishReply();
      return;
    }
    begin();
    while (!next.done && !exchange.ended) {
      exchange.write(next.value);
      if (!exchange.writable && !exchange.ended) await this.#writable();
      next = await reader.read();
    }
    exchange.end();
  }

  #writable(): Promise<void> {
    return new Promise((resolve) => this.#onWritable = resolve);
  }

  /** Also the connection has no future: what follows the request may be as unexpected. */
  #sendPlain(status: number): void {
    this.#exchange.isLast = true;
    const out = this.#exchange.startReply(new ResponseHead(status, PLAIN_FIELDS));
    out.write(plainBody(status));
    this.#exchange.finishReply();
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (this.#body === undefined) return;
    this.#body.enqueue(chunk.slice(start, end));
    if ((this.#body.desiredSize ?? 0) <= 0) this.#exchange.pauseBody(true);
  }

  onEnd(): void {
    this.#body?.close();
    this.#body = undefined;
  }

  onAbort(): void {
    this.#abort.abort();
    this.#body?.error(new Error("the request ended before its body did"));
    this.#body = undefined;
    this.onWritable();
  }

  onWritable(): void {
    const resume = this.#onWritable;
    this.#onWritable = undefined;
    resume?.();
  }
}

const PLAIN_FIELDS = [["Content-Type", "text/plain; charset=utf-8"]] as const;

function urlOf(exchange: Exchange): string {
  const { target, peer } = exchange;
  // The absolute form of a request to a proxy stands for itself.
  if (target !== "*" && !target.startsWith("/")) return target;
  const scheme = peer.tls === undefined ? "http" : "https";
  return `${scheme}://${exchange.header("host") || "localhost"}${target === "*" ? "/*" : target}`;
}

function headersOf(exchange: Exchange): Headers {
  const headers = new Headers();
  for (const [name, value] of exchange.head.fields) headers.append(name, value);
  return headers;
}

function fieldsOf(headers: Headers): HeaderField[] {
  const fields: HeaderField[] = [];
  for (const [name, value] of headers) {
    if (name !== "set-cookie" && !CONNECTION_FIELDS.has(name)) fields.push([name, value]);
  }
  for (const cookie of headers.getSetCookie()) fields.push(["set-cookie", cookie]);
  return fields;
}

function ignore(): void {}
