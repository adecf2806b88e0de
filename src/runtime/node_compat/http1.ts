import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Http1Handler, ListenOptions, PeerInfo } from "../../ports/sockets.ts";
import { plainBytes } from "./byte_stream.ts";
import { startCall } from "./http1_call.ts";

const HEAD_BYTES_MAX = 64 * 1024;
/** What a `Request` may not carry on some runtimes. */
const UNSERVED_METHODS: ReadonlySet<string> = new Set(["CONNECT", "TRACE", "TRACK"]);
/** Bytes of a request body that are read ahead of the handler. */
const BODY_AHEAD_BYTES = 64 * 1024;

export type Http1Options = Pick<ListenOptions, "http1" | "http1Call" | "http1Native" | "http1HeadTimeoutMs">;

/** An HTTP/1.1 server without a port: it is given connections that others accepted. */
export class Http1Server {
  readonly #options: Http1Options;
  readonly #server: Server;
  readonly #connections = new Map<Socket, Connection>();
  #draining = false;

  constructor(options: Http1Options) {
    this.#options = options;
    this.#server = createServer(
      // Their own timeouts need a listening server on some runtimes, so `#awaitHead` has ours.
      {
        maxHeaderSize: HEAD_BYTES_MAX,
        keepAliveTimeout: options.http1HeadTimeoutMs,
        headersTimeout: 0,
        requestTimeout: 0,
      },
      (request, response) => this.#serve(request, response),
    );
    // Deno would close each connection after one response, as if the server were closing (denoland/deno#35609).
    Object.defineProperty(this.#server, "listening", { value: true });
    this.#server.on("clientError", (error, socket) => refuse(error, socket as Socket));
  }

  /** Takes a paused socket; bytes read from it already must have been put back. */
  take(socket: Socket, peer: PeerInfo): void {
    const connection: Connection = { peer, unanswered: 0, timer: undefined };
    this.#connections.set(socket, connection);
    socket.once("close", () => {
      clearTimeout(connection.timer);
      this.#connections.delete(socket);
    });
    this.#awaitHead(socket, connection);
    keepOrder(socket);
    this.#server.emit("connection", socket);
    socket.resume();
  }

  /** Closes idle connections now and the others after their current request. */
  drain(): void {
    this.#draining = true;
    for (const [socket, connection] of this.#connections) {
      if (connection.unanswered === 0) socket.destroy();
    }
  }

  #awaitHead(socket: Socket, connection: Connection): void {
    connection.timer = setTimeout(() => socket.destroy(), this.#options.http1HeadTimeoutMs);
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    if (connection === undefined) {
      socket.destroy(); // It closed in this very turn.
      return;
    }
    clearTimeout(connection.timer);
    connection.unanswered += 1;
    if (this.#draining) response.setHeader("connection", "close");
    response.once("close", () => {
      connection.unanswered -= 1;
      if (connection.unanswered > 0 || socket.destroyed) return;
      socket.resume(); // The body may have been left unread.
      if (this.#draining) socket.end();
      else this.#awaitHead(socket, connection);
    });
    const { http1Native: native, http1Call: call, http1: handler } = this.#options;
    if (native?.(request as never, response as never) === true) return;
    if (call !== undefined && startCall(call, request, response, connection.peer)) return;
    if (handler === undefined) {
      response.writeHead(404).end();
      return;
    }
    void answer(handler, request, response, connection.peer);
  }
}

interface Connection {
  readonly peer: PeerInfo;
  /** Requests whose responses are not finished; pipelining makes it more than 1. */
  unanswered: number;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Runs a handler for one request and sends what it returns. Never rejects. */
async function answer(
  handler: Http1Handler,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  peer: PeerInfo,
): Promise<void> {
  if (UNSERVED_METHODS.has(incoming.method ?? "")) {
    sendPlain(outgoing, 405, "405 Method Not Allowed");
    return;
  }
  const abort = new AbortController();
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) abort.abort();
  });
  outgoing.on("error", () => abort.abort());
  const body = hasBody(incoming) ? bodyOf(incoming, outgoing) : undefined;
  const takesBody = incoming.method !== "GET" && incoming.method !== "HEAD";
  let request: Request;
  try {
    request = new Request(urlOf(incoming, peer), {
      method: incoming.method ?? "GET",
      headers: headersOf(incoming),
      signal: abort.signal,
      ...(body !== undefined && takesBody ? { body, duplex: "half" } : {}),
    } as RequestInit);
  } catch {
    // The method, target or a field is one that HTTP allows to be written but not to be meant.
    sendPlain(outgoing, 400, "400 Bad Request");
    return;
  }
  try {
    const response = await handler(request, { peer, bodyOfGet: takesBody ? undefined : body });
    await send(response, outgoing, incoming.method === "HEAD");
  } catch {
    if (outgoing.headersSent) outgoing.destroy();
    else sendPlain(outgoing, 500, "500 Internal Server Error");
  }
}

function urlOf(incoming: IncomingMessage, peer: PeerInfo): string {
  const target = incoming.url ?? "/";
  const scheme = peer.tls === undefined ? "http" : "https";
  if (target.startsWith("/")) return `${scheme}://${incoming.headers.host || "localhost"}${target}`;
  // The absolute form of a proxy's request, or the "*" of OPTIONS.
  return target === "*" ? `${scheme}://${incoming.headers.host || "localhost"}/*` : target;
}

function headersOf(incoming: IncomingMessage): Headers {
  const headers = new Headers();
  const { rawHeaders } = incoming;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
  return headers;
}

function hasBody(incoming: IncomingMessage): boolean {
  const length = incoming.headers["content-length"];
  return incoming.headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

/** The body as a web stream; reading stops while the handler is `BODY_AHEAD_BYTES` behind. */
function bodyOf(incoming: IncomingMessage, outgoing: ServerResponse): ReadableStream<Uint8Array> {
  let done = false;
  // What still comes is read and dropped, so that the connection can carry the next request.
  const drop = (): void => {
    done = true;
    incoming.socket.resume();
    incoming.resume();
  };
  // A handler may answer without having read all of it.
  outgoing.once("close", drop);
  return new ReadableStream<Uint8Array>({
    start(controller) {
      incoming.on("data", (chunk: Uint8Array) => {
        if (done) return;
        controller.enqueue(plainBytes(chunk));
        if ((controller.desiredSize ?? 0) > 0) return;
        incoming.pause();
        incoming.socket.pause(); // Bun does not pass the pause on.
      });
      incoming.on("end", () => {
        if (done) return;
        done = true;
        controller.close();
      });
      const broken = (): void => {
        if (done) return;
        done = true;
        controller.error(new Error("the request ended before its body did"));
      };
      incoming.on("error", broken);
      incoming.on("close", broken);
    },
    pull() {
      incoming.socket.resume();
      incoming.resume();
    },
    cancel: drop,
  }, new ByteLengthQueuingStrategy({ highWaterMark: BODY_AHEAD_BYTES }));
}

async function send(response: Response, outgoing: ServerResponse, headOnly: boolean): Promise<void> {
  outgoing.statusCode = response.status;
  if (response.statusText !== "") outgoing.statusMessage = response.statusText;
  for (const [name, value] of response.headers) {
    if (name !== "set-cookie") outgoing.setHeader(name, value);
  }
  const cookies = response.headers.getSetCookie();
  if (cookies.length > 0) outgoing.setHeader("set-cookie", cookies);
  if (response.body === null || headOnly) {
    await response.body?.cancel();
    outgoing.end();
    return;
  }
  const reader = response.body.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  outgoing.once("close", () => void reader.cancel().catch(ignore));
  await sendBody(reader, outgoing);
}

/**
 * Sends a body as it comes. A short one, all there in this turn, leaves together with the head and with its
 * length; for one that takes its time nothing is held back beyond the turn.
 */
async function sendBody(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  outgoing: ServerResponse,
): Promise<void> {
  let first: Uint8Array | undefined;
  const flush = setImmediate(() => {
    if (first === undefined) outgoing.flushHeaders();
    else outgoing.write(first);
    first = undefined;
  });
  try {
    let next = await reader.read();
    if (!next.done && !outgoing.headersSent) {
      first = next.value;
      next = await reader.read();
    }
    clearImmediate(flush);
    if (next.done) {
      outgoing.end(first);
      return;
    }
    if (first !== undefined) outgoing.write(first);
    while (!next.done && !outgoing.destroyed) {
      if (!outgoing.write(next.value)) await drained(outgoing);
      next = await reader.read();
    }
    outgoing.end();
  } finally {
    clearImmediate(flush);
  }
}

/** Resolves when the response can take more, or will never. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      outgoing.removeListener("drain", done);
      outgoing.removeListener("close", done);
      resolve();
    };
    outgoing.on("drain", done);
    outgoing.on("close", done);
  });
}

function sendPlain(outgoing: ServerResponse, status: number, text: string): void {
  outgoing.writeHead(status, { "content-type": "text/plain; charset=utf-8", "connection": "close" }).end(
    text,
  );
}

/**
 * A server of `node:http` takes bytes from the socket's handle past the socket, unless somebody does already. On Deno
 * a read that is under way could so overtake the bytes that were put back: a body came before its head.
 */
function keepOrder(socket: Socket): void {
  const { _handle } = socket as { readonly _handle?: { _consumed?: boolean } };
  if (_handle !== undefined && _handle !== null) _handle._consumed = true;
}

/** Answers what is not HTTP, as far as the connection allows. */
function refuse(error: Error, socket: Socket): void {
  const { code } = error as { readonly code?: string };
  if (!socket.writable || code === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const status = code === "HPE_HEADER_OVERFLOW" ? "431 Request Header Fields Too Large" : "400 Bad Request";
  socket.end(
    `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n${status}`,
    () => socket.destroy(),
  );
}

function ignore(): void {}
