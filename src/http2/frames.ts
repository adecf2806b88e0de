import type { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";

/** The bytes every client begins with (RFC 9113 section 3.4). */
export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export const FRAME_HEADER_BYTES = 9;
/** What every endpoint must accept, and the size we never exceed when receiving. */
export const FRAME_BYTES_DEFAULT = 16_384;
export const FRAME_BYTES_LIMIT = 16_777_215;
export const STREAM_ID_MAX = 0x7fff_ffff;

export const FRAME_DATA = 0;
export const FRAME_HEADERS = 1;
export const FRAME_PRIORITY = 2;
export const FRAME_RST_STREAM = 3;
export const FRAME_SETTINGS = 4;
export const FRAME_PUSH_PROMISE = 5;
export const FRAME_PING = 6;
export const FRAME_GOAWAY = 7;
export const FRAME_WINDOW_UPDATE = 8;
export const FRAME_CONTINUATION = 9;

export const FLAG_ACK = 1;
export const FLAG_END_STREAM = 1;
export const FLAG_END_HEADERS = 4;
export const FLAG_PADDED = 8;
export const FLAG_PRIORITY = 0x20;

/** RFC 9113 section 7. */
export const ErrorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  connectError: 10,
  enhanceYourCalm: 11,
  inadequateSecurity: 12,
  http11Required: 13,
} as const;

/** RFC 9113 section 6.5.2. */
export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

export function uint32At(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

/** A stream id or window increment: 32 bits, of which the first is reserved and ignored. */
export function uint31At(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! & 0x7f) << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** Sets the header of a frame whose place, at `at`, has been reserved. */
export function setFrameHeader(
  bytes: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  bytes[at + 5] = streamId >>> 24;
  bytes[at + 6] = streamId >>> 16;
  bytes[at + 7] = streamId >>> 8;
  bytes[at + 8] = streamId;
}

/** Appends a header and makes room for the payload of `length` bytes that the caller appends next. */
export function writeFrameHeader(
  out: ByteWriter,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  out.reserve(FRAME_HEADER_BYTES + length);
  setFrameHeader(out.bytes, out.length, length, type, flags, streamId);
  out.length += FRAME_HEADER_BYTES;
}

export function writeSettings(
  out: ByteWriter,
  settings: readonly (readonly [id: number, value: number])[],
): void {
  writeFrameHeader(out, settings.length * 6, FRAME_SETTINGS, 0, 0);
  for (const [id, value] of settings) {
    out.byte(id >>> 8);
    out.byte(id);
    writeUint32(out, value);
  }
}

export function writeSettingsAck(out: ByteWriter): void {
  writeFrameHeader(out, 0, FRAME_SETTINGS, FLAG_ACK, 0);
}

/** `payload` is eight bytes. */
export function writePing(out: ByteWriter, flags: number, payload: Uint8Array): void {
  writeFrameHeader(out, 8, FRAME_PING, flags, 0);
  out.write(payload);
}

export function writeGoAway(
  out: ByteWriter,
  lastStreamId: number,
  errorCode: number,
  debugData = EMPTY_BYTES,
): void {
  writeFrameHeader(out, 8 + debugData.length, FRAME_GOAWAY, 0, 0);
  writeUint32(out, lastStreamId);
  writeUint32(out, errorCode);
  out.write(debugData);
}

export function writeReset(out: ByteWriter, streamId: number, errorCode: number): void {
  writeFrameHeader(out, 4, FRAME_RST_STREAM, 0, streamId);
  writeUint32(out, errorCode);
}

export function writeWindowUpdate(out: ByteWriter, streamId: number, increment: number): void {
  writeFrameHeader(out, 4, FRAME_WINDOW_UPDATE, 0, streamId);
  writeUint32(out, increment);
}

/** Appends a block as HEADERS and, where it exceeds the peer's frame size, CONTINUATION frames. */
export function writeHeaderBlock(
  out: ByteWriter,
  streamId: number,
  block: Uint8Array,
  endStream: boolean,
  frameBytesMax: number,
): void {
  const endFlag = endStream ? FLAG_END_STREAM : 0;
  if (block.length <= frameBytesMax) {
    writeFrameHeader(out, block.length, FRAME_HEADERS, endFlag | FLAG_END_HEADERS, streamId);
    return out.write(block);
  }
  for (let at = 0; at < block.length; at += frameBytesMax) {
    const part = block.subarray(at, at + frameBytesMax);
    const last = at + part.length === block.length ? FLAG_END_HEADERS : 0;
    if (at === 0) writeFrameHeader(out, part.length, FRAME_HEADERS, endFlag, streamId);
    else writeFrameHeader(out, part.length, FRAME_CONTINUATION, last, streamId);
    out.write(part);
  }
}

function writeUint32(out: ByteWriter, value: number): void {
  out.reserve(4);
  out.setUint32(out.length, value);
  out.length += 4;
}

export interface FrameSink {
  /**
   * A frame of which `bytes[start, end)` is the payload; the memory is never written to again. Returns false
   * when no further frame is wanted, for good.
   */
  onFrame(
    type: number,
    flags: number,
    streamId: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean;
  /** A frame longer than allowed begins. Nothing is read after it. */
  onOversizedFrame(): void;
}

/** Cuts what a socket delivers into frames. Only a frame that lies in several chunks is copied, once. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #payloadBytesMax: number;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerHave = 0;
  /** The straddling frame with its header, once that is known. */
  #frame: Uint8Array | undefined;
  #frameHave = 0;

  constructor(sink: FrameSink, payloadBytesMax: number) {
    this.#sink = sink;
    this.#payloadBytesMax = payloadBytesMax;
  }

  /** True while part of a frame has come and its end has not. */
  get incomplete(): boolean {
    return this.#headerHave > 0;
  }

  read(chunk: Uint8Array, start: number): void {
    let at = start;
    if (this.#headerHave > 0) {
      at = this.#resume(chunk, at);
      if (at < 0) return;
    }
    const end = chunk.length;
    while (end - at >= FRAME_HEADER_BYTES) {
      const length = (chunk[at]! << 16) | (chunk[at + 1]! << 8) | chunk[at + 2]!;
      if (length > this.#payloadBytesMax) return this.#sink.onOversizedFrame();
      const payload = at + FRAME_HEADER_BYTES;
      const next = payload + length;
      if (next > end) break;
      if (
        !this.#sink.onFrame(chunk[at + 3]!, chunk[at + 4]!, uint31At(chunk, at + 5), chunk, payload, next)
      ) return;
      at = next;
    }
    if (at < end) this.#keep(chunk, at);
  }

  /** Stores the beginning of a frame that the chunk does not complete. Its length has been checked if it is known. */
  #keep(chunk: Uint8Array, at: number): void {
    const have = chunk.length - at;
    if (have < FRAME_HEADER_BYTES) {
      this.#header.set(chunk.subarray(at));
      this.#headerHave = have;
      return;
    }
    this.#header.set(chunk.subarray(at, at + FRAME_HEADER_BYTES));
    this.#beginFrame();
    this.#frame!.set(chunk.subarray(at));
    this.#frameHave = have;
  }

  #beginFrame(): void {
    this.#headerHave = FRAME_HEADER_BYTES;
    this.#frame = new Uint8Array(FRAME_HEADER_BYTES + this.#payloadLength());
    this.#frame.set(this.#header);
    this.#frameHave = FRAME_HEADER_BYTES;
  }

  #payloadLength(): number {
    return (this.#header[0]! << 16) | (this.#header[1]! << 8) | this.#header[2]!;
  }

  /** Adds to the straddling frame. Returns where the chunk goes on, or -1 when there is nothing more to do. */
  #resume(chunk: Uint8Array, start: number): number {
    let at = start;
    if (this.#frame === undefined) {
      while (this.#headerHave < FRAME_HEADER_BYTES) {
        if (at === chunk.length) return -1;
        this.#header[this.#headerHave++] = chunk[at++]!;
      }
      if (this.#payloadLength() > this.#payloadBytesMax) {
        this.#sink.onOversizedFrame();
        return -1;
      }
      this.#beginFrame();
    }
    const frame = this.#frame!;
    const take = Math.min(frame.length - this.#frameHave, chunk.length - at);
    frame.set(chunk.subarray(at, at + take), this.#frameHave);
    this.#frameHave += take;
    if (this.#frameHave < frame.length) return -1;
    this.#frame = undefined;
    this.#headerHave = 0;
    const more = this.#sink.onFrame(
      frame[3]!,
      frame[4]!,
      uint31At(frame, 5),
      frame,
      FRAME_HEADER_BYTES,
      frame.length,
    );
    return more ? at + take : -1;
  }
}
