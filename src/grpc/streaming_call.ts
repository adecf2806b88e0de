import type { HeaderField, RequestBody, ServerStream } from "../http2/api.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { AcceptedHead } from "./call_head.ts";
import type { DeadlineNode } from "./deadlines.ts";
import { decompressMessage, MessageReader } from "./framing.ts";
import { fieldValue } from "./metadata.ts";
import type { CallContext, StreamCall, StreamConsumer, StreamMethod } from "./method.ts";
import {
  type GrpcServer,
  gzipResponseBlock,
  okTrailersBlock,
  responseBlock,
  sendStatus,
  writeReply,
} from "./server.ts";
import { canceled, Code, deadlineExceeded, RpcError } from "./status.ts";

/** Output of one call that may wait before the handler is asked to stop producing, unless its method says. */
const WAITING_BYTES_MAX = 256 * 1024;

/** One streaming call: takes the body, and is both the handler's call and its context. */
export class StreamingCall implements RequestBody, CallContext, StreamCall<unknown>, DeadlineNode {
  readonly head: AcceptedHead;
  deadlineMs = Infinity;
  previousDeadline: DeadlineNode | undefined = undefined;
  nextDeadline: DeadlineNode | undefined = undefined;
  readonly #server: GrpcServer;
  readonly #stream: ServerStream;
  readonly #startedMs: number;
  readonly #waitingBytesMax: number;
  readonly #takesOneMessage: boolean;
  readonly #reader: MessageReader;
  #consumer: StreamConsumer<unknown> | undefined = undefined;
  /** The message of a call that takes one: it is handed over when the client has said that it is the only one. */
  #onlyMessage: unknown = undefined;
  #headersSent = false;
  #ended = false;
  #cancelReason: RpcError | undefined = undefined;
  #onCancel: ((reason: RpcError) => void)[] = [];

  constructor(server: GrpcServer, stream: ServerStream, head: AcceptedHead) {
    this.#server = server;
    this.#stream = stream;
    this.head = head;
    this.#startedMs = server.options.clock.monotonicMs();
    const budget = server.budgetOf(stream.connection);
    this.#reader = new MessageReader(server.options.limits, budget, (compressed, bytes) => {
      this.#take(compressed, bytes);
    });
    const method = head.route.method as StreamMethod<unknown, unknown>;
    this.#waitingBytesMax = method.waitingBytesMax ?? WAITING_BYTES_MAX;
    this.#takesOneMessage = method.kind === "server_stream";
    this.#guard(() => {
      server.options.admit(method, this);
      this.#consumer = method.open(this);
    });
  }

  // RequestBody

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    this.#guard(() => this.#reader.push(chunk, start, end));
  }

  #take(compressed: boolean, bytes: Uint8Array): void {
    if (this.#ended) return;
    const { compression, limits, traffic } = this.#server.options;
    const message = compressed ? decompressMessage(bytes, this.head.encoding, compression, limits) : bytes;
    traffic.receivedBytes += message.length;
    this.head.route.stats.received += 1;
    if (!this.#takesOneMessage) return this.#consumer?.onMessage(this.#decode(message));
    if (this.#onlyMessage !== undefined) throw wrongCount("received multiple request messages for");
    this.#onlyMessage = this.#decode(message);
  }

  #decode(message: Uint8Array): unknown {
    try {
      return this.head.route.method.decode(message, 0, message.length);
    } catch (error) {
      const text = `grpc: failed to unmarshal the received message: ${(error as Error).message}`;
      throw new RpcError(Code.Internal, text);
    }
  }

  onEnd(_trailers: readonly HeaderField[]): void {
    if (this.#ended) return;
    this.#guard(() => {
      if (!this.#reader.atBoundary) throw new RpcError(Code.Internal, "unexpected EOF");
      if (this.#takesOneMessage) {
        if (this.#onlyMessage === undefined) throw wrongCount("received no request message from");
        this.#consumer?.onMessage(this.#onlyMessage);
      }
      this.#consumer?.onHalfClose();
    });
  }

  onReset(_errorCode: number): void {
    this.#cancel(canceled());
  }

  onWritable(): void {
    if (!this.#ended) this.#guard(() => this.#consumer?.onWritable());
  }

  onDeadline(): void {
    const reason = deadlineExceeded();
    if (!this.#ended) sendStatus(this.#stream, this.#headersSent, reason);
    this.#cancel(reason);
  }

  /** Whatever a handler throws ends the call with its status. */
  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(error);
    }
  }

  #cancel(reason: RpcError): void {
    if (this.#ended) return;
    this.#cancelReason = reason;
    this.#finish(reason.code, reason);
    for (const listener of this.#onCancel) listener(reason);
  }

  #finish(code: Code, reason: RpcError | undefined): void {
    this.#ended = true;
    this.#reader.close();
    if (this.deadlineMs !== Infinity) this.#server.deadlines.leave(this);
    const { stats } = this.head.route;
    stats.handled[code]! += 1;
    stats.handling?.observe((this.#server.options.clock.monotonicMs() - this.#startedMs) / 1000);
    const consumer = this.#consumer;
    this.#consumer = undefined;
    consumer?.onClose(reason);
  }

  // StreamCall

  get context(): CallContext {
    return this;
  }

  send(reply: unknown): void {
    if (this.#ended) return;
    this.#sendHeaders();
    writeReply(this.#server, this.#stream, this.head, reply);
  }

  sendBytes(message: Uint8Array): void {
    this.send(message);
  }

  #sendHeaders(): void {
    if (this.#headersSent) return;
    this.#headersSent = true;
    this.#stream.sendBlock(this.head.gzipReplies ? gzipResponseBlock : responseBlock, false);
  }

  get writable(): boolean {
    return !this.#ended && this.#stream.bufferedBytes <= this.#waitingBytesMax;
  }

  end(): void {
    if (this.#ended) return;
    this.#sendHeaders();
    this.#stream.sendBlock(okTrailersBlock, true);
    this.#finish(Code.Ok, undefined);
  }

  fail(error: unknown): void {
    if (this.#ended) return;
    const status = error instanceof RpcError ? error : this.#server.options.toStatus(error);
    sendStatus(this.#stream, this.#headersSent, status);
    this.#finish(status.code, status);
  }

  get ended(): boolean {
    return this.#ended;
  }

  // CallContext

  get peer(): PeerInfo {
    return this.#stream.connection.peer;
  }

  metadata(name: string): string | undefined {
    return fieldValue(this.head.fields, name);
  }

  get requestBytes(): Uint8Array | undefined {
    return undefined;
  }

  get cancelled(): boolean {
    return this.#cancelReason !== undefined;
  }

  onCancel(listener: (reason: RpcError) => void): void {
    if (this.#cancelReason !== undefined) listener(this.#cancelReason);
    else this.#onCancel.push(listener);
  }
}

/** The words are grpc-go's. */
function wrongCount(what: string): RpcError {
  return new RpcError(Code.Internal, `cardinality violation: ${what} non-client-streaming RPC`);
}
