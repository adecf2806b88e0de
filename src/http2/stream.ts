import type { ByteWriter } from "../base/byte_writer.ts";
import type { DataSource, HeaderBlock, HeaderField } from "./api.ts";
import type { Endpoint } from "./endpoint.ts";
import { ParkedOutput } from "./flow_control.ts";
import { encodeStaticBlock } from "./hpack/encoder.ts";
import type { Output } from "./output.ts";

/**
 * One stream of either side: what it may still send and receive. The fields are the engine's own; consumers see
 * `ServerStream` or `ClientStream`.
 */
export abstract class Stream {
  /** 0 until a client's stream is opened. */
  id: number;
  readonly endpoint: Endpoint;
  readonly output: Output;
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
    this.output = endpoint.output;
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

  sendBlock(block: HeaderBlock, endStream: boolean): void {
    if (this.closed || this.localEnded) return;
    if (endStream) this.localEnded = true;
    if (this.parked !== undefined) return this.parked.addBlock(block, endStream);
    this.output.writeBlock(this.id, block, endStream);
    if (endStream) this.endpoint.onLocalEnd(this);
  }

  sendFields(fields: readonly HeaderField[], endStream: boolean): void {
    this.sendBlock(encodeStaticBlock(fields), endStream);
  }

  startData(): ByteWriter {
    return this.output.startData();
  }

  finishData(endStream: boolean): void {
    const { output } = this;
    if (this.closed || this.localEnded || (!endStream && output.dataLength === 0)) return output.cancelData();
    if (endStream) this.localEnded = true;
    if (this.parked !== undefined) return this.#park(output.takeData(), 0, endStream);
    const rest = output.finishData(this, endStream);
    if (rest !== undefined) this.#park(rest, 0, endStream);
    else if (endStream) this.endpoint.onLocalEnd(this);
  }

  sendData(bytes: Uint8Array, endStream: boolean): void {
    if (this.closed || this.localEnded || (bytes.length === 0 && !endStream)) return;
    if (endStream) this.localEnded = true;
    if (this.parked !== undefined) return this.#park(bytes, 0, endStream);
    const at = this.output.writeData(this, bytes, 0, endStream);
    if (at < bytes.length) this.#park(bytes, at, endStream);
    else if (endStream) this.endpoint.onLocalEnd(this);
  }

  #park(bytes: Uint8Array, at: number, endStream: boolean): void {
    if (this.parked === undefined) this.beginParking(new ParkedOutput());
    this.parked!.addData(bytes, at, endStream);
    this.output.parkedBytes += bytes.length - at;
    this.output.enlist(this);
  }

  sendFrom(source: DataSource, length: number): void {
    if (this.closed || this.localEnded || length === 0) return;
    if (this.parked === undefined) this.beginParking(new ParkedOutput());
    this.parked!.addSource(source, length);
    this.output.parkedBytes += length;
    this.resumeSource();
  }

  resumeSource(): void {
    if (this.parked === undefined) return;
    this.output.enlist(this);
    this.output.wake();
  }

  protected beginParking(parked: ParkedOutput): void {
    this.parked = parked;
    this.progressMs = this.endpoint.nowMs;
    this.output.parkedStreams.add(this);
  }

  /** Sends one frame of parked data, and then what needs no window. False when none could be sent. */
  sendParked(): boolean {
    const parked = this.parked!;
    const front = parked.first!;
    const at = front.source === undefined
      ? this.output.writeDataFrame(this, front.bytes, front.at, front.endStream)
      : front.at + this.output.writeSourceFrame(this, front.source, front.length - front.at);
    if (at === front.at) return false;
    const before = parked.bytes;
    parked.bytes -= at - front.at;
    this.output.parkedBytes -= at - front.at;
    front.at = at;
    this.progressMs = this.endpoint.nowMs;
    if (at === front.length) {
      parked.removeFirst();
      this.sendUnwindowed(parked, front.endStream);
    }
    if (this.closed) return true;
    const low = this.endpoint.limits.parkedLowBytes;
    if (parked.bytes === 0 || (before > low && parked.bytes <= low)) this.deliverWritable();
    return true;
  }

  /** Sends the blocks and the empty data at the front. `ended` tells of the item before them. */
  protected sendUnwindowed(parked: ParkedOutput, ended: boolean): void {
    let endSent = ended;
    for (let item = parked.first; item !== undefined; item = parked.first) {
      if (item.block !== undefined) this.output.writeBlock(this.id, item.block, item.endStream);
      else if (item.length > 0) return;
      else this.output.writeData(this, item.bytes, 0, item.endStream);
      endSent = item.endStream;
      parked.removeFirst();
    }
    this.dropParked();
    if (endSent) this.endpoint.onLocalEnd(this);
  }

  /** Forgets what is parked: it is sent, or nobody will have it. */
  dropParked(): void {
    if (this.parked === undefined) return;
    this.output.parkedBytes -= this.parked.bytes;
    this.output.parkedStreams.delete(this);
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
