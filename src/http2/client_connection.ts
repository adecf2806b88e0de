import { utf8 } from "../base/bytes.ts";
import type { ByteWriter } from "../base/byte_writer.ts";
import type { Clock } from "../ports/clock.ts";
import type { ByteStream } from "../ports/sockets.ts";
import type { HeaderField } from "./api.ts";
import { Endpoint, type EndpointOptions } from "./endpoint.ts";
import { ParkedOutput } from "./flow_control.ts";
import { FlushQueue } from "./flush_queue.ts";
import { ErrorCode, PREFACE, Setting, STREAM_ID_MAX } from "./frames.ts";
import type { ResponseHead } from "./heads.ts";
import { defaultClientLimits, type Http2Limits, noKeepalive } from "./limits.ts";
import { Stream } from "./stream.ts";
import { Sweeper } from "./sweeper.ts";

export type { ResponseHead } from "./heads.ts";

/** Takes the response to one request. */
export interface ResponseHandler {
  /** The final response's head; informational ones are skipped. */
  onHead(head: ResponseHead): void;
  /** `chunk[start, end)` is a part of the body; the memory stays valid and unchanged. */
  onData(chunk: Uint8Array, start: number, end: number): void;
  /** The response is complete. Last callback, even if the request is not. */
  onEnd(trailers: readonly HeaderField[]): void;
  /**
   * The stream ended without a complete response. Last callback. The code REFUSED_STREAM promises that the
   * server has done nothing with the request.
   */
  onReset(errorCode: number): void;
  /** Parked output has fallen below the low-water mark again. */
  onWritable(): void;
}

/** The client's half of one request. After END_STREAM or the last callback, calls that send are no-ops. */
export interface ClientStream {
  readonly closed: boolean;
  /** Bytes of data parked for want of window, or because the socket does not take them. */
  readonly bufferedBytes: number;
  /** Begins a DATA payload in the connection's output buffer, as in `ServerStream`. */
  startData(): ByteWriter;
  finishData(endStream: boolean): void;
  /** Sends a payload; the stream keeps `bytes` until they are sent. */
  sendData(bytes: Uint8Array, endStream: boolean): void;
  /** Sends trailers. */
  sendFields(fields: readonly HeaderField[], endStream: true): void;
  reset(errorCode: number): void;
  /** As in `ServerStream`. */
  holdCredit(): void;
  releaseCredit(bytes: number): void;
}

export interface ClientOptions extends EndpointOptions {
  /** Requests that may wait until the server allows another stream. */
  readonly waitingMax: number;
  /** The server will take no further requests; those that it has go on. */
  readonly onGoAway: (errorCode: number, debugData: Uint8Array) => void;
  readonly onClosed: (error: Error | undefined) => void;
}

/** Completes options with defaults. */
export function clientOptions(
  clock: Clock,
  given: Partial<Omit<ClientOptions, "limits">> & { readonly limits?: Partial<Http2Limits> } = {},
): ClientOptions {
  return {
    clock,
    flushQueue: given.flushQueue ?? new FlushQueue(clock),
    sweeper: given.sweeper ?? new Sweeper(clock),
    limits: { ...defaultClientLimits, ...given.limits },
    keepalive: given.keepalive ?? noKeepalive,
    onDefect: given.onDefect ?? (() => {}),
    waitingMax: given.waitingMax ?? WAITING_MAX,
    onGoAway: given.onGoAway ?? (() => {}),
    onClosed: given.onClosed ?? (() => {}),
  };
}

const WAITING_MAX = 100_000;
/** Streams opened before the server has said how many it allows; what RFC 9113 asks it to allow at least. */
const STREAMS_BEFORE_SETTINGS = 100;
const preface = utf8(PREFACE);

/** The client's end of an HTTP/2 connection. */
export class ClientConnection extends Endpoint {
  readonly #waitingMax: number;
  readonly #onGoAway: (errorCode: number, debugData: Uint8Array) => void;
  readonly #onClosed: (error: Error | undefined) => void;
  /** Requests that the server does not allow yet, in order. */
  readonly #waiting = new Set<ResponseStream>();
  #nextId = 1;
  #settingsSeen = false;

  constructor(transport: ByteStream, options: ClientOptions) {
    super(transport, options);
    this.#waitingMax = options.waitingMax;
    this.#onGoAway = options.onGoAway;
    this.#onClosed = options.onClosed;
    this.begin(preface, [
      [Setting.enablePush, 0],
      [Setting.initialWindowSize, this.limits.streamWindowBytes],
      [Setting.maxHeaderListSize, this.limits.headerListBytesMax],
    ]);
  }

  /** True while `open` may succeed. */
  get usable(): boolean {
    return this.state === "open" && this.#nextId <= STREAM_ID_MAX && this.#waiting.size < this.#waitingMax;
  }

  /**
   * Begins a request. `block` comes from `encodeStaticBlock` and holds the pseudo-headers first. Undefined when the
   * connection takes no more requests: it is closing, out of ids, or too many wait.
   */
  open(block: Uint8Array, handler: ResponseHandler, endStream: boolean): ClientStream | undefined {
    if (!this.usable) return undefined;
    const stream = new ResponseStream(this, handler);
    if (this.#waiting.size === 0 && this.#mayOpen()) {
      this.#admit(stream);
      stream.sendBlock(block, endStream);
    } else {
      stream.parked = new ParkedOutput();
      stream.sendBlock(block, endStream);
      this.#waiting.add(stream);
    }
    return stream;
  }

  /** Ends the connection when the requests that are open have ended; takes no further ones. */
  close(): void {
    if (this.state !== "open") return;
    this.state = "draining";
    this.#closeWhenDrained();
  }

  #mayOpen(): boolean {
    const allowed = this.#settingsSeen ? this.peerStreamsMax : STREAMS_BEFORE_SETTINGS;
    return this.streams.size < allowed && this.#nextId <= STREAM_ID_MAX;
  }

  #admit(stream: ResponseStream): void {
    stream.id = this.#nextId;
    stream.sendWindow = this.peerWindow;
    this.#nextId += 2;
    this.streams.set(stream.id, stream);
  }

  #admitWaiting(): void {
    for (const stream of this.#waiting) {
      if (!this.#mayOpen()) return;
      this.#waiting.delete(stream);
      this.#admit(stream);
      stream.sendWaiting();
    }
  }

  #closeWhenDrained(): void {
    if (this.streams.size === 0 && this.#waiting.size === 0 && !this.ended) {
      this.finish(ErrorCode.noError, "");
    }
  }

  override resetStream(stream: Stream, errorCode: number): void {
    // A request that waits is unknown to the server.
    if (stream.id !== 0) return super.resetStream(stream, errorCode);
    if (stream.closed) return;
    this.#waiting.delete(stream as ResponseStream);
    this.drop(stream, true, errorCode);
  }

  protected override readPreface(): number {
    return 0;
  }

  protected override isIdle(id: number): boolean {
    return (id & 1) === 0 || id >= this.#nextId;
  }

  protected override onHeaderBlock(
    id: number,
    endStream: boolean,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const stream = this.streams.get(id) as ResponseStream | undefined;
    if (stream === undefined) {
      if (this.isIdle(id)) return this.fail(ErrorCode.protocolError, "HEADERS on an idle stream");
      if (this.heads.skip(bytes, start, end)) return this.spendIdleFrame();
      return this.fail(ErrorCode.compressionError, "malformed header block");
    }
    if (stream.remoteEnded) return this.fail(ErrorCode.streamClosed, "HEADERS after END_STREAM");
    if (stream.headSeen) return this.onTrailers(stream, endStream, bytes, start, end);
    const head = this.heads.readResponse(bytes, start, end);
    if (head === "compression") return this.fail(ErrorCode.compressionError, "malformed header block");
    if (typeof head === "string") return this.failStream(stream, ErrorCode.protocolError);
    if (head.status < 200) {
      return endStream ? this.failStream(stream, ErrorCode.protocolError) : this.spendIdleFrame();
    }
    stream.headSeen = true;
    if (!endStream) stream.contentLeft = head.contentLength;
    try {
      stream.handler.onHead(head);
    } catch (error) {
      this.defect(stream, error);
    }
    if (endStream && !stream.closed) this.deliverEnd(stream, []);
    return !this.ended;
  }

  protected override onPeerSettings(): void {
    this.#settingsSeen = true;
    this.#admitWaiting();
  }

  protected override onStreamGone(): void {
    if (this.state === "draining") this.#closeWhenDrained();
    else if (this.#waiting.size > 0) this.#admitWaiting();
  }

  protected override onGoAway(lastStreamId: number, errorCode: number, debugData: Uint8Array): boolean {
    if (this.state === "open") this.state = "draining";
    this.#onGoAway(errorCode, debugData);
    this.#refuseWaiting();
    for (const stream of [...this.streams.values()]) {
      if (stream.id > lastStreamId && !stream.closed) this.drop(stream, true, ErrorCode.refusedStream);
    }
    this.#closeWhenDrained();
    return !this.ended;
  }

  #refuseWaiting(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const stream of waiting) this.drop(stream, true, ErrorCode.refusedStream);
  }

  protected override onHalfClosedLocal(): void {}
  protected override onDrainPingAcked(): void {}
  protected override onSweep(): void {}

  protected override onPing(): boolean {
    return true;
  }

  protected override endStreams(errorCode: number): void {
    this.#refuseWaiting();
    super.endStreams(errorCode);
  }

  protected override onEnded(error: Error | undefined): void {
    this.#onClosed(error);
  }
}

/** One request and the response to it. */
class ResponseStream extends Stream implements ClientStream {
  readonly handler: ResponseHandler;

  constructor(connection: ClientConnection, handler: ResponseHandler) {
    super(connection, 0, 0, false);
    this.handler = handler;
  }

  /** The stream has been opened: sends what has waited for that. */
  sendWaiting(): void {
    this.sendUnwindowed(this.parked!, false);
    if (this.closed || this.parked === undefined) return;
    this.beginParking(this.parked);
    this.output.enlist(this);
    this.output.wake();
  }

  override deliverData(bytes: Uint8Array, start: number, end: number): void {
    this.handler.onData(bytes, start, end);
  }

  override deliverEnd(trailers: readonly HeaderField[]): void {
    this.handler.onEnd(trailers);
  }

  override deliverReset(errorCode: number): void {
    // A complete response stays complete: gRPC servers reset the stream of a request they need no more of.
    if (!this.remoteEnded) this.handler.onReset(errorCode);
  }

  override deliverWritable(): void {
    this.handler.onWritable();
  }
}
