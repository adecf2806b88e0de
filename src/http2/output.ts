import { assert } from "../base/assert.ts";
import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { ByteStream } from "../ports/sockets.ts";
import type { DataSource, HeaderBlock } from "./api.ts";
import type { FloodMeter } from "./flood_meter.ts";
import { SendRing, WINDOW_DEFAULT } from "./flow_control.ts";
import type { Flushable, FlushQueue } from "./flush_queue.ts";
import {
  FLAG_END_STREAM,
  FRAME_BYTES_DEFAULT,
  FRAME_DATA,
  FRAME_HEADER_BYTES,
  setFrameHeader,
  writeHeaderBlock,
} from "./frames.ts";
import { TABLE_SIZE_ZERO } from "./hpack/encoder.ts";
import { TABLE_EMPTY, TABLE_UNUSED } from "./hpack/repeated_fields.ts";
import { TABLE_BYTES_DEFAULT } from "./hpack/table.ts";
import type { Http2Limits } from "./limits.ts";
import type { Stream } from "./stream.ts";
import type { Sweeper } from "./sweeper.ts";

/** Frames we send are no longer than this, whatever the peer allows: a large response must not block the others. */
const SENT_FRAME_BYTES_MAX = 65_536;
/** DATA smaller than this pays for no further control frames: it may be what a peer's tiny windows made of it. */
const USEFUL_DATA_BYTES = 512;

export interface OutputOptions {
  readonly flushQueue: FlushQueue;
  readonly sweeper: Sweeper;
  readonly limits: Http2Limits;
  /** Is paid back for the data that is sent. */
  readonly idleFrames: FloodMeter;
  /** A consumer's `onWritable` threw. */
  readonly onDefect: (stream: Stream, error: unknown) => void;
}

/**
 * What a connection sends: frames gathered in one buffer that is written once a turn, and the streams whose data
 * waits for window or for the socket.
 */
export class Output implements Flushable {
  /** The frames of this turn. Whoever appends to it calls `touch` first, which sees to a buffer and to a flush. */
  readonly buffer = new ByteWriter(0);
  /** Octets of DATA that the peer takes on the connection now. */
  window = WINDOW_DEFAULT;
  /** Every stream that has parked output, and the sum of its data. */
  readonly parkedStreams = new Set<Stream>();
  parkedBytes = 0;
  /** A header block or DATA has been written since somebody set this to false. */
  payloadWritten = false;
  /** Coarse monotonic time since when the socket has kept output, or -1. */
  queuedSinceMs = -1;
  /** Too much output waits for a peer that goes on sending: nothing is read from it. */
  paused = false;

  readonly #transport: ByteStream;
  readonly #flushQueue: FlushQueue;
  readonly #sweeper: Sweeper;
  readonly #limits: Http2Limits;
  readonly #idleFrames: FloodMeter;
  readonly #onDefect: (stream: Stream, error: unknown) => void;
  readonly #ring = new SendRing();
  #frameBytesMax = FRAME_BYTES_DEFAULT;
  /** How many of the repeated fields the peer's dynamic table holds, by the blocks written so far. */
  #tableState = TABLE_EMPTY;
  /** The next block must say that the table is not used any more. */
  #owesTableSize = false;
  /** There is output, or about to be: `buffer` has memory, and a flush is to come. */
  #touched = false;
  /** Somebody has promised to flush at the end of what is going on now. */
  #promised = false;
  #closed = false;
  /** Where the frame of a `startData` begins; -1 when none is open. */
  #dataStart = -1;
  #heldLast = false;
  /** Bytes the socket keeps, as of the last write or drain. */
  #queuedBytes = 0;
  /** Buffers that it may still be reading. */
  readonly #heldBuffers: Uint8Array[] = [];

  constructor(transport: ByteStream, options: OutputOptions) {
    this.#transport = transport;
    this.#flushQueue = options.flushQueue;
    this.#sweeper = options.sweeper;
    this.#limits = options.limits;
    this.#idleFrames = options.idleFrames;
    this.#onDefect = options.onDefect;
  }

  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  set peerFrameBytesMax(bytes: number) {
    this.#frameBytesMax = Math.min(bytes, SENT_FRAME_BYTES_MAX);
  }

  /** The buffer, ready to be appended to. */
  touch(): ByteWriter {
    if (this.#touched) return this.buffer;
    this.#touched = true;
    this.buffer.bytes = this.#flushQueue.takeBuffer();
    if (!this.#promised && !this.#closed) this.#flushQueue.add(this);
    return this.buffer;
  }

  /** Until `settle`, output waits for it instead of the flush queue. */
  promiseFlush(): void {
    this.#promised = true;
  }

  settle(): void {
    this.#promised = false;
    if (this.#touched) this.flush();
  }

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. With less than the default we do without the table, and say so. */
  set peerTableBytesMax(bytes: number) {
    if (bytes >= TABLE_BYTES_DEFAULT) return;
    this.#tableState = TABLE_UNUSED;
    this.#owesTableSize = true;
  }

  writeBlock(streamId: number, block: HeaderBlock, endStream: boolean): void {
    const buffer = this.touch();
    let bytes: Uint8Array;
    if (block instanceof Uint8Array) {
      bytes = block;
    } else {
      const form = block.formFor(this.#tableState);
      bytes = form.bytes;
      this.#tableState = form.state;
    }
    if (this.#owesTableSize) {
      this.#owesTableSize = false;
      bytes = Uint8Array.of(TABLE_SIZE_ZERO, ...bytes);
    }
    writeHeaderBlock(buffer, streamId, bytes, endStream, this.#frameBytesMax);
    this.payloadWritten = true;
  }

  /** Begins a DATA payload: reserves the frame's header. */
  startData(): ByteWriter {
    const buffer = this.touch();
    this.#dataStart = buffer.length;
    buffer.reserve(FRAME_HEADER_BYTES);
    buffer.length += FRAME_HEADER_BYTES;
    return buffer;
  }

  /** Octets appended since `startData`. */
  get dataLength(): number {
    return this.buffer.length - this.#dataStart - FRAME_HEADER_BYTES;
  }

  /** Takes the payload begun by `startData` out of the buffer. */
  takeData(): Uint8Array {
    const payload = this.buffer.bytes.slice(this.#dataStart + FRAME_HEADER_BYTES, this.buffer.length);
    this.cancelData();
    return payload;
  }

  /** Takes back a payload that was begun, if there is one. */
  cancelData(): void {
    if (this.#dataStart < 0) return;
    this.buffer.length = this.#dataStart;
    this.#dataStart = -1;
  }

  /**
   * Makes frames of the payload begun by `startData`, where it lies, as far as they may be sent now. Returns the rest,
   * copied out of the buffer, or undefined when there is none.
   */
  finishData(stream: Stream, endStream: boolean): Uint8Array | undefined {
    const { buffer } = this;
    const start = this.#dataStart;
    const from = start + FRAME_HEADER_BYTES;
    const length = buffer.length - from;
    const allowed = this.#allowance(stream, start);
    this.#dataStart = -1;
    if (length <= allowed && length <= this.#frameBytesMax) {
      this.#sealFrame(stream, start, length, endStream);
      return undefined;
    }
    const rest = length > allowed ? buffer.bytes.slice(from + allowed, buffer.length) : undefined;
    buffer.length -= rest === undefined ? 0 : rest.length;
    if (allowed === 0) buffer.length = start;
    else this.#splitFrames(stream, start, endStream && rest === undefined);
    return rest;
  }

  /** Moves the payload that begins at `start` apart, from the back, to make room for the headers of further frames. */
  #splitFrames(stream: Stream, start: number, endStream: boolean): void {
    const { buffer } = this;
    const max = this.#frameBytesMax;
    const from = start + FRAME_HEADER_BYTES;
    const length = buffer.length - from;
    const last = Math.ceil(length / max) - 1;
    buffer.reserve(last * FRAME_HEADER_BYTES);
    for (let i = last; i >= 0; i -= 1) {
      const at = start + i * (max + FRAME_HEADER_BYTES);
      const end = Math.min(length, (i + 1) * max);
      if (i > 0) buffer.bytes.copyWithin(at + FRAME_HEADER_BYTES, from + i * max, from + end);
      this.#sealFrame(stream, at, end - i * max, endStream && i === last);
    }
    buffer.length += last * FRAME_HEADER_BYTES;
  }

  /** Sends as much of `bytes` from `at` on as may be sent now; returns where the rest begins. */
  writeData(stream: Stream, bytes: Uint8Array, at: number, endStream: boolean): number {
    if (bytes.length === 0) {
      this.#appendFrame(stream, bytes, 0, 0, endStream);
      return 0;
    }
    const end = Math.min(bytes.length, at + this.#allowance(stream, this.buffer.length));
    for (let from = at; from < end; from += this.#frameBytesMax) {
      const to = Math.min(end, from + this.#frameBytesMax);
      this.#appendFrame(stream, bytes, from, to, endStream && to === bytes.length);
    }
    return end;
  }

  /** The same, but no more than one frame. */
  writeDataFrame(stream: Stream, bytes: Uint8Array, at: number, endStream: boolean): number {
    const allowed = Math.min(this.#allowance(stream, this.buffer.length), this.#frameBytesMax);
    const to = Math.min(bytes.length, at + allowed);
    if (to > at) this.#appendFrame(stream, bytes, at, to, endStream && to === bytes.length);
    return to;
  }

  /** Sends at most one frame of what `source` has, and of `left` octets; returns how many. */
  writeSourceFrame(stream: Stream, source: DataSource, left: number): number {
    const allowed = Math.min(this.#allowance(stream, this.buffer.length), this.#frameBytesMax, left);
    if (allowed <= 0) return 0;
    const start = this.startData().length - FRAME_HEADER_BYTES;
    const count = source.read(this.buffer, allowed);
    assert(count === this.dataLength && count <= allowed, "A source of % octets gave %", allowed, count);
    if (count === 0) {
      this.cancelData();
      return 0;
    }
    this.#dataStart = -1;
    this.#sealFrame(stream, start, count, false);
    return count;
  }

  #appendFrame(stream: Stream, bytes: Uint8Array, start: number, end: number, endStream: boolean): void {
    const buffer = this.touch();
    const at = buffer.length;
    buffer.reserve(FRAME_HEADER_BYTES + end - start);
    buffer.length += FRAME_HEADER_BYTES;
    buffer.write(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end));
    this.#sealFrame(stream, at, end - start, endStream);
  }

  /** Sets the header, at `at`, of a DATA frame whose payload is in place, and takes it from the windows. */
  #sealFrame(stream: Stream, at: number, length: number, endStream: boolean): void {
    setFrameHeader(this.buffer.bytes, at, length, FRAME_DATA, endStream ? FLAG_END_STREAM : 0, stream.id);
    stream.sendWindow -= length;
    this.window -= length;
    if (length >= USEFUL_DATA_BYTES) this.#idleFrames.earn(2);
    this.payloadWritten = true;
  }

  /** Octets of DATA that the stream may send now, given that `before` bytes of output precede them. */
  #allowance(stream: Stream, before: number): number {
    const room = this.#limits.outputBytesMax - this.#queuedBytes - before;
    if (room <= 0) return 0;
    const window = stream.sendWindow < this.window ? stream.sendWindow : this.window;
    if (window <= 0) return 0;
    // The last frame may stick out: a small one is not cut for the sake of the room.
    return Math.min(window, room + this.#frameBytesMax);
  }

  /** A stream has parked output, or its window has grown: it joins those that send when they can. */
  enlist(stream: Stream): void {
    if (stream.sendWindow > 0) this.#ring.add(stream);
  }

  /** The flush that is to come will send parked output, too. */
  wake(): void {
    if (!this.#ring.empty && this.window > 0) this.touch();
  }

  /** Sends parked output for as long as windows and the socket take it. */
  #pump(): void {
    while (!this.#ring.empty && this.window > 0 && this.#hasRoom()) {
      const stream = this.#ring.take()!;
      if (stream.closed || stream.parked === undefined) continue;
      try {
        if (!stream.sendParked()) continue;
      } catch (error) {
        this.#onDefect(stream, error);
      }
      if (!stream.closed && stream.parked !== undefined) this.enlist(stream);
    }
  }

  #hasRoom(): boolean {
    return this.#queuedBytes + this.buffer.length < this.#limits.outputBytesMax;
  }

  /** Writes what has been gathered. Called by the flush queue, and at the end of each chunk received. */
  flush(): void {
    if (this.#closed) return;
    if (!this.#ring.empty) this.#pump();
    const { buffer } = this;
    const { length } = buffer;
    this.#touched = false;
    if (length > 0) {
      buffer.length = 0;
      this.#write(length);
    }
    if (buffer.bytes.length > 0) {
      this.#flushQueue.giveBuffer(buffer.bytes);
      buffer.bytes = EMPTY_BYTES;
    }
    // What was cut short for want of room goes on in the next turn, so that other connections have theirs.
    if (this.#hasRoom()) this.wake();
  }

  #write(length: number): void {
    const { bytes } = this.buffer;
    // A socket that kept the last buffer will keep this one: it gets a copy of its size, unless the buffer is full.
    const copied = this.#heldLast && length * 2 < bytes.length;
    const written = this.#transport.write(copied ? bytes.slice(0, length) : bytes.subarray(0, length));
    this.#heldLast = written === "held";
    if (written === "free") return;
    if (!copied) {
      this.#heldBuffers.push(bytes);
      this.buffer.bytes = EMPTY_BYTES;
    }
    this.#queuedBytes = this.#transport.queuedBytes;
    if (this.queuedSinceMs < 0) this.queuedSinceMs = this.#sweeper.nowMs;
    if (this.#queuedBytes < this.#limits.outputBytesPause || this.paused) return;
    // A peer that sends and does not read must not make us gather answers.
    this.paused = true;
    this.#transport.pause();
  }

  /** The socket has taken everything. */
  onDrain(): void {
    this.#queuedBytes = 0;
    this.queuedSinceMs = -1;
    for (const buffer of this.#heldBuffers) this.#flushQueue.giveBuffer(buffer);
    this.#heldBuffers.length = 0;
    if (this.paused) {
      this.paused = false;
      this.#transport.resume();
    }
    if (!this.#ring.empty) this.flush();
  }

  /** Nothing is written any more. */
  close(): void {
    this.#closed = true;
    this.buffer.length = 0;
  }
}
