/** A gRPC client for tests that works on bytes: it can send what no proper client would. */
import {
  create,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { concatBytes, EMPTY_BYTES } from "../../src/base/bytes.ts";
import { codeNames, decodeStatusMessage } from "../../src/grpc/status.ts";
import type { HeaderField } from "../../src/http2/api.ts";
import { ClientConnection, clientOptions, type ResponseHandler } from "../../src/http2/client_connection.ts";
import type { ResponseHead } from "../../src/http2/client_connection.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { WAIT_MS_MAX } from "./deadline.ts";

const CLOSE_GRACE_MS = 5_000;
const PREFIX_BYTES = 5;

/** How a call ended. */
export interface CallResult {
  /** Name of the gRPC status, "OK" for success; "reset <code>" or "http <status>" without one. */
  readonly status: string;
  /** The text of the status. */
  readonly message: string;
  /** The messages of the response, prefixes removed. */
  readonly messages: readonly Uint8Array[];
  /** Fields of the response's head and trailers. */
  readonly fields: readonly HeaderField[];
}

export interface CallOptions {
  /** Fields beside those that every gRPC request has. */
  readonly metadata?: readonly HeaderField[];
  /** Fields in place of all that a gRPC request has, pseudo-headers included. */
  readonly head?: readonly HeaderField[];
  /** Leaves the request open. */
  readonly halfOpen?: boolean;
}

/** One connection to a server. */
export class GrpcClient {
  readonly #connection: ClientConnection;
  readonly #authority: string;
  readonly #blocks = new Map<string, Uint8Array>();
  readonly #closed: Promise<void>;

  private constructor(connection: ClientConnection, authority: string, closed: Promise<void>) {
    this.#connection = connection;
    this.#authority = authority;
    this.#closed = closed;
  }

  static async connect(port: number): Promise<GrpcClient> {
    const { sockets, clock } = await loadRuntime();
    const address = { kind: "tcp", host: "127.0.0.1", port } as const;
    const stream = await sockets.connect(address, { timeoutMs: WAIT_MS_MAX });
    let onClosed = (): void => {};
    const closed = new Promise<void>((resolve) => onClosed = resolve);
    const connection = new ClientConnection(stream, clientOptions(clock, { onClosed }));
    return new GrpcClient(connection, `127.0.0.1:${port}`, closed);
  }

  /** Ends the connection once its calls have ended; calls that go on are broken off after some seconds. */
  async close(): Promise<void> {
    await closeConnection(this.#connection, this.#closed);
  }

  /** Calls `/service/Method` with one message. */
  unary(path: string, message: Uint8Array, options: CallOptions = {}): Promise<CallResult> {
    return this.raw(path, frame(message), options);
  }

  /** Calls with a body as it is, message prefixes and all. An empty body is not sent as a frame. */
  raw(path: string, body: Uint8Array, options: CallOptions = {}): Promise<CallResult> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${path}: no answer`)), WAIT_MS_MAX);
      const response = new Response((result) => {
        clearTimeout(timer);
        resolve(result);
      });
      const endsWithHead = body.length === 0 && options.halfOpen !== true;
      const stream = this.#connection.open(this.#block(path, options), response, endsWithHead);
      if (stream === undefined) {
        clearTimeout(timer);
        return reject(new Error(`${path}: the connection takes no requests`));
      }
      if (body.length > 0) stream.sendData(body, options.halfOpen !== true);
    });
  }

  /** A call by its descriptor. Errors are results, and so is a response that does not parse. */
  async call<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
    options: CallOptions = {},
  ): Promise<CallResult & { readonly response: MessageShape<O> | undefined }> {
    const bytes = toBinary(method.input, create(method.input, request));
    const result = await this.unary(`/${method.parent.typeName}/${method.name}`, bytes, options);
    const [message] = result.messages;
    const response = result.status === "OK" && message !== undefined
      ? fromBinary(method.output, message, { recursionLimit: 1_000 })
      : undefined;
    return { ...result, response };
  }

  #block(path: string, { head, metadata = [] }: CallOptions): Uint8Array {
    if (head !== undefined) return encodeStaticBlock(head);
    const key = `${path}\n${metadata.join("\n")}`;
    let block = this.#blocks.get(key);
    if (block === undefined) {
      block = encodeStaticBlock([...grpcHead(path, this.#authority), ...metadata]);
      this.#blocks.set(key, block);
    }
    return block;
  }
}

/**
 * Ends a connection once its calls have ended, or with them. Those of a test that has failed may go on for ever,
 * and it is that failure which is to be seen: this neither waits for long nor throws.
 */
export async function closeConnection(connection: ClientConnection, closed: Promise<void>): Promise<void> {
  connection.close();
  const timer = setTimeout(() => connection.destroy(), CLOSE_GRACE_MS);
  await closed;
  clearTimeout(timer);
}

/** The fields that a gRPC request begins with. */
export function grpcHead(path: string, authority = "127.0.0.1"): HeaderField[] {
  return [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", authority],
    ["content-type", "application/grpc"],
    ["te", "trailers"],
  ];
}

/** A message with its prefix. `length` is what the prefix claims. */
export function frame(message: Uint8Array, flags = 0, length = message.length): Uint8Array {
  const bytes = new Uint8Array(PREFIX_BYTES + message.length);
  bytes[0] = flags;
  new DataView(bytes.buffer).setUint32(1, length);
  bytes.set(message, PREFIX_BYTES);
  return bytes;
}

class Response implements ResponseHandler {
  readonly #done: (result: CallResult) => void;
  readonly #parts: Uint8Array[] = [];
  #head: ResponseHead | undefined;

  constructor(done: (result: CallResult) => void) {
    this.#done = done;
  }

  onHead(head: ResponseHead): void {
    this.#head = head;
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    this.#parts.push(chunk.slice(start, end));
  }

  onEnd(trailers: readonly HeaderField[]): void {
    const head = this.#head!;
    const fields = [...head.fields, ...trailers];
    const code = fieldOf(fields, "grpc-status");
    const status = code === undefined ? `http ${head.status}` : codeNames[Number(code)] ?? `code ${code}`;
    const message = decodeStatusMessage(fieldOf(fields, "grpc-message") ?? "");
    const body = concatBytes(this.#parts);
    this.#done({ status, message, fields, messages: code === undefined ? [body] : messagesOf(body) });
  }

  onReset(errorCode: number): void {
    this.#done({ status: `reset ${errorCode}`, message: "", messages: [], fields: this.#head?.fields ?? [] });
  }

  onWritable(): void {}
}

function fieldOf(fields: readonly HeaderField[], name: string): string | undefined {
  return fields.find((field) => field[0] === name)?.[1];
}

function messagesOf(body: Uint8Array): Uint8Array[] {
  const messages: Uint8Array[] = [];
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  let at = 0;
  while (at + PREFIX_BYTES <= body.length) {
    const end = at + PREFIX_BYTES + view.getUint32(at + 1);
    messages.push(body.subarray(at + PREFIX_BYTES, end));
    at = end;
  }
  if (at !== body.length) throw new Error("The response's body is no sequence of messages");
  return messages;
}

/** No bytes, for requests without fields. */
export const NOTHING: Uint8Array = EMPTY_BYTES;
