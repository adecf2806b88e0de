import type { ByteWriter } from "../base/byte_writer.ts";
import type { Pending } from "../base/pending.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { LongReply } from "./long_reply.ts";
import type { RpcError } from "./status.ts";

/** What a handler knows of the call beside the request message. */
export interface CallContext {
  readonly peer: PeerInfo;
  /** First value of a metadata field (name in lower case), or undefined. */
  metadata(name: string): string | undefined;
  /** The request as it came in, when it came as protobuf; the hot path logs these bytes as they are. */
  readonly requestBytes: Uint8Array | undefined;
  /** Runs once when the client gave up (deadline, reset, lost connection); at once when it already has. */
  onCancel(listener: (reason: RpcError) => void): void;
  readonly cancelled: boolean;
}

/** A unary handler answers now, or later without a promise, or (off the hot path) with one. */
export type Reply<O> = O | LongReply | Pending<O | LongReply> | Promise<O | LongReply>;

/**
 * One RPC, the same for every protocol. `I` is the decoded request in protobuf-es shape; `O` is what
 * `encode` takes: a protobuf-es message, or a cheaper form of it with numbers and already encoded parts.
 */
export interface UnaryMethod<I, O> {
  readonly kind: "unary";
  readonly service: string;
  readonly name: string;
  decode(bytes: Uint8Array, start: number, end: number): I;
  encode(out: ByteWriter, reply: O): void;
  handle(request: I, context: CallContext): Reply<O>;
}

export interface StreamMethod<I, O> {
  readonly kind: "client_stream" | "server_stream" | "bidi_stream";
  readonly service: string;
  readonly name: string;
  decode(bytes: Uint8Array, start: number, end: number): I;
  encode(out: ByteWriter, reply: O): void;
  /**
   * Output that may wait for the client while a call counts as writable; by default 256 KiB. What waits is a copy, so
   * whoever makes as much as the client takes has none of it wait.
   */
  readonly waitingBytesMax?: number | undefined;
  /** A call begins. A thrown error ends it with that status. */
  open(call: StreamCall<O>): StreamConsumer<I>;
}

// deno-lint-ignore no-explicit-any -- a table holds methods of every message type.
export type Method = UnaryMethod<any, any> | StreamMethod<any, any>;

/** The server's half of a streaming call. After it has ended every call is a no-op. */
export interface StreamCall<O> {
  readonly context: CallContext;
  send(reply: O): void;
  /** Sends a message that is encoded already; its bytes may be shared with other calls. */
  sendBytes(message: Uint8Array): void;
  /** False while more output waits than the client takes; `StreamConsumer.onWritable` tells when that ends. */
  readonly writable: boolean;
  /** Ends the call with status OK. */
  end(): void;
  fail(error: unknown): void;
  readonly ended: boolean;
}

/** The handler's half of a streaming call. A thrown error ends the call with that status. */
export interface StreamConsumer<I> {
  onMessage(request: I): void;
  /** The client sends no more messages. */
  onHalfClose(): void;
  onWritable(): void;
  /** The last callback: the client gave up, or the call has ended by our side. */
  onClose(reason: RpcError | undefined): void;
}

export function methodPath(method: Method): string {
  return `/${method.service}/${method.name}`;
}
