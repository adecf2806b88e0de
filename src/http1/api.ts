import type { ByteWriter } from "../base/byte_writer.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { Exchange } from "./exchange.ts";
import type { ResponseHead } from "./response_head.ts";

/** One header field of a request: its name in lower case, its value as latin-1 text, without space around it. */
export type HeaderField = readonly [name: string, value: string];

/** What serves HTTP requests, once per server. */
export interface RequestHandler {
  /**
   * A request begins. Returns who takes its body; `onEnd` follows also when there is none. An exception here, or
   * from the body's taker, is a defect of ours: it is told to `onDefect` and ends the connection.
   */
  onRequest(exchange: Exchange): RequestBody;
}

/** Takes the body of one request. Nothing comes after `onEnd` but `onWritable` and `onAbort`. */
export interface RequestBody {
  /** `chunk[start, end)` is a piece of the body. The memory stays valid and unchanged while it is referenced. */
  onData(chunk: Uint8Array, start: number, end: number): void;
  onEnd(): void;
  /** The client went away before it had the whole answer, or its body was malformed. Nothing comes after it. */
  onAbort(): void;
  /** `HttpExchange.writable` is true again. */
  onWritable(): void;
}

/**
 * One request, and its response. Bytes are pushed both ways; the objects of the fetch API, which cost more than a
 * small request itself, are for those who want them (`fetch_adapter.ts`). Once the response is complete or the
 * client has gone, calls do nothing.
 */
export interface HttpExchange {
  readonly method: string;
  /** As it was sent: path and query, or another form of RFC 9112 section 3.2. */
  readonly target: string;
  readonly peer: PeerInfo;
  /** A field's value, or the values joined by ", "; `name` is in lower case. */
  header(name: string): string | undefined;
  /** True once nothing more can be sent. */
  readonly ended: boolean;
  /** Set it for a body that is a stream of messages: it may take as long as it wants. */
  bodyIsOpenEnded: boolean;
  /**
   * Begins a response whose body is written in place: append it to the returned writer, then call `finishReply`
   * or `cancelReply` in the same turn, with no other call to the exchange between.
   */
  startReply(head: ResponseHead): ByteWriter;
  finishReply(): void;
  /** Takes the whole reply back, as if it had not been begun. */
  cancelReply(): void;
  /** Begins a response of unknown length; `write` and `end` follow. */
  begin(head: ResponseHead): void;
  /** The exchange keeps the bytes, which must not change any more. */
  write(bytes: Uint8Array): void;
  end(): void;
  /** Breaks a response off, so that the client knows it is not complete. */
  destroy(): void;
  /** False while more waits than the client takes; `onWritable` follows. */
  readonly writable: boolean;
}
