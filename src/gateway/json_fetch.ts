import type { HttpAnswer, HttpCall, HttpCallBody } from "../ports/http_call.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { JsonGateway } from "./json_gateway.ts";

/** Bytes of a streamed answer that may wait for the client before the handler is asked to stop producing. */
const OUTPUT_AHEAD_BYTES = 256 * 1024;

/** Answers a request of the fetch API: for what does not come to the gateway directly. */
export function serveJsonFetch(gateway: JsonGateway, request: Request, peer: PeerInfo): Promise<Response> {
  return new Promise((resolve) => {
    const url = new URL(request.url);
    const answer = new FetchAnswer(resolve);
    const call: HttpCall = {
      method: request.method,
      target: url.pathname + url.search,
      peer,
      header: (name) => request.headers.get(name) ?? undefined,
    };
    const body = gateway.open(call, answer);
    if (body === undefined) return resolve(new Response("404 page not found\n", { status: 404 }));
    answer.body = body;
    request.signal.addEventListener("abort", () => body.onAbort(), { once: true });
    void pushBody(request, body);
  });
}

async function pushBody(request: Request, body: HttpCallBody): Promise<void> {
  try {
    if (request.body !== null) {
      const reader = request.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
      for (let next = await reader.read(); !next.done; next = await reader.read()) body.onData(next.value);
    }
    body.onEnd();
  } catch {
    body.onAbort();
  }
}

class FetchAnswer implements HttpAnswer {
  body: HttpCallBody | undefined;
  readonly #resolve: (response: Response) => void;
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined;

  constructor(resolve: (response: Response) => void) {
    this.#resolve = resolve;
  }

  send(status: number, headers: Readonly<Record<string, string>>, body: Uint8Array): void {
    this.#resolve(new Response(body.slice(), { status, headers }));
  }

  begin(status: number, headers: Readonly<Record<string, string>>): void {
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => void (this.#controller = controller),
      pull: () => this.body?.onWritable(),
      cancel: () => {
        this.#controller = undefined;
        this.body?.onAbort();
      },
    }, new ByteLengthQueuingStrategy({ highWaterMark: OUTPUT_AHEAD_BYTES }));
    this.#resolve(new Response(stream, { status, headers }));
  }

  write(bytes: Uint8Array): void {
    this.#controller?.enqueue(bytes);
  }

  end(): void {
    this.#controller?.close();
    this.#controller = undefined;
  }

  /** Before the head is sent nothing waits. */
  get writable(): boolean {
    return this.#controller === undefined || (this.#controller.desiredSize ?? 0) > 0;
  }
}
