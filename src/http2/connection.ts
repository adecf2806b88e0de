import { EMPTY_BYTES, utf8 } from "../base/bytes.ts";
import type { Clock } from "../ports/clock.ts";
import type { ByteStream } from "../ports/sockets.ts";
import type { HeaderField, RequestBody, RequestHandler, ServerConnectionInfo, ServerStream } from "./api.ts";
import { Endpoint, type EndpointOptions } from "./endpoint.ts";
import { FlushQueue } from "./flush_queue.ts";
import { ErrorCode, PREFACE, Setting, STREAM_ID_MAX, writeGoAway } from "./frames.ts";
import { encodeStaticBlock } from "./hpack/encoder.ts";
import {
  defaultLimits,
  defaultPingPolicy,
  defaultServerKeepalive,
  type Http2Limits,
  type PingPolicy,
} from "./limits.ts";
import { Stream } from "./stream.ts";
import { Sweeper } from "./sweeper.ts";

/** What every connection of a server shares; made by `http2Options`. */
export interface Http2Options extends EndpointOptions {
  readonly pingPolicy: PingPolicy;
  /** A connection has ended; `error` is set when its socket broke. */
  readonly onClosed: (connection: ServerConnection, error: Error | undefined) => void;
}

/** Completes options with the defaults of `limits.ts`. */
export function http2Options(
  clock: Clock,
  given: Partial<Omit<Http2Options, "limits">> & { readonly limits?: Partial<Http2Limits> } = {},
): Http2Options {
  return {
    clock,
    flushQueue: given.flushQueue ?? new FlushQueue(clock),
    sweeper: given.sweeper ?? new Sweeper(clock),
    limits: { ...defaultLimits, ...given.limits },
    keepalive: given.keepalive ?? defaultServerKeepalive,
    pingPolicy: given.pingPolicy ?? defaultPingPolicy,
    onDefect: given.onDefect ?? (() => {}),
    onClosed: given.onClosed ?? (() => {}),
  };
}

const preface = utf8(PREFACE);
/** PINGs that come too early before the connection is closed, as grpc-go counts them. */
const PING_STRIKES_MAX = 2;
/** Least time between PINGs while no request is open, as grpc-go has it. */
const IDLE_PING_MIN_MS = 7_200_000;

const headersTooLargeBlock = encodeStaticBlock([[":status", "431"], ["content-length", "0"]]);

/** Takes the body of a request until its handler has returned who does. */
const noBody: RequestBody = { onData() {}, onEnd() {}, onReset() {}, onWritable() {} };

/** The server's end of an HTTP/2 connection: prior knowledge or ALPN has chosen the protocol already. */
export class ServerConnection extends Endpoint implements ServerConnectionInfo {
  readonly #handler: RequestHandler;
  readonly #pingPolicy: PingPolicy;
  readonly #onClosed: (connection: ServerConnection, error: Error | undefined) => void;
  #prefaceHave = 0;
  /** Streams above this came after the GOAWAY that announced it. */
  #acceptedMax = STREAM_ID_MAX;
  #drainSinceMs = -1;
  #pingStrikes = 0;
  #lastPingMs = -Infinity;

  constructor(transport: ByteStream, handler: RequestHandler, options: Http2Options) {
    super(transport, options);
    this.#handler = handler;
    this.#pingPolicy = options.pingPolicy;
    this.#onClosed = options.onClosed;
    this.begin(EMPTY_BYTES, [
      [Setting.maxConcurrentStreams, this.limits.streamsMax],
      [Setting.initialWindowSize, this.limits.streamWindowBytes],
      [Setting.maxHeaderListSize, this.limits.headerListBytesMax],
    ]);
  }

  /**
   * Shuts down gracefully: the client is told to open no more streams, those that are open go on, and the
   * connection closes after the last one. In the words of grpc-go, whose clients see what they are used to.
   */
  goAway(debugText = "graceful_stop"): void {
    if (this.state !== "open") return;
    if (!this.introduced) return this.finish(ErrorCode.noError, debugText);
    this.state = "draining";
    this.#drainSinceMs = this.nowMs;
    // Streams that crossed this frame are still served; the answer to the PING tells that there are no more.
    writeGoAway(this.output.touch(), STREAM_ID_MAX, ErrorCode.noError, utf8(debugText));
    this.sendDrainPing();
  }

  protected override onDrainPingAcked(): void {
    if (this.state !== "draining" || this.#acceptedMax !== STREAM_ID_MAX) return;
    this.#acceptedMax = this.peerStreamId;
    writeGoAway(this.output.touch(), this.peerStreamId, ErrorCode.noError);
    this.#closeWhenDrained();
  }

  #closeWhenDrained(): void {
    if (this.#acceptedMax !== STREAM_ID_MAX && this.streams.size === 0) this.closeQuietly();
  }

  protected override readPreface(chunk: Uint8Array): number {
    if (this.#prefaceHave === preface.length) return 0;
    let at = 0;
    while (this.#prefaceHave < preface.length && at < chunk.length) {
      if (chunk[at] !== preface[this.#prefaceHave]) {
        this.fail(ErrorCode.protocolError, "bad preface");
        return -1;
      }
      at += 1;
      this.#prefaceHave += 1;
    }
    return at;
  }

  protected override isIdle(id: number): boolean {
    // We push nothing: streams of even id are never opened.
    return (id & 1) === 0 || id > this.peerStreamId;
  }

  protected override onHeaderBlock(
    id: number,
    endStream: boolean,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    if (id <= this.peerStreamId || (id & 1) === 0) {
      return this.#onLaterBlock(id, endStream, bytes, start, end);
    }
    const head = this.heads.readRequest(bytes, start, end);
    if (head === "compression") return this.fail(ErrorCode.compressionError, "malformed header block");
    // What comes after the last GOAWAY has been promised to be ignored.
    if (id > this.#acceptedMax) return this.spendIdleFrame();
    this.peerStreamId = id;
    if (this.streams.size >= this.limits.streamsMax || this.output.parkedBytes > this.limits.parkedBytesMax) {
      return this.refuse(id, ErrorCode.refusedStream);
    }
    if (head === "malformed") return this.refuse(id, ErrorCode.protocolError);
    if (head === "too large") return this.#refuseLarge(id, endStream);
    if (endStream && head.contentLength > 0) return this.refuse(id, ErrorCode.protocolError);
    const stream = new RequestStream(this, id, this.peerWindow, true);
    stream.remoteEnded = endStream;
    stream.contentLeft = head.contentLength;
    this.streams.set(id, stream);
    try {
      stream.body = this.#handler.onRequest(stream, head, endStream);
      if (endStream && !stream.closed) stream.body.onEnd([]);
    } catch (error) {
      this.defect(stream, error);
    }
    return !this.ended;
  }

  /** Trailers, or a block on a stream that is closed. */
  #onLaterBlock(id: number, endStream: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (this.closedStreams.wasResetHere(id)) {
        if (this.heads.skip(bytes, start, end)) return this.spendIdleFrame();
        return this.fail(ErrorCode.compressionError, "malformed header block");
      }
      const code = this.closedStreams.isRecent(id) ? ErrorCode.streamClosed : ErrorCode.protocolError;
      return this.fail(code, "HEADERS on a closed stream");
    }
    if (stream.remoteEnded) return this.fail(ErrorCode.streamClosed, "HEADERS after END_STREAM");
    return this.onTrailers(stream, endStream, bytes, start, end);
  }

  /** Answers 431, which says more than a reset. */
  #refuseLarge(id: number, endStream: boolean): boolean {
    this.output.writeBlock(id, headersTooLargeBlock, true);
    return endStream ? this.spendIdleFrame() : this.refuse(id, ErrorCode.noError);
  }

  protected override onHalfClosedLocal(stream: Stream): void {
    this.closeUnread(stream);
  }

  protected override onStreamGone(): void {
    if (this.state === "draining") this.#closeWhenDrained();
  }

  /** grpc-go's enforcement: what we send forgives earlier strikes, and the PING after it. */
  protected override onPing(nowMs: number): boolean {
    const sinceLastMs = nowMs - this.#lastPingMs;
    this.#lastPingMs = nowMs;
    if (this.output.payloadWritten) {
      this.output.payloadWritten = false;
      this.#pingStrikes = 0;
      return true;
    }
    const idle = this.streams.size === 0 && !this.#pingPolicy.permitWithoutStream;
    if (sinceLastMs < (idle ? IDLE_PING_MIN_MS : this.#pingPolicy.minTimeMs)) this.#pingStrikes += 1;
    if (this.#pingStrikes <= PING_STRIKES_MAX) return true;
    return this.fail(ErrorCode.enhanceYourCalm, "too_many_pings");
  }

  protected override onGoAway(): boolean {
    // The client will open no more streams; it closes the connection when it is done.
    return true;
  }

  protected override onPeerSettings(): void {}

  protected override onSweep(nowMs: number): void {
    if (this.#drainSinceMs >= 0 && nowMs - this.#drainSinceMs >= this.limits.drainPingMs) {
      this.onDrainPingAcked();
    }
  }

  protected override onEnded(error: Error | undefined): void {
    this.#onClosed(this, error);
  }
}

/** One request and its response. */
class RequestStream extends Stream implements ServerStream {
  body: RequestBody = noBody;

  get connection(): ServerConnectionInfo {
    return this.endpoint;
  }

  override deliverData(bytes: Uint8Array, start: number, end: number): void {
    this.body.onData(bytes, start, end);
  }

  override deliverEnd(trailers: readonly HeaderField[]): void {
    this.body.onEnd(trailers);
  }

  override deliverReset(errorCode: number): void {
    this.body.onReset(errorCode);
  }

  override deliverWritable(): void {
    this.body.onWritable();
  }
}
