import type { HeaderField, RequestBody, RequestHead, ServerStream } from "./api.ts";
import { ErrorCode } from "./frames.ts";

/** Answers a request as the fetch API has it. A rejected promise becomes status 500 with no detail. */
export type FetchHandler = (request: Request, stream: ServerStream) => Response | Promise<Response>;

/** Headers that belong to a connection, which HTTP/2 does not carry. */
const CONNECTION_HEADERS = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
/** Body bytes a handler may be behind before the client is held back. */
const BODY_AHEAD_BYTES = 256 * 1024;
const OUTPUT_AHEAD_BYTES = 256 * 1024;

/** Serves one request over HTTP/2 with a handler of the fetch API: for everything that is not on the hot path. */
export class FetchExchange implements RequestBody {
  readonly #stream: ServerStream;
  readonly #abort = new AbortController();
  #body: ReadableStreamDefaultController<Uint8Array> | undefined;
  /** Bytes received whose credit the client has not back. */
  #unreturned = 0;
  #closed = false;
  #onWritable: (() => void) | undefined;

  constructor(stream: ServerStream, head: RequestHead, endStream: boolean, handler: FetchHandler) {
    this.#stream = stream;
    let request: Request;
    try {
      request = this.#request(head, endStream);
    } catch {
      this.#sendPlain(400);
      return;
    }
    if (request.method !== head.method) {
      // Bun makes a GET of a method that it does not know.
      this.#sendPlain(405);
      return;
    }
    this.#answer(request, handler).catch(() => {
      if (!this.#closed) this.#stream.reset(ErrorCode.internalError);
    });
  }

  #request(head: RequestHead, endStream: boolean): Request {
    const headers = new Headers();
    for (const [name, value] of head.fields) headers.append(name, value);
    const url = `${head.scheme}://${head.authority === "" ? "localhost" : head.authority}${head.path}`;
    const { method } = head;
    const signal = this.#abort.signal;
    if (endStream || method === "GET" || method === "HEAD") {
      return new Request(url, { method, headers, signal });
    }
    this.#stream.holdCredit();
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => void (this.#body = controller),
      pull: () => this.#returnCredit(),
    }, new ByteLengthQueuingStrategy({ highWaterMark: BODY_AHEAD_BYTES }));
    return new Request(url, { method, headers, signal, body, duplex: "half" } as RequestInit);
  }

  async #answer(request: Request, handler: FetchHandler): Promise<void> {
    let response: Response;
    try {
      response = await handler(request, this.#stream);
    } catch {
      return this.#sendPlain(500);
    }
    const fields: [string, string][] = [[":status", String(response.status)]];
    response.headers.forEach((value, name) => {
      if (!CONNECTION_HEADERS.has(name)) fields.push([name, value]);
    });
    if (response.body === null || request.method === "HEAD") {
      await response.body?.cancel();
      this.#stream.sendFields(fields, true);
      return;
    }
    this.#stream.sendFields(fields, false);
    const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      if (this.#closed) return reader.cancel();
      this.#stream.sendData(next.value, false);
      if (this.#stream.bufferedBytes > OUTPUT_AHEAD_BYTES) await this.#writable();
    }
    this.#stream.sendData(new Uint8Array(0), true);
  }

  #writable(): Promise<void> {
    return new Promise((resolve) => this.#onWritable = resolve);
  }

  #sendPlain(status: number): void {
    this.#stream.sendFields([[":status", String(status)], ["content-length", "0"]], true);
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    this.#body?.enqueue(chunk.slice(start, end));
    // Credit comes back as long as the handler keeps up; one that does not read holds at most a window.
    this.#unreturned += end - start;
    if ((this.#body?.desiredSize ?? 1) > 0) this.#returnCredit();
  }

  #returnCredit(): void {
    if (this.#unreturned > 0) this.#stream.releaseCredit(this.#unreturned);
    this.#unreturned = 0;
  }

  onEnd(_trailers: readonly HeaderField[]): void {
    this.#body?.close();
    this.#body = undefined;
  }

  onReset(_errorCode: number): void {
    this.#closed = true;
    this.#abort.abort();
    this.#body?.error(new Error("the request was reset"));
    this.#body = undefined;
    this.onWritable();
  }

  onWritable(): void {
    const resume = this.#onWritable;
    this.#onWritable = undefined;
    resume?.();
  }
}
