import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { HeaderField } from "./api.ts";
import type { Endpoint } from "./endpoint.ts";
import { ParkedOutput } from "./flow_control.ts";
import { FLAG_END_STREAM, FRAME_DATA, FRAME_HEADER_BYTES, setFrameHeader } from "./frames.ts";
import { encodeFields } from "./hpack/encoder.ts";

const fieldsScratch = new ByteWriter(512);

/**
 * One stream of either side: what it may still send and receive. The fields are the engine's own; consumers see
 * `ServerStream` or `ClientStream`.
 */
export abstract class Stream {
  /** 0 until a client's stream is opened. */
  id: number;
  readonly endpoint: Endpoint;
  /** Octets of DATA that the peer takes on this stream now. Below 0 after it has shrunk its initial window. */
  sendWindow: number;
  /** Octets received whose credit has not been returned by WINDOW_UPDATE. */
  received = 0;
  /** The part of `received` whose credit may be returned. */
  returnable = 0;
  creditHeld = false;
  /** The header block before the body has been received. */
  headSeen: boolean;
  /** Octets of body that the peer's content-length still promises, or -1 without one. */
  contentLeft = -1;
  /** END_STREAM has been received. */
  remoteEnded = false;
  /** END_STREAM has been sent, or waits in `parked`. */
  localEnded = false;
  closed = false;
  /** Coarse monotonic time of its beginning. */
  readonly openedMs: number;
  parked: ParkedOutput | undefined = undefined;
  /** Coarse monotonic time at which parked output last moved. */
  progressMs = 0;
  inSendRing = false;
  nextInSendRing: Stream | undefined = undefined;

  constructor(endpoint: Endpoint, id: number, sendWindow: number, headSeen: boolean) {
    this.endpoint = endpoint;
    this.headSeen = headSeen;
    this.id = id;
    this.sendWindow = sendWindow;
    this.openedMs = endpoint.nowMs;
  }

  abstract deliverData(bytes: Uint8Array, start: number, end: number): void;
  abstract deliverEnd(trailers: readonly HeaderField[]): void;
  abstract deliverReset(errorCode: number): void;
  abstract deliverWritable(): void;

  get bufferedBytes(): number {
    return this.parked === undefined ? 0 : this.parked.bytes;
  }

  sendBlock(block: Uint8Array, endStream: boolean): void {
    if (this.closed || this.localEnded) return;
    if (endStream) this.localEnded = true;
    if (this.parked !== undefined) return this.parked.add("headers", block, 0, endStream);
    this.endpoint.writeBlock(this.id, block, endStream);
    if (endStream) this.endpoint.onLocalEnd(this);
  }

  sendFields(fields: readonly HeaderField[], endStream: boolean): void {
    fieldsScratch.clear();
    encodeFields(fieldsScratch, fields);
    this.sendBlock(fieldsScratch.toBytes(), endStream);
  }

  startData(): ByteWriter {
    return this.endpoint.startData();
  }

  finishData(endStream: boolean): void {
    const endpoint = this.endpoint;
    const out = endpoint.out;
    const start = endpoint.dataStart;
    endpoint.dataStart = -1;
    const length = out.length - start - FRAME_HEADER_BYTES;
    if (this.closed || this.localEnded || (length === 0 && !endStream)) {
      out.length = start;
      return;
    }
    if (this.parked === undefined && length <= endpoint.dataAllowance(this, start)) {
      setFrameHeader(out.bytes, start, length, FRAME_DATA, endStream ? FLAG_END_STREAM : 0, this.id);
      endpoint.countSent(this, length);
      if (!endStream) return;
      this.localEnded = true;
      return endpoint.onLocalEnd(this);
    }
    const payload = length === 0 ? EMPTY_BYTES : out.bytes.slice(start + FRAME_HEADER_BYTES, out.length);
    out.length = start;
    this.sendData(payload, endStream);
  }

  sendData(bytes: Uint8Array, endStream: boolean): void {
    if (this.closed || this.localEnded || (bytes.length === 0 && !endStream)) return;
    if (endStream) this.localEnded = true;
    let at = 0;
    if (this.parked === undefined) {
      at = this.endpoint.writeData(this, bytes, 0, endStream);
      if (at === bytes.length) {
        if (endStream) this.endpoint.onLocalEnd(this);
        return;
      }
    }
    this.#park(bytes, at, endStream);
  }

  /** Sends one frame's worth of parked data, and then what needs no window. False when none could be sent. */
  sendParked(): boolean {
    const parked = this.parked!;
    const front = parked.first!;
    const at = this.endpoint.writeDataFrame(this, front.bytes, front.at, front.endStream);
    if (at === front.at) return false;
    const before = parked.bytes;
    parked.bytes -= at - front.at;
    this.endpoint.parkedBytes -= at - front.at;
    front.at = at;
    this.progressMs = this.endpoint.nowMs;
    if (at === front.bytes.length) this.#dropSent(parked);
    if (this.closed) return true;
    const low = this.endpoint.limits.parkedLowBytes;
    if (parked.bytes === 0 || (before > low && parked.bytes <= low)) this.deliverWritable();
    return true;
  }

  /** The front item is sent: removes it, and sends what is behind it and needs no window. */
  #dropSent(parked: ParkedOutput): void {
    const ended = parked.first!.endStream;
    parked.removeFirst();
    this.sendUnwindowed(parked, ended);
  }

  /** Sends the blocks and the empty data at the front. `ended` tells of the item before them. */
  protected sendUnwindowed(parked: ParkedOutput, ended: boolean): void {
    let endSent = ended;
    for (let item = parked.first; item !== undefined; item = parked.first) {
      if (item.kind === "headers") this.endpoint.writeBlock(this.id, item.bytes, item.endStream);
      else if (item.bytes.length > 0) return;
      else this.endpoint.writeData(this, item.bytes, 0, item.endStream);
      endSent = item.endStream;
      parked.removeFirst();
    }
    this.parked = undefined;
    this.endpoint.parkedStreams.delete(this);
    if (endSent) this.endpoint.onLocalEnd(this);
  }

  #park(bytes: Uint8Array, at: number, endStream: boolean): void {
    if (this.parked === undefined) {
      this.parked = new ParkedOutput();
      this.progressMs = this.endpoint.nowMs;
      this.endpoint.parkedStreams.add(this);
    }
    this.parked.add("data", bytes, at, endStream);
    this.endpoint.parkedBytes += bytes.length - at;
    this.endpoint.onParked(this);
  }

  /** Forgets what is parked, since nobody will have it. */
  dropParked(): void {
    if (this.parked === undefined) return;
    this.endpoint.parkedBytes -= this.parked.bytes;
    this.endpoint.parkedStreams.delete(this);
    this.parked = undefined;
  }

  reset(errorCode: number): void {
    this.endpoint.resetStream(this, errorCode);
  }

  holdCredit(): void {
    this.creditHeld = true;
  }

  releaseCredit(bytes: number): void {
    this.endpoint.returnCredit(this, Math.min(bytes, this.received - this.returnable));
  }
}

const RECENT = 64;

/**
 * The streams that closed last, to tell a frame that crossed our RST_STREAM from one that the peer should not have
 * sent. What is older is forgotten.
 */
export class ClosedStreams {
  /** An id, or its negation when this side reset the stream. */
  #ring: Int32Array | undefined;
  #next = 0;

  add(id: number, resetHere: boolean): void {
    this.#ring ??= new Int32Array(RECENT);
    this.#ring[this.#next] = resetHere ? -id : id;
    this.#next = (this.#next + 1) % RECENT;
  }

  wasResetHere(id: number): boolean {
    return this.#ring !== undefined && this.#ring.includes(-id);
  }

  isRecent(id: number): boolean {
    return this.#ring !== undefined && (this.#ring.includes(id) || this.#ring.includes(-id));
  }
}
