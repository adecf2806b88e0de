import { ByteWriter } from "../base/byte_writer.ts";
import { equalBytes, utf8 } from "../base/bytes.ts";
import type { Clock } from "../ports/clock.ts";
import type { ByteStream, ByteStreamHandler, PeerInfo } from "../ports/sockets.ts";
import type { HeaderField } from "./api.ts";
import { FloodMeter } from "./flood_meter.ts";
import { WINDOW_DEFAULT, WINDOW_MAX } from "./flow_control.ts";
import type { FlushQueue } from "./flush_queue.ts";
import {
  ErrorCode,
  FLAG_ACK,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  FRAME_BYTES_DEFAULT,
  FRAME_BYTES_LIMIT,
  FRAME_CONTINUATION,
  FRAME_DATA,
  FRAME_GOAWAY,
  FRAME_HEADERS,
  FRAME_PING,
  FRAME_PRIORITY,
  FRAME_PUSH_PROMISE,
  FRAME_RST_STREAM,
  FRAME_SETTINGS,
  FRAME_WINDOW_UPDATE,
  FrameReader,
  type FrameSink,
  Setting,
  uint31At,
  uint32At,
  writeGoAway,
  writePing,
  writeReset,
  writeSettings,
  writeSettingsAck,
  writeWindowUpdate,
} from "./frames.ts";
import { HeadReader } from "./heads.ts";
import type { Http2Limits, Keepalive } from "./limits.ts";
import { Output } from "./output.ts";
import { ClosedStreams, type Stream } from "./stream.ts";
import type { Sweeper, Swept } from "./sweeper.ts";

/** What both sides of a connection are given. `flushQueue` and `sweeper` are shared by all connections. */
export interface EndpointOptions {
  readonly clock: Clock;
  readonly flushQueue: FlushQueue;
  readonly sweeper: Sweeper;
  readonly limits: Http2Limits;
  readonly keepalive: Keepalive;
  /** Told of an exception that a consumer's callback threw: a defect. The stream has been reset. */
  readonly onDefect: (error: unknown) => void;
}

const NO_TRAILERS = [] as const;

/** What the next frame has to be. */
const EXPECT_SETTINGS = -1;
const EXPECT_ANY = 0;

/** Content of the PING that asks an idle peer for a sign of life; GOAWAY's has the other one. */
const keepalivePing = utf8("alive?..");
const drainPing = utf8("drained?");

/**
 * "open": requests begin and end. "draining": GOAWAY has been sent, what is open goes on. "closing": an error or
 * the last stream has ended it, only the socket is left. "closed": so is the socket.
 */
export type EndpointState = "open" | "draining" | "closing" | "closed";

/**
 * What client and server have in common: frames, settings, windows, output and the limits on what a peer may do
 * (RFC 9113). The subclass decides what a header block means.
 */
export abstract class Endpoint implements ByteStreamHandler, FrameSink, Swept {
  readonly peer: PeerInfo;
  readonly limits: Http2Limits;
  readonly output: Output;

  protected readonly heads: HeadReader;
  protected readonly streams = new Map<number, Stream>();
  protected readonly closedStreams = new ClosedStreams();
  /** The greatest id of a stream that the peer has opened. */
  protected peerStreamId = 0;
  protected state: EndpointState = "open";
  /** SETTINGS_INITIAL_WINDOW_SIZE of the peer. */
  protected peerWindow = WINDOW_DEFAULT;
  /** SETTINGS_MAX_CONCURRENT_STREAMS of the peer. */
  protected peerStreamsMax = Infinity;

  readonly #transport: ByteStream;
  readonly #clock: Clock;
  readonly #sweeper: Sweeper;
  readonly #keepalive: Keepalive;
  readonly #onDefect: (error: unknown) => void;
  readonly #frames: FrameReader;
  readonly #resets: FloodMeter;
  readonly #idleFrames: FloodMeter;

  #expected = EXPECT_SETTINGS;
  /** A header block whose END_HEADERS has not come. */
  #block: ByteWriter | undefined;
  #blockEndsStream = false;
  #continuations = 0;

  /** Octets received on the connection whose credit has not been returned, and the part that may be. */
  #received = 0;
  #returnable = 0;

  readonly #openedMs: number;
  #lastReadMs: number;
  #readSinceSweep = false;
  #incompleteSinceMs = -1;
  #settingsAcked = false;
  #pingSentMs = -1;
  #closingSinceMs = -1;

  constructor(transport: ByteStream, options: EndpointOptions) {
    this.#transport = transport;
    this.peer = transport.peer;
    this.limits = options.limits;
    this.#clock = options.clock;
    this.#sweeper = options.sweeper;
    this.#keepalive = options.keepalive;
    this.#onDefect = options.onDefect;
    this.heads = new HeadReader(options.limits);
    this.#frames = new FrameReader(this, FRAME_BYTES_DEFAULT);
    this.#sweeper.add(this);
    const nowMs = this.#sweeper.nowMs;
    this.#openedMs = nowMs;
    this.#lastReadMs = nowMs;
    const { resetsBurst, resetsPerSecond, idleFramesBurst, idleFramesPerSecond } = options.limits;
    this.#resets = new FloodMeter({ burst: resetsBurst, perSecond: resetsPerSecond, nowMs });
    this.#idleFrames = new FloodMeter({ burst: idleFramesBurst, perSecond: idleFramesPerSecond, nowMs });
    this.output = new Output(transport, {
      flushQueue: options.flushQueue,
      sweeper: options.sweeper,
      limits: options.limits,
      idleFrames: this.#idleFrames,
      onDefect: (stream, error) => this.defect(stream, error),
    });
    transport.handler = this;
  }

  /** A complete header block on stream `id`, which is not 0. Returns false when the connection has failed. */
  protected abstract onHeaderBlock(
    id: number,
    endStream: boolean,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean;
  /** True when nobody has opened the stream yet. */
  protected abstract isIdle(id: number): boolean;
  /** The stream has left `streams`. */
  protected abstract onStreamGone(stream: Stream): void;
  /** END_STREAM has been sent while the peer's has not come. */
  protected abstract onHalfClosedLocal(stream: Stream): void;
  /** A PING that is not an answer; it has been answered. Returns false when the connection has failed. */
  protected abstract onPing(nowMs: number): boolean;
  protected abstract onGoAway(lastStreamId: number, errorCode: number, debugData: Uint8Array): boolean;
  protected abstract onDrainPingAcked(): void;
  /** The peer's first SETTINGS, or new ones, have been applied. */
  protected abstract onPeerSettings(): void;
  /** The connection has ended; called once. */
  protected abstract onEnded(error: Error | undefined): void;
  /** A further check of deadlines. */
  protected abstract onSweep(nowMs: number): void;
  /** Consumes the bytes that come before frames. Returns where frames begin, or -1. */
  protected abstract readPreface(chunk: Uint8Array): number;

  /** Coarse monotonic time, in milliseconds. */
  get nowMs(): number {
    return this.#sweeper.nowMs;
  }

  get streamCount(): number {
    return this.streams.size;
  }

  get ended(): boolean {
    return this.state === "closing" || this.state === "closed";
  }

  /** Announces us: first in the output, before anything has been received. */
  protected begin(preface: Uint8Array, settings: readonly (readonly [number, number])[]): void {
    const out = this.output.touch();
    out.write(preface);
    writeSettings(out, settings);
    writeWindowUpdate(out, 0, this.limits.connectionWindowBytes - WINDOW_DEFAULT);
  }

  // Input.

  onData(chunk: Uint8Array): void {
    this.#readSinceSweep = true;
    if (this.ended) return;
    this.#clock.monotonicMs(); // For the requests in the chunk: they take `recentMs`.
    this.output.promiseFlush();
    const at = this.readPreface(chunk);
    if (at >= 0) this.#frames.read(chunk, at);
    this.output.settle();
  }

  onDrain(): void {
    this.output.onDrain();
  }

  onOversizedFrame(): void {
    this.fail(ErrorCode.frameSizeError, "frame too large");
  }

  onFrame(type: number, flags: number, id: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#expected !== EXPECT_ANY) {
      if (this.#expected === EXPECT_SETTINGS) {
        if (type !== FRAME_SETTINGS || (flags & FLAG_ACK) !== 0) {
          return this.fail(ErrorCode.protocolError, "SETTINGS expected");
        }
        this.#expected = EXPECT_ANY;
      } else if (type !== FRAME_CONTINUATION || id !== this.#expected) {
        return this.fail(ErrorCode.protocolError, "CONTINUATION expected");
      }
    }
    switch (type) {
      case FRAME_DATA:
        return this.#onDataFrame(flags, id, bytes, start, end);
      case FRAME_HEADERS:
        return this.#onHeaders(flags, id, bytes, start, end);
      case FRAME_WINDOW_UPDATE:
        return this.#onWindowUpdate(id, bytes, start, end);
      case FRAME_RST_STREAM:
        return this.#onReset(id, bytes, start, end);
      case FRAME_SETTINGS:
        return this.#onSettings(flags, id, bytes, start, end);
      case FRAME_PING:
        return this.#onPing(flags, id, bytes, start, end);
      case FRAME_CONTINUATION:
        return this.#onContinuation(flags, bytes, start, end);
      case FRAME_PRIORITY:
        return this.#onPriority(id, bytes, start, end);
      case FRAME_GOAWAY:
        if (id !== 0) return this.fail(ErrorCode.protocolError, "GOAWAY on a stream");
        if (end - start < 8) return this.fail(ErrorCode.frameSizeError, "GOAWAY of wrong length");
        return this.spendIdleFrame() &&
          this.onGoAway(uint31At(bytes, start), uint32At(bytes, start + 4), bytes.subarray(start + 8, end));
      case FRAME_PUSH_PROMISE:
        return this.fail(ErrorCode.protocolError, "PUSH_PROMISE is disabled");
      default:
        // Extensions are to be ignored.
        return this.spendIdleFrame();
    }
  }

  #onDataFrame(flags: number, id: number, bytes: Uint8Array, start: number, end: number): boolean {
    const length = end - start;
    const stream = this.streams.get(id);
    this.#received += length;
    if (this.#received > this.limits.connectionWindowBytes) {
      return this.fail(ErrorCode.flowControlError, "connection window exceeded");
    }
    let from = start;
    let to = end;
    if ((flags & FLAG_PADDED) !== 0) {
      if (length === 0) return this.fail(ErrorCode.frameSizeError, "DATA without pad length");
      from += 1;
      to -= bytes[start]!;
      if (to < from) return this.fail(ErrorCode.protocolError, "padding exceeds frame");
    }
    if (stream === undefined || stream.remoteEnded) {
      this.#returnConnectionCredit(length);
      return this.#onStrayData(id, stream);
    }
    if (!stream.headSeen) {
      this.#returnConnectionCredit(length);
      return this.failStream(stream, ErrorCode.protocolError);
    }
    const endStream = (flags & FLAG_END_STREAM) !== 0;
    if (to > from) this.#idleFrames.earn(2);
    else if (!endStream && !this.spendIdleFrame()) return false;
    stream.received += length;
    if (stream.received > this.limits.streamWindowBytes) {
      return this.failStream(stream, ErrorCode.flowControlError);
    }
    if (stream.contentLeft >= 0) {
      stream.contentLeft -= to - from;
      if (stream.contentLeft < 0 || (endStream && stream.contentLeft > 0)) {
        return this.failStream(stream, ErrorCode.protocolError);
      }
    }
    if (endStream) stream.remoteEnded = true;
    // Padding is nobody's to hold.
    this.returnCredit(stream, stream.creditHeld ? length - (to - from) : length);
    try {
      if (to > from) stream.deliverData(bytes, from, to);
      if (endStream && !stream.closed) stream.deliverEnd(NO_TRAILERS);
    } catch (error) {
      this.defect(stream, error);
    }
    if (endStream) this.#onRemoteEnd(stream);
    return !this.ended;
  }

  #onStrayData(id: number, stream: Stream | undefined): boolean {
    if (stream !== undefined) return this.failStream(stream, ErrorCode.streamClosed);
    if (id === 0 || this.isIdle(id)) return this.fail(ErrorCode.protocolError, "DATA on an idle stream");
    if (this.closedStreams.wasResetHere(id)) return true;
    return this.refuse(id, ErrorCode.streamClosed);
  }

  #onHeaders(flags: number, id: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (id === 0) return this.fail(ErrorCode.protocolError, "HEADERS on stream 0");
    let from = start;
    let to = end;
    if ((flags & FLAG_PADDED) !== 0) {
      if (to === from) return this.fail(ErrorCode.frameSizeError, "HEADERS without pad length");
      to -= bytes[from]!;
      from += 1;
    }
    if ((flags & FLAG_PRIORITY) !== 0) {
      if (end - from < 5) return this.fail(ErrorCode.frameSizeError, "HEADERS without priority");
      if (uint31At(bytes, from) === id) return this.fail(ErrorCode.protocolError, "stream depends on itself");
      from += 5;
    }
    if (to < from) return this.fail(ErrorCode.protocolError, "padding exceeds frame");
    const endStream = (flags & FLAG_END_STREAM) !== 0;
    if ((flags & FLAG_END_HEADERS) !== 0) return this.onHeaderBlock(id, endStream, bytes, from, to);
    this.#block = new ByteWriter((to - from) * 2);
    this.#block.write(bytes.subarray(from, to));
    this.#blockEndsStream = endStream;
    this.#continuations = 0;
    this.#expected = id;
    return true;
  }

  #onContinuation(flags: number, bytes: Uint8Array, start: number, end: number): boolean {
    const block = this.#block;
    if (block === undefined) return this.fail(ErrorCode.protocolError, "CONTINUATION without HEADERS");
    this.#continuations += 1;
    if (
      this.#continuations > this.limits.continuationsMax ||
      block.length + end - start > this.limits.headerBlockBytesMax
    ) {
      return this.fail(ErrorCode.enhanceYourCalm, "header block too large");
    }
    block.write(bytes.subarray(start, end));
    if ((flags & FLAG_END_HEADERS) === 0) return true;
    const id = this.#expected;
    this.#block = undefined;
    this.#expected = EXPECT_ANY;
    return this.onHeaderBlock(id, this.#blockEndsStream, block.bytes, 0, block.length);
  }

  #onPriority(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (id === 0) return this.fail(ErrorCode.protocolError, "PRIORITY on stream 0");
    if (end - start !== 5) return this.fail(ErrorCode.frameSizeError, "PRIORITY of wrong length");
    if (uint31At(bytes, start) === id) return this.fail(ErrorCode.protocolError, "stream depends on itself");
    return this.spendIdleFrame();
  }

  #onReset(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start !== 4) return this.fail(ErrorCode.frameSizeError, "RST_STREAM of wrong length");
    const stream = this.streams.get(id);
    if (stream === undefined) {
      if (id === 0 || this.isIdle(id)) {
        return this.fail(ErrorCode.protocolError, "RST_STREAM on an idle stream");
      }
      return this.spendIdleFrame();
    }
    // Streams older than a sweep may be cancelled at will: opening them in numbers took its time.
    const young = this.nowMs - stream.openedMs <= 1_000;
    this.drop(stream, false, uint32At(bytes, start));
    if (young && !this.#resets.take(this.nowMs)) {
      return this.fail(ErrorCode.enhanceYourCalm, "too many resets");
    }
    return !this.ended;
  }

  #onWindowUpdate(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (end - start !== 4) return this.fail(ErrorCode.frameSizeError, "WINDOW_UPDATE of wrong length");
    if (!this.spendIdleFrame()) return false;
    const increment = uint31At(bytes, start);
    if (id === 0) {
      if (increment === 0) return this.fail(ErrorCode.protocolError, "WINDOW_UPDATE of 0");
      this.output.window += increment;
      if (this.output.window > WINDOW_MAX) return this.fail(ErrorCode.flowControlError, "window overflow");
      this.output.wake();
      return true;
    }
    const stream = this.streams.get(id);
    if (stream === undefined) {
      return this.isIdle(id) ? this.fail(ErrorCode.protocolError, "WINDOW_UPDATE on an idle stream") : true;
    }
    if (increment === 0) return this.failStream(stream, ErrorCode.protocolError);
    stream.sendWindow += increment;
    if (stream.sendWindow > WINDOW_MAX) return this.failStream(stream, ErrorCode.flowControlError);
    this.#wake(stream);
    return true;
  }

  /** The stream's window has grown: what is parked is sent by the flush at the end of this chunk. */
  #wake(stream: Stream): void {
    if (stream.parked === undefined) return;
    this.output.enlist(stream);
    this.output.wake();
  }

  #onSettings(flags: number, id: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (id !== 0) return this.fail(ErrorCode.protocolError, "SETTINGS on a stream");
    if ((flags & FLAG_ACK) !== 0) {
      if (end !== start) return this.fail(ErrorCode.frameSizeError, "SETTINGS acknowledgement with content");
      if (this.#settingsAcked && !this.spendIdleFrame()) return false;
      this.#settingsAcked = true;
      return true;
    }
    if ((end - start) % 6 !== 0) return this.fail(ErrorCode.frameSizeError, "SETTINGS of wrong length");
    if (!this.spendIdleFrame()) return false;
    let window = this.peerWindow;
    for (let at = start; at < end; at += 6) {
      const value = uint32At(bytes, at + 2);
      switch ((bytes[at]! << 8) | bytes[at + 1]!) {
        case Setting.headerTableSize:
          this.output.peerTableBytesMax = value;
          break;
        case Setting.enablePush:
          if (value > 1) return this.fail(ErrorCode.protocolError, "ENABLE_PUSH out of range");
          break;
        case Setting.maxConcurrentStreams:
          this.peerStreamsMax = value;
          break;
        case Setting.initialWindowSize:
          if (value > WINDOW_MAX) {
            return this.fail(ErrorCode.flowControlError, "INITIAL_WINDOW_SIZE out of range");
          }
          window = value;
          break;
        case Setting.maxFrameSize:
          if (value < FRAME_BYTES_DEFAULT || value > FRAME_BYTES_LIMIT) {
            return this.fail(ErrorCode.protocolError, "MAX_FRAME_SIZE out of range");
          }
          this.output.peerFrameBytesMax = value;
          break;
      }
    }
    if (window !== this.peerWindow && !this.#setPeerWindow(window)) return false;
    writeSettingsAck(this.output.touch());
    this.onPeerSettings();
    return true;
  }

  /** Moves the windows of all streams; of several values in one frame, only the last counts. */
  #setPeerWindow(window: number): boolean {
    const change = window - this.peerWindow;
    this.peerWindow = window;
    for (const stream of this.streams.values()) {
      stream.sendWindow += change;
      if (stream.sendWindow > WINDOW_MAX) return this.fail(ErrorCode.flowControlError, "window overflow");
      this.#wake(stream);
    }
    return true;
  }

  #onPing(flags: number, id: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (id !== 0) return this.fail(ErrorCode.protocolError, "PING on a stream");
    if (end - start !== 8) return this.fail(ErrorCode.frameSizeError, "PING of wrong length");
    if (!this.spendIdleFrame()) return false;
    const payload = bytes.subarray(start, end);
    if ((flags & FLAG_ACK) !== 0) {
      if (equalBytes(payload, drainPing)) this.onDrainPingAcked();
      return !this.ended;
    }
    writePing(this.output.touch(), FLAG_ACK, payload);
    return this.onPing(this.#clock.monotonicMs());
  }

  // Credit for what has been received.

  /** The consumer, or the engine in its stead, is done with `bytes` octets of what the stream received. */
  returnCredit(stream: Stream, bytes: number): void {
    if (bytes <= 0) return;
    stream.returnable += bytes;
    this.#returnConnectionCredit(bytes);
    if (stream.remoteEnded || stream.closed || stream.returnable * 2 < this.limits.streamWindowBytes) return;
    writeWindowUpdate(this.output.touch(), stream.id, stream.returnable);
    stream.received -= stream.returnable;
    stream.returnable = 0;
  }

  #returnConnectionCredit(bytes: number): void {
    this.#returnable += bytes;
    if (this.#returnable * 2 < this.limits.connectionWindowBytes || this.ended) return;
    writeWindowUpdate(this.output.touch(), 0, this.#returnable);
    this.#received -= this.#returnable;
    this.#returnable = 0;
  }

  // The ends of streams.

  /** Our END_STREAM has been written. */
  onLocalEnd(stream: Stream): void {
    if (stream.remoteEnded) this.#complete(stream);
    else this.onHalfClosedLocal(stream);
  }

  /** The peer's END_STREAM has been delivered. */
  #onRemoteEnd(stream: Stream): void {
    if (!stream.closed && stream.localEnded && stream.parked === undefined) this.#complete(stream);
  }

  /** Both sides have ended the stream, and all is sent: work that pays for resets and control frames. */
  #complete(stream: Stream): void {
    this.#resets.earn(1);
    this.#idleFrames.earn(4);
    this.#remove(stream, false);
  }

  #remove(stream: Stream, resetHere: boolean): void {
    stream.closed = true;
    stream.dropParked();
    // Credit that a consumer still held is the connection's again.
    if (stream.received > stream.returnable) {
      this.#returnConnectionCredit(stream.received - stream.returnable);
    }
    stream.received = stream.returnable;
    this.closedStreams.add(stream.id, resetHere);
    this.streams.delete(stream.id);
    this.onStreamGone(stream);
  }

  /** Closes the stream without its regular end, and says so to the consumer. */
  protected drop(stream: Stream, resetHere: boolean, errorCode: number): void {
    this.#remove(stream, resetHere);
    try {
      stream.deliverReset(errorCode);
    } catch (error) {
      this.#onDefect(error);
    }
  }

  /** Ends a stream with RST_STREAM, for a reason of our own. */
  resetStream(stream: Stream, errorCode: number): void {
    if (stream.closed || this.ended) return;
    writeReset(this.output.touch(), stream.id, errorCode);
    this.drop(stream, true, errorCode);
  }

  /** Ends a stream whose response is complete, though the request is not (RFC 9113 section 8.1). */
  protected closeUnread(stream: Stream): void {
    writeReset(this.output.touch(), stream.id, ErrorCode.noError);
    this.#remove(stream, true);
  }

  /** Ends a stream for a fault of the peer, who may not have many. Returns false when the connection has failed. */
  protected failStream(stream: Stream, errorCode: number): boolean {
    this.resetStream(stream, errorCode);
    return this.#spendReset();
  }

  /** RST_STREAM for a stream that is not open, or not to be opened. Returns false when the connection has failed. */
  protected refuse(id: number, errorCode: number): boolean {
    writeReset(this.output.touch(), id, errorCode);
    this.closedStreams.add(id, true);
    return this.#spendReset();
  }

  #spendReset(): boolean {
    if (this.#resets.take(this.nowMs)) return !this.ended;
    return this.fail(ErrorCode.enhanceYourCalm, "too many stream errors");
  }

  /** A frame that moves nothing forward. Returns false when the connection has failed. */
  protected spendIdleFrame(): boolean {
    return this.#idleFrames.take(this.nowMs) || this.fail(ErrorCode.enhanceYourCalm, "too many idle frames");
  }

  /** A consumer's callback threw. Its stream ends; a half-written frame is taken back. */
  protected defect(stream: Stream, error: unknown): void {
    this.output.cancelData();
    this.resetStream(stream, ErrorCode.internalError);
    this.#onDefect(error);
  }

  /** A header block after the first. Returns false when the connection has failed. */
  protected onTrailers(
    stream: Stream,
    endStream: boolean,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const trailers = this.heads.readTrailers(bytes, start, end);
    if (trailers === "compression") return this.fail(ErrorCode.compressionError, "malformed header block");
    if (typeof trailers === "string" || !endStream || stream.contentLeft > 0) {
      return this.failStream(stream, ErrorCode.protocolError);
    }
    this.deliverEnd(stream, trailers);
    return !this.ended;
  }

  /** The peer's END_STREAM has come with a header block. */
  protected deliverEnd(stream: Stream, trailers: readonly HeaderField[]): void {
    stream.remoteEnded = true;
    try {
      stream.deliverEnd(trailers);
    } catch (error) {
      this.defect(stream, error);
    }
    this.#onRemoteEnd(stream);
  }

  // The end of the connection.

  /** The peer has introduced itself. */
  protected get introduced(): boolean {
    return this.#expected !== EXPECT_SETTINGS;
  }

  /** Ends the connection with GOAWAY for a fault of the peer. Returns false, for callers to pass on. */
  fail(errorCode: number, debugText: string): false {
    if (!this.ended) this.finish(errorCode, debugText);
    return false;
  }

  /** Sends GOAWAY, ends every stream and then the socket. */
  protected finish(errorCode: number, debugText: string): void {
    writeGoAway(this.output.touch(), this.peerStreamId, errorCode, utf8(debugText));
    this.#close(errorCode);
  }

  /** Ends every stream; what is in the output still goes out before the socket is closed. */
  #close(errorCode: number): void {
    this.state = "closing";
    this.#closingSinceMs = this.nowMs;
    this.endStreams(errorCode);
    this.output.flush();
    this.#transport.end();
  }

  /** Ends a connection on which no stream is left; GOAWAY has been sent. */
  protected closeQuietly(): void {
    if (!this.ended) this.#close(ErrorCode.noError);
  }

  protected endStreams(errorCode: number): void {
    const open = [...this.streams.values()];
    this.streams.clear();
    for (const stream of open) {
      stream.closed = true;
      stream.dropParked();
    }
    for (const stream of open) {
      try {
        stream.deliverReset(errorCode);
      } catch (error) {
        this.#onDefect(error);
      }
    }
  }

  /** Drops the connection at once: no GOAWAY, nothing more is sent. */
  destroy(): void {
    this.#end(undefined);
  }

  onEnd(): void {
    // The client of a call that has closed its side cannot cancel it any more: nobody waits for the answer.
    if (this.state !== "closed" && this.state !== "closing") this.#close(ErrorCode.cancel);
    else this.destroy();
  }

  onClose(error: Error | undefined): void {
    this.#end(error);
  }

  #end(error: Error | undefined): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#sweeper.remove(this);
    this.#transport.destroy();
    this.endStreams(ErrorCode.cancel);
    this.output.close();
    this.onEnded(error);
  }

  // Deadlines.

  sweep(nowMs: number): void {
    if (this.#readSinceSweep) {
      this.#readSinceSweep = false;
      this.#lastReadMs = nowMs;
      this.#pingSentMs = -1;
    }
    if (this.state === "closing") {
      if (nowMs - this.#closingSinceMs >= this.limits.lingerMs) this.destroy();
      return;
    }
    if (!this.introduced) {
      if (nowMs - this.#openedMs >= this.limits.prefaceTimeoutMs) this.destroy();
      return;
    }
    if (this.#isStalled(nowMs)) return this.destroy();
    if (
      !this.#settingsAcked && !this.output.paused && nowMs - this.#openedMs >= this.limits.settingsTimeoutMs
    ) {
      return this.finish(ErrorCode.settingsTimeout, "SETTINGS not acknowledged");
    }
    if (this.#isIncompleteTooLong(nowMs)) return this.finish(ErrorCode.enhanceYourCalm, "incomplete frame");
    if (this.output.parkedStreams.size > 0) this.#resetStalledStreams(nowMs);
    this.#checkAlive(nowMs);
    if (!this.ended) this.onSweep(nowMs);
  }

  /** The socket has taken nothing, or not all, of our output for too long. */
  #isStalled(nowMs: number): boolean {
    return this.output.queuedSinceMs >= 0 && nowMs - this.output.queuedSinceMs >= this.limits.stallTimeoutMs;
  }

  #isIncompleteTooLong(nowMs: number): boolean {
    if (this.output.paused || (this.#block === undefined && !this.#frames.incomplete)) {
      this.#incompleteSinceMs = -1;
      return false;
    }
    if (this.#incompleteSinceMs < 0) this.#incompleteSinceMs = nowMs;
    return nowMs - this.#incompleteSinceMs >= this.limits.frameTimeoutMs;
  }

  #resetStalledStreams(nowMs: number): void {
    for (const stream of this.output.parkedStreams) {
      if (nowMs - stream.progressMs >= this.limits.stallTimeoutMs) {
        this.resetStream(stream, ErrorCode.enhanceYourCalm);
      }
    }
  }

  #checkAlive(nowMs: number): void {
    if (this.#pingSentMs >= 0) {
      if (nowMs - this.#pingSentMs >= this.#keepalive.timeoutMs) this.destroy();
    } else if (this.streams.size === 0 && !this.#keepalive.withoutStreams) {
      this.#lastReadMs = nowMs;
    } else if (nowMs - this.#lastReadMs >= this.#keepalive.idleMs) {
      this.#pingSentMs = nowMs;
      writePing(this.output.touch(), 0, keepalivePing);
    }
  }

  /** Asks the peer to answer once it has seen what was sent before. */
  protected sendDrainPing(): void {
    writePing(this.output.touch(), 0, drainPing);
  }
}
