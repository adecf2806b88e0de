import { Pending, type PendingObserver } from "../base/pending.ts";
import type { HeaderField, RequestBody, ServerStream } from "../http2/api.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { AcceptedHead } from "./call_head.ts";
import type { DeadlineNode } from "./deadlines.ts";
import { decompressMessage, MESSAGE_PREFIX_BYTES, messageLength, MessageReader } from "./framing.ts";
import { LongReply, replyTooLarge, SENT_BYTES_MAX } from "./long_reply.ts";
import { fieldValue } from "./metadata.ts";
import type { CallContext, UnaryMethod } from "./method.ts";
import {
  type GrpcServer,
  gzipResponseBlock,
  okTrailersBlock,
  responseBlock,
  sendStatus,
  writeReply,
} from "./server.ts";
import { canceled, Code, deadlineExceeded, RpcError } from "./status.ts";

/**
 * One unary call: the only object a request costs here. It takes the body, is the handler's context,
 * observes a pending reply and writes the answer into the connection's output.
 */
export class UnaryCall implements RequestBody, CallContext, PendingObserver<unknown>, DeadlineNode {
  readonly head: AcceptedHead;
  deadlineMs = Infinity;
  previousDeadline: DeadlineNode | undefined = undefined;
  nextDeadline: DeadlineNode | undefined = undefined;
  readonly #server: GrpcServer;
  readonly #stream: ServerStream;
  readonly #startedMs: number;
  /** The message is `#message[#start, #end)`; nothing has arrived while it is undefined. */
  #message: Uint8Array | undefined = undefined;
  #start = 0;
  #end = 0;
  #reader: MessageReader | undefined = undefined;
  #done = false;
  /** A reply that is still being sent after the call is done. */
  #longReply: LongReply | undefined = undefined;
  #cancelReason: RpcError | undefined = undefined;
  #onCancel: ((reason: RpcError) => void) | undefined = undefined;

  constructor(server: GrpcServer, stream: ServerStream, head: AcceptedHead) {
    this.#server = server;
    this.#stream = stream;
    this.head = head;
    this.#startedMs = server.options.clock.recentMs;
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (this.#done) return;
    const whole = this.#reader === undefined && this.#message === undefined &&
      end - start >= MESSAGE_PREFIX_BYTES && chunk[start] === 0 &&
      messageLength(chunk, start) === end - start - MESSAGE_PREFIX_BYTES;
    if (whole && end - start - MESSAGE_PREFIX_BYTES <= this.#server.options.limits.receiveBytesMax) {
      this.#message = chunk;
      this.#start = start + MESSAGE_PREFIX_BYTES;
      this.#end = end;
      return;
    }
    try {
      this.#reader ??= this.#newReader();
      this.#reader.push(chunk, start, end);
    } catch (error) {
      this.onError(error);
    }
  }

  #newReader(): MessageReader {
    const server = this.#server;
    const budget = server.budgetOf(this.#stream.connection);
    return new MessageReader(server.options.limits, budget, (compressed, bytes) => {
      this.#takeMessage(compressed, bytes);
    });
  }

  /** A message that came in pieces or compressed. Messages after the first are ignored, as grpc-go does. */
  #takeMessage(compressed: boolean, bytes: Uint8Array): void {
    if (this.#message !== undefined) return;
    const { compression, limits } = this.#server.options;
    const message = compressed ? decompressMessage(bytes, this.head.encoding, compression, limits) : bytes;
    this.#message = message;
    this.#start = 0;
    this.#end = message.length;
  }

  onEnd(_trailers: readonly HeaderField[]): void {
    if (this.#done) return;
    if (this.#message === undefined) {
      // The code and the words are grpc-go's for a message that breaks off, and for one that is not there.
      const brokenOff = this.#reader?.atBoundary === false;
      this.onError(new RpcError(Code.Unknown, brokenOff ? "unexpected EOF" : "EOF"));
      return;
    }
    const { route } = this.head;
    route.stats.received += 1;
    const { options } = this.#server;
    options.traffic.receivedBytes += this.#end - this.#start;
    const method = route.method as UnaryMethod<unknown, unknown>;
    let request: unknown;
    try {
      request = method.decode(this.#message, this.#start, this.#end);
    } catch (error) {
      const text = `grpc: error unmarshalling request: ${(error as Error).message}`;
      this.onError(new RpcError(Code.Internal, text));
      return;
    }
    try {
      options.admit(method, this);
      const reply = method.handle(request, this);
      if (reply instanceof Pending) reply.observe(this);
      else if (reply instanceof Promise) {
        reply.then((value) => this.onValue(value), (error) => this.onError(error));
      } else this.onValue(reply);
    } catch (error) {
      this.onError(error);
    }
  }

  onValue(reply: unknown): void {
    const isLong = reply instanceof LongReply;
    if (this.#done) {
      if (isLong) reply.close();
      return;
    }
    if (isLong && reply.length > SENT_BYTES_MAX) {
      reply.close();
      return this.onError(replyTooLarge(reply.length));
    }
    const stream = this.#stream;
    stream.sendBlock(this.head.gzipReplies && !isLong ? gzipResponseBlock : responseBlock, false);
    if (isLong) this.#sendLong(reply);
    else writeReply(this.#server, stream, this.head, reply);
    stream.sendBlock(okTrailersBlock, true);
    this.#finish(Code.Ok);
  }

  /** The rest is the stream's: it reads the reply as the client takes it, and tells when the client has gone. */
  #sendLong(reply: LongReply): void {
    const stream = this.#stream;
    const out = stream.startData();
    const at = out.length;
    out.reserve(MESSAGE_PREFIX_BYTES);
    out.length += MESSAGE_PREFIX_BYTES;
    out.bytes[at] = 0;
    out.setUint32(at + 1, reply.length);
    stream.finishData(false);
    this.#longReply = reply;
    reply.onReadable = () => stream.resumeSource();
    stream.sendFrom(reply, reply.length);
    this.#server.options.traffic.sentBytes += reply.length;
    this.head.route.stats.sent += 1;
  }

  onError(error: unknown): void {
    if (this.#done) return;
    const status = error instanceof RpcError ? error : this.#server.options.toStatus(error);
    sendStatus(this.#stream, false, status);
    this.#finish(status.code);
  }

  onReset(_errorCode: number): void {
    this.#longReply?.close();
    this.#cancel(canceled());
  }

  onDeadline(): void {
    const reason = deadlineExceeded();
    if (!this.#done) sendStatus(this.#stream, false, reason);
    this.#cancel(reason);
  }

  #cancel(reason: RpcError): void {
    if (this.#done) return;
    this.#cancelReason = reason;
    this.#finish(reason.code);
    this.#onCancel?.(reason);
  }

  onWritable(): void {}

  #finish(code: Code): void {
    this.#done = true;
    this.#reader?.close();
    if (this.deadlineMs !== Infinity) this.#server.deadlines.leave(this);
    const { stats } = this.head.route;
    stats.handled[code]! += 1;
    const { onUnaryDone, clock } = this.#server.options;
    if (onUnaryDone === undefined && stats.handling === undefined) return;
    const tookMs = clock.recentMs - this.#startedMs;
    stats.handling?.observe(tookMs / 1000);
    onUnaryDone?.(this, tookMs, code);
  }

  // CallContext

  get peer(): PeerInfo {
    return this.#stream.connection.peer;
  }

  metadata(name: string): string | undefined {
    return fieldValue(this.head.fields, name);
  }

  get requestBytes(): Uint8Array | undefined {
    return this.#message?.subarray(this.#start, this.#end);
  }

  get cancelled(): boolean {
    return this.#cancelReason !== undefined;
  }

  onCancel(listener: (reason: RpcError) => void): void {
    if (this.#cancelReason !== undefined) listener(this.#cancelReason);
    else this.#onCancel = listener;
  }
}
