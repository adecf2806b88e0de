import { ByteWriter } from "../base/byte_writer.ts";

/** What frames are (RFC 6455 section 11.8). */
export const OPCODE_CONTINUATION = 0x0;
export const OPCODE_TEXT = 0x1;
export const OPCODE_BINARY = 0x2;
export const OPCODE_CLOSE = 0x8;
export const OPCODE_PING = 0x9;
export const OPCODE_PONG = 0xa;
export const FINAL = 0x80;

/** Why a connection is closed (RFC 6455 section 7.4.1). */
export const CLOSE_NORMAL = 1000;
export const CLOSE_GOING_AWAY = 1001;
export const CLOSE_PROTOCOL_ERROR = 1002;
/** A close frame without a code; never sent. */
export const CLOSE_NO_STATUS = 1005;
export const CLOSE_INVALID_DATA = 1007;
export const CLOSE_POLICY = 1008;
export const CLOSE_TOO_BIG = 1009;
export const CLOSE_INTERNAL_ERROR = 1011;

const RESERVED_BITS = 0x70;
const CONTROL_BIT = 0x8;
const MASKED = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;
const MASK_BYTES = 4;
const HEADER_BYTES_MAX = 14;
const CONTROL_BYTES_MAX = 125;
/** Room is made for what has come, not for what a frame says that it will bring. */
const MESSAGE_BYTES_FIRST = 16_384;

/** Takes what a reader has found. */
export interface FrameSink {
  /** A whole message, of its own memory; text has been found to be UTF-8. */
  onMessage(message: Uint8Array): void;
  onPing(payload: Uint8Array): void;
  /** The client closes: with its code, or `CLOSE_NO_STATUS`. Nothing comes after it. */
  onCloseFrame(code: number): void;
}

/** Reads the frames of a client (RFC 6455 section 5), from chunks that begin and end anywhere. */
export class WebSocketReader {
  readonly #sink: FrameSink;
  readonly #messageBytesMax: number;
  readonly #header = new Uint8Array(HEADER_BYTES_MAX);
  #headerLength = 0;
  #headerNeeded = 2;
  #opcode = 0;
  #isFinal = false;
  /** Octets of the frame's payload that have not come. */
  #payloadLeft = 0;
  #maskAt = 0;
  /** The message under way, and what it began as. */
  #message: ByteWriter | undefined;
  #messageOpcode = 0;
  #control = new ByteWriter(0);
  #closed = false;

  constructor(messageBytesMax: number, sink: FrameSink) {
    this.#messageBytesMax = messageBytesMax;
    this.#sink = sink;
  }

  /** Octets of the message under way that have come; undefined between messages. */
  get messageBytes(): number | undefined {
    return this.#message?.length;
  }

  /** Reads `chunk[start, end)`. Returns 0, or the code to close with: then nothing more may be read. */
  read(chunk: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && !this.#closed) {
      if (this.#headerLength < this.#headerNeeded) {
        this.#header[this.#headerLength++] = chunk[at++]!;
        if (this.#headerLength === 2) {
          const code = this.#readStart();
          if (code !== 0) return code;
        }
        if (this.#headerLength < this.#headerNeeded) continue;
        const code = this.#beginPayload();
        if (code !== 0) return code;
      }
      const count = Math.min(end - at, this.#payloadLeft);
      this.#takePayload(chunk, at, count);
      at += count;
      if (this.#payloadLeft > 0) continue;
      this.#headerLength = 0;
      this.#headerNeeded = 2;
      const code = this.#endFrame();
      if (code !== 0) return code;
    }
    return 0;
  }

  /** The first two octets: what the frame is, and how long its header. */
  #readStart(): number {
    const first = this.#header[0]!;
    const second = this.#header[1]!;
    const length = second & 0x7f;
    this.#opcode = first & 0x0f;
    this.#isFinal = (first & FINAL) !== 0;
    if ((first & RESERVED_BITS) !== 0 || (second & MASKED) === 0) return CLOSE_PROTOCOL_ERROR;
    if ((this.#opcode & CONTROL_BIT) !== 0) {
      if (this.#opcode > OPCODE_PONG || !this.#isFinal || length > CONTROL_BYTES_MAX) {
        return CLOSE_PROTOCOL_ERROR;
      }
    } else if (this.#opcode > OPCODE_BINARY) {
      return CLOSE_PROTOCOL_ERROR;
    } else if ((this.#opcode === OPCODE_CONTINUATION) !== (this.#message !== undefined)) {
      return CLOSE_PROTOCOL_ERROR;
    }
    const lengthBytes = length === LENGTH_64 ? 8 : length === LENGTH_16 ? 2 : 0;
    this.#headerNeeded = 2 + lengthBytes + MASK_BYTES;
    return 0;
  }

  #beginPayload(): number {
    const header = this.#header;
    const lengthEnd = this.#headerNeeded - MASK_BYTES;
    let length = header[1]! & 0x7f;
    if (lengthEnd > 2) {
      // A sign bit is forbidden, and so is a longer form than is needed.
      if (length === LENGTH_64 && header[2]! >= 0x80) return CLOSE_PROTOCOL_ERROR;
      const least = length === LENGTH_64 ? 0x1_0000 : LENGTH_16;
      length = 0;
      // Past 2^53 it is not exact, and too large all the same.
      for (let i = 2; i < lengthEnd; i += 1) length = length * 256 + header[i]!;
      if (length < least) return CLOSE_PROTOCOL_ERROR;
    }
    this.#payloadLeft = length;
    this.#maskAt = 0;
    if ((this.#opcode & CONTROL_BIT) !== 0) {
      this.#control = new ByteWriter(length);
      return 0;
    }
    if ((this.#message?.length ?? 0) + length > this.#messageBytesMax) return CLOSE_TOO_BIG;
    if (this.#message === undefined) {
      this.#message = new ByteWriter(Math.min(length, MESSAGE_BYTES_FIRST));
      this.#messageOpcode = this.#opcode;
    }
    return 0;
  }

  #takePayload(chunk: Uint8Array, start: number, count: number): void {
    if (count === 0) return;
    const out = (this.#opcode & CONTROL_BIT) !== 0 ? this.#control : this.#message!;
    out.reserve(count);
    const { bytes, length } = out;
    const header = this.#header;
    const maskStart = this.#headerNeeded - MASK_BYTES;
    let maskAt = this.#maskAt;
    for (let i = 0; i < count; i += 1) {
      bytes[length + i] = chunk[start + i]! ^ header[maskStart + maskAt]!;
      maskAt = (maskAt + 1) & 3;
    }
    this.#maskAt = maskAt;
    out.length += count;
    this.#payloadLeft -= count;
  }

  #endFrame(): number {
    switch (this.#opcode) {
      case OPCODE_PING:
        this.#sink.onPing(this.#control.bytes);
        return 0;
      case OPCODE_PONG:
        return 0;
      case OPCODE_CLOSE:
        return this.#endClose(this.#control.bytes);
    }
    if (!this.#isFinal) return 0;
    const message = this.#message!;
    this.#message = undefined;
    const bytes = message.bytes.subarray(0, message.length);
    if (this.#messageOpcode === OPCODE_TEXT && !isUtf8(bytes)) return CLOSE_INVALID_DATA;
    this.#sink.onMessage(bytes);
    return 0;
  }

  #endClose(payload: Uint8Array): number {
    let code = CLOSE_NO_STATUS;
    if (payload.length > 0) {
      code = payload.length === 1 ? 0 : payload[0]! << 8 | payload[1]!;
      if (!mayBeSent(code)) return CLOSE_PROTOCOL_ERROR;
      if (!isUtf8(payload.subarray(2))) return CLOSE_INVALID_DATA;
    }
    this.#closed = true;
    this.#sink.onCloseFrame(code);
    return 0;
  }
}

/** Codes that a close frame may carry: those that are registered, and those for libraries and applications. */
function mayBeSent(code: number): boolean {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

const decoder = new TextDecoder("utf-8", { fatal: true });

function isUtf8(bytes: Uint8Array): boolean {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}
