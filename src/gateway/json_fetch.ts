import { ByteWriter } from "../base/byte_writer.ts";
import type { HttpExchange, RequestBody } from "../http1/api.ts";
import type { ResponseHead } from "../http1/response_head.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { JsonGateway } from "./json_gateway.ts";

/** Bytes of a streamed answer that may wait for the client before the handler is asked to stop producing. */
const OUTPUT_AHEAD_BYTES = 256 * 1024;

/** Answers a request of the fetch API: for what does not come to the gateway directly. */
export function serveJsonFetch(gateway: JsonGateway, request: Request, peer: PeerInfo): Promise<Response> {
  return new Promise((resolve) => {
    const exchange = new FetchedExchange(request, peer, resolve);
    const body = gateway.open(exchange);
    if (body === undefined) return resolve(new Response("404 page not found\n", { status: 404 }));
    exchange.body = body;
    request.signal.addEventListener("abort", () => exchange.abort(), { once: true });
    void pushBody(request, exchange, body);
  });
}

async function pushBody(request: Request, exchange: FetchedExchange, body: RequestBody): Promise<void> {
  try {
    if (request.body !== null) {
      const reader = request.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        body.onData(next.value, 0, next.value.length);
      }
    }
    if (!exchange.ended) body.onEnd();
  } catch {
    exchange.abort();
  }
}

/** A request of the fetch API, and the response that is made for it, as the gateway wants them. */
class FetchedExchange implements HttpExchange {
  readonly method: string;
  readonly target: string;
  readonly peer: PeerInfo;
  body: RequestBody | undefined;
  ended = false;
  bodyIsOpenEnded = false;
  readonly #request: Request;
  readonly #resolve: (response: Response) => void;
  #reply: { readonly head: ResponseHead; readonly body: ByteWriter } | undefined;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(request: Request, peer: PeerInfo, resolve: (response: Response) => void) {
    const url = new URL(request.url);
    this.method = request.method;
    this.target = url.pathname + url.search;
    this.peer = peer;
    this.#request = request;
    this.#resolve = resolve;
  }

  header(name: string): string | undefined {
    return this.#request.headers.get(name) ?? undefined;
  }

  abort(): void {
    if (this.ended) return;
    this.ended = true;
    this.#controller = undefined;
    this.body?.onAbort();
  }

  startReply(head: ResponseHead): ByteWriter {
    this.#reply = { head, body: new ByteWriter(1024) };
    return this.#reply.body;
  }

  cancelReply(): void {
    this.#reply = undefined;
  }

  finishReply(): void {
    if (this.ended || this.#reply === undefined) return;
    const { head, body } = this.#reply;
    this.ended = true;
    this.#resolve(new Response(body.toBytes() as Uint8Array<ArrayBuffer>, responseInit(head)));
  }

  begin(head: ResponseHead): void {
    if (this.ended) return;
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => void (this.#controller = controller),
      pull: () => this.body?.onWritable(),
      cancel: () => this.abort(),
    }, new ByteLengthQueuingStrategy({ highWaterMark: OUTPUT_AHEAD_BYTES }));
    this.#resolve(new Response(stream, responseInit(head)));
  }

  write(bytes: Uint8Array): void {
    this.#controller?.enqueue(bytes);
  }

  end(): void {
    this.ended = true;
    this.#controller?.close();
    this.#controller = undefined;
  }

  destroy(): void {
    if (this.ended) return;
    this.ended = true;
    this.#controller?.error(new Error("The response was broken off"));
    this.#controller = undefined;
  }

  /** Before the head is sent nothing waits. */
  get writable(): boolean {
    return this.#controller === undefined || (this.#controller.desiredSize ?? 0) > 0;
  }
}

function responseInit({ status, fields }: ResponseHead): ResponseInit {
  return { status, headers: fields.map(([name, value]): [string, string] => [name, value]) };
}
