/** Streaming gRPC calls for tests, on bytes: several to a connection, requests and responses as they come. */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { concatBytes } from "../../src/base/bytes.ts";
import { decodeWatchResponse } from "../../src/gen/codec/etcdserverpb/watch_codec.ts";
import {
  type WatchCreateRequestSchema,
  WatchRequestSchema,
  type WatchResponse,
} from "../../src/gen/etcdserverpb/watch_pb.ts";
import { codeNames, decodeStatusMessage } from "../../src/grpc/status.ts";
import type { HeaderField } from "../../src/http2/api.ts";
import {
  ClientConnection,
  clientOptions,
  type ClientStream,
  type ResponseHandler,
} from "../../src/http2/client_connection.ts";
import type { ResponseHead } from "../../src/http2/client_connection.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { WAIT_MS_MAX } from "./deadline.ts";
import { closeConnection, frame, grpcHead } from "./grpc_client.ts";

const PREFIX_BYTES = 5;
const CANCEL = 8;

/** One connection to a server. */
export class StreamClient {
  readonly #connection: ClientConnection;
  readonly #authority: string;
  readonly #closed: Promise<void>;

  private constructor(connection: ClientConnection, authority: string, closed: Promise<void>) {
    this.#connection = connection;
    this.#authority = authority;
    this.#closed = closed;
  }

  static async connect(port: number): Promise<StreamClient> {
    const { sockets, clock } = await loadRuntime();
    const address = { kind: "tcp", host: "127.0.0.1", port } as const;
    const transport = await sockets.connect(address, { timeoutMs: WAIT_MS_MAX });
    let onClosed = (): void => {};
    const closed = new Promise<void>((resolve) => onClosed = resolve);
    const connection = new ClientConnection(transport, clientOptions(clock, { onClosed }));
    return new StreamClient(connection, `127.0.0.1:${port}`, closed);
  }

  open(path: string, metadata: readonly HeaderField[] = []): GrpcStream {
    const stream = new GrpcStream();
    const block = encodeStaticBlock([...grpcHead(path, this.#authority), ...metadata]);
    const opened = this.#connection.open(block, stream, false);
    if (opened === undefined) throw new Error("The connection takes no more requests");
    stream.opened(opened);
    return stream;
  }

  watch(metadata: readonly HeaderField[] = []): WatchClient {
    return new WatchClient(this.open("/etcdserverpb.Watch/Watch", metadata));
  }

  /** Ends the connection once its calls have ended; calls that go on are broken off after some seconds. */
  async close(): Promise<void> {
    await closeConnection(this.#connection, this.#closed);
  }
}

/** One call. */
export class GrpcStream implements ResponseHandler {
  /** Called with each message in place of `next`, without a copy. */
  onMessage: ((message: Uint8Array) => void) | undefined;
  #stream: ClientStream | undefined;
  #rest: Uint8Array[] = [];
  #restBytes = 0;
  #messages: Uint8Array[] = [];
  #status: string | undefined;
  #wake: (() => void) | undefined;
  #heldBytes = 0;
  #isPaused = false;
  /** From the first pause on, window is granted by hand. */
  #holdsCredit = false;

  opened(stream: ClientStream): void {
    this.#stream = stream;
  }

  send(message: Uint8Array): void {
    this.#stream!.sendData(frame(message), false);
  }

  halfClose(): void {
    this.#stream!.sendData(new Uint8Array(0), true);
  }

  cancel(): void {
    this.#stream!.reset(CANCEL);
  }

  /** Stops granting window: the server has to keep what it wants to send. */
  pause(): void {
    this.#isPaused = true;
    if (!this.#holdsCredit) this.#stream!.holdCredit();
    this.#holdsCredit = true;
  }

  resume(): void {
    this.#isPaused = false;
    if (this.#heldBytes > 0) this.#stream!.releaseCredit(this.#heldBytes);
    this.#heldBytes = 0;
  }

  /** The next message. Throws when the call ends, or nothing comes. */
  async next(timeoutMs = WAIT_MS_MAX): Promise<Uint8Array> {
    const message = await this.poll(timeoutMs);
    if (message === undefined) throw new Error(this.#status ?? `no message in ${timeoutMs} ms`);
    return message;
  }

  /** The next message, or undefined when none comes. */
  async poll(timeoutMs: number): Promise<Uint8Array | undefined> {
    await this.#until(() => this.#messages.length > 0 || this.#status !== undefined, timeoutMs);
    return this.#messages.shift();
  }

  /** How the call ended: "OK", "Unavailable: …" or "reset 8". */
  async ended(): Promise<string> {
    await this.#until(() => this.#status !== undefined, WAIT_MS_MAX);
    return this.#status ?? "has not ended";
  }

  async #until(condition: () => boolean, timeoutMs: number): Promise<void> {
    if (condition()) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, timeoutMs));
    let isLate = false;
    void late.then(() => isLate = true);
    while (!condition() && !isLate) {
      await Promise.race([late, new Promise<void>((resolve) => this.#wake = resolve)]);
    }
    clearTimeout(timer);
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  onHead(_head: ResponseHead): void {}

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (this.#holdsCredit) this.#heldBytes += end - start;
    if (!this.#isPaused) this.resume();
    this.#rest.push(chunk.subarray(start, end));
    this.#restBytes += end - start;
    this.#take();
    if (this.#messages.length > 0) this.#notify();
  }

  /** Takes whole messages off what has come. */
  #take(): void {
    if (this.#restBytes < PREFIX_BYTES) return;
    const bytes = this.#rest.length === 1 ? this.#rest[0]! : concatBytes(this.#rest);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    let at = 0;
    while (at + PREFIX_BYTES <= bytes.length) {
      const end = at + PREFIX_BYTES + view.getUint32(at + 1);
      if (end > bytes.length) break;
      const message = bytes.subarray(at + PREFIX_BYTES, end);
      if (this.onMessage !== undefined) this.onMessage(message);
      else this.#messages.push(message);
      at = end;
    }
    this.#rest = at === bytes.length ? [] : [bytes.subarray(at)];
    this.#restBytes = bytes.length - at;
  }

  onEnd(trailers: readonly HeaderField[]): void {
    const fieldOf = (name: string) => trailers.find((field) => field[0] === name)?.[1];
    const code = codeNames[Number(fieldOf("grpc-status"))] ?? "no status";
    const message = decodeStatusMessage(fieldOf("grpc-message") ?? "");
    this.#status = message === "" ? code : `${code}: ${message}`;
    this.#notify();
  }

  onReset(errorCode: number): void {
    this.#status = `reset ${errorCode}`;
    this.#notify();
  }

  onWritable(): void {}
}

/** One Watch call. */
export class WatchClient {
  readonly stream: GrpcStream;

  constructor(stream: GrpcStream) {
    this.stream = stream;
  }

  create(value: MessageInitShape<typeof WatchCreateRequestSchema>): void {
    this.#send({ requestUnion: { case: "createRequest", value } });
  }

  cancel(watchId: bigint): void {
    this.#send({ requestUnion: { case: "cancelRequest", value: { watchId } } });
  }

  requestProgress(): void {
    this.#send({ requestUnion: { case: "progressRequest", value: {} } });
  }

  async next(): Promise<WatchResponse> {
    const message = await this.stream.next();
    return decodeWatchResponse(message, 0, message.length);
  }

  async poll(timeoutMs: number): Promise<WatchResponse | undefined> {
    const message = await this.stream.poll(timeoutMs);
    return message === undefined ? undefined : decodeWatchResponse(message, 0, message.length);
  }

  #send(request: MessageInitShape<typeof WatchRequestSchema>): void {
    this.stream.send(toBinary(WatchRequestSchema, create(WatchRequestSchema, request)));
  }
}
