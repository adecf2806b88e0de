import type { ByteWriter } from "../base/byte_writer.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { RepeatedBlock } from "./hpack/repeated_fields.ts";

/** One header field, name in lower case. Values are latin-1 strings, as HTTP/2 carries octets. */
export type HeaderField = readonly [name: string, value: string];

/**
 * A header block to send: bytes made by `encodeStaticBlock`, which mean the same on every connection, or one made by
 * the server's `RepeatedFields`, which each connection sends in its own form.
 */
export type HeaderBlock = Uint8Array | RepeatedBlock;

/**
 * A request's decoded header block. Requests whose blocks were the same bytes share one object, so it is
 * never changed; `memo` is the consumer's, to keep what it derived from the fields (its route, say).
 */
export interface RequestHead {
  readonly method: string;
  readonly scheme: string;
  readonly authority: string;
  readonly path: string;
  /** Fields other than the pseudo-headers, in the order received. */
  readonly fields: readonly HeaderField[];
  memo: unknown;
}

/** What the protocol above HTTP/2 implements, once per server. */
export interface RequestHandler {
  /**
   * A request begins. Returns who takes its body; `onEnd` follows directly when `endStream` is true.
   * An exception here is a defect of ours and resets the stream with INTERNAL_ERROR.
   */
  onRequest(stream: ServerStream, head: RequestHead, endStream: boolean): RequestBody;
}

/**
 * Takes the body of one request. Once the response's END_STREAM has been written nothing is called any more, even if
 * the client has not ended its request: whoever ends the response cleans up. While parked output still waits to be
 * sent, `onReset` may come.
 */
export interface RequestBody {
  /**
   * `chunk[start, end)` is the payload of one DATA frame, padding removed. The memory stays valid and
   * unchanged for as long as it is referenced. Returns nothing: see `ServerStream.holdCredit`.
   */
  onData(chunk: Uint8Array, start: number, end: number): void;
  /** The client has sent END_STREAM; `trailers` is empty unless it sent some. */
  onEnd(trailers: readonly HeaderField[]): void;
  /** The stream was reset, by either side, or its connection ended. Nothing more comes or can be sent. */
  onReset(errorCode: number): void;
  /** The parked output has fallen to the low-water mark, or all of it is sent. */
  onWritable(): void;
}

/** The server's half of one request. After the END_STREAM has been written, every call is a no-op. */
export interface ServerStream {
  readonly id: number;
  readonly connection: ServerConnectionInfo;
  /** True once the stream is closed or reset. */
  readonly closed: boolean;
  /** Sends a header block as response headers or trailers. It queues behind parked data. */
  sendBlock(block: HeaderBlock, endStream: boolean): void;
  /** Encodes and sends fields: for what is not known beforehand. */
  sendFields(fields: readonly HeaderField[], endStream: boolean): void;
  /**
   * Begins a DATA payload in the connection's output buffer: append to the returned writer, then call
   * `finishData` in the same turn, with no other call to the connection between the two.
   * What windows or frame size do not allow is parked and sent as they do.
   */
  startData(): ByteWriter;
  finishData(endStream: boolean): void;
  /** Sends a payload that exists already; the stream keeps `bytes` until they are sent. */
  sendData(bytes: Uint8Array, endStream: boolean): void;
  /**
   * Sends `length` octets that the source makes when windows and the socket take them. They count as parked, and what
   * is sent afterwards queues behind them. When they are not wanted any more, `RequestBody.onReset` tells.
   */
  sendFrom(source: DataSource, length: number): void;
  /** The source has something again, after it had nothing. */
  resumeSource(): void;
  /**
   * Bytes of data parked on this stream: for want of window, or because its connection holds as much output as it may
   * (`outputBytesMax`) that the kernel has not taken. `onWritable` follows whenever this has not been 0.
   */
  readonly bufferedBytes: number;
  reset(errorCode: number): void;
  /**
   * By default window credit for received data is returned at once. While held, it is returned only by
   * `releaseCredit(bytes)`: the way to push back on a client that streams. What is held is missing from the
   * connection's window too, which bounds what all streams of a client can make us keep.
   */
  holdCredit(): void;
  releaseCredit(bytes: number): void;
}

/** Data that is made when it can be sent, and not kept until then. */
export interface DataSource {
  /**
   * Appends up to `bytesMax` octets to `out` and returns how many; 0 when there is nothing now, and
   * `ServerStream.resumeSource` is to be called when there is. What it throws resets the stream.
   */
  read(out: ByteWriter, bytesMax: number): number;
}

export interface ServerConnectionInfo {
  readonly peer: PeerInfo;
}
