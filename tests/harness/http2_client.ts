/**
 * HTTP/2 for Connect's transports by our own client: on Deno, that of node:http2 now and then loses the end of a
 * response ("Premature close"), whatever the server.
 */
import type {
  UniversalClientFn,
  UniversalClientRequest,
  UniversalClientResponse,
} from "@connectrpc/connect/protocol";
import { concatBytes } from "../../src/base/bytes.ts";
import type { HeaderField } from "../../src/http2/api.ts";
import {
  ClientConnection,
  clientOptions,
  type ResponseHandler,
  type ResponseHead,
} from "../../src/http2/client_connection.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { WAIT_MS_MAX, within } from "./deadline.ts";
import { closeConnection } from "./grpc_client.ts";

export interface Http2Client {
  readonly call: UniversalClientFn;
  close(): Promise<void>;
}

/** Connects to a port of 127.0.0.1. Requests and responses are held whole. */
export async function connectHttp2(port: number): Promise<Http2Client> {
  const { sockets, clock } = await loadRuntime();
  const address = { kind: "tcp", host: "127.0.0.1", port } as const;
  const stream = await sockets.connect(address, { timeoutMs: WAIT_MS_MAX });
  let onClosed = (): void => {};
  const closed = new Promise<void>((resolve) => onClosed = resolve);
  const connection = new ClientConnection(stream, clientOptions(clock, { onClosed }));
  return {
    call: async (request) => await within(request.url, call(connection, request, await bodyOf(request))),
    close: () => closeConnection(connection, closed),
  };
}

async function bodyOf({ body = each([]) }: UniversalClientRequest): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of body) parts.push(part);
  return concatBytes(parts);
}

function call(
  connection: ClientConnection,
  { url, method, header }: UniversalClientRequest,
  body: Uint8Array,
): Promise<UniversalClientResponse> {
  const { host, pathname, search } = new URL(url);
  const block = encodeStaticBlock([
    [":method", method],
    [":scheme", "http"],
    [":path", pathname + search],
    [":authority", host],
    ...header,
  ]);
  return new Promise((resolve, reject) => {
    const request = connection.open(block, new Response(resolve, reject), body.length === 0);
    if (request === undefined) reject(new Error("The connection takes no requests"));
    else if (body.length > 0) request.sendData(body, true);
  });
}

class Response implements ResponseHandler {
  readonly #resolve: (response: UniversalClientResponse) => void;
  readonly #reject: (error: Error) => void;
  readonly #parts: Uint8Array[] = [];
  #head: ResponseHead | undefined;

  constructor(resolve: (response: UniversalClientResponse) => void, reject: (error: Error) => void) {
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onHead(head: ResponseHead): void {
    this.#head = head;
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    this.#parts.push(chunk.slice(start, end));
  }

  onEnd(trailers: readonly HeaderField[]): void {
    const { status, fields } = this.#head!;
    const [header, trailer] = [headersOf(fields), headersOf(trailers)];
    this.#resolve({ status, header, body: each(this.#parts), trailer });
  }

  onReset(errorCode: number): void {
    this.#reject(new Error(`The stream was reset: ${errorCode}`));
  }

  onWritable(): void {}
}

function headersOf(fields: readonly HeaderField[]): Headers {
  return new Headers(fields.map(([name, value]) => [name, value]));
}

async function* each(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}
