import { EMPTY_BYTES } from "../base/bytes.ts";
import type { DataSource, HeaderBlock } from "./api.ts";
import type { Stream } from "./stream.ts";

/** The window of every stream and connection before anybody says otherwise (RFC 9113 section 6.9.2). */
export const WINDOW_DEFAULT = 65_535;
export const WINDOW_MAX = 0x7fff_ffff;

/** Output of a stream that windows, or the socket, do not take yet: a header block, or data. */
interface ParkedItem {
  readonly block: HeaderBlock | undefined;
  readonly bytes: Uint8Array;
  /** Where data comes from that is not in `bytes`. */
  readonly source: DataSource | undefined;
  /** Bytes of data before it are sent … */
  at: number;
  /** … of so many. */
  readonly length: number;
  readonly endStream: boolean;
  next: ParkedItem | undefined;
}

const NO_OUTPUT: ParkedItem = {
  block: undefined,
  bytes: EMPTY_BYTES,
  source: undefined,
  at: 0,
  length: 0,
  endStream: false,
  next: undefined,
};

/** A stream's parked output, in order. Invariant: while it is not empty, the first item is data with bytes left. */
export class ParkedOutput {
  first: ParkedItem | undefined;
  #last: ParkedItem | undefined;
  /** Data bytes left to send; header blocks are not counted. */
  bytes = 0;

  addBlock(block: HeaderBlock, endStream: boolean): void {
    this.#append({ ...NO_OUTPUT, block, endStream });
  }

  addData(bytes: Uint8Array, at: number, endStream: boolean): void {
    this.#append({ ...NO_OUTPUT, bytes, at, length: bytes.length, endStream });
    this.bytes += bytes.length - at;
  }

  addSource(source: DataSource, length: number): void {
    this.#append({ ...NO_OUTPUT, source, length });
    this.bytes += length;
  }

  #append(item: ParkedItem): void {
    if (this.#last === undefined) this.first = item;
    else this.#last.next = item;
    this.#last = item;
  }

  removeFirst(): void {
    this.first = this.first?.next;
    if (this.first === undefined) this.#last = undefined;
  }
}

/**
 * Streams with parked output whose own window is open, in the order in which they send: one frame each in turn,
 * so that a large response does not hold up the small ones.
 */
export class SendRing {
  #first: Stream | undefined;
  #last: Stream | undefined;

  get empty(): boolean {
    return this.#first === undefined;
  }

  /** Adds at the end, unless it is in the ring already. */
  add(stream: Stream): void {
    if (stream.inSendRing) return;
    stream.inSendRing = true;
    stream.nextInSendRing = undefined;
    if (this.#last === undefined) this.#first = stream;
    else this.#last.nextInSendRing = stream;
    this.#last = stream;
  }

  take(): Stream | undefined {
    const stream = this.#first;
    if (stream === undefined) return undefined;
    this.#first = stream.nextInSendRing;
    if (this.#first === undefined) this.#last = undefined;
    stream.nextInSendRing = undefined;
    stream.inSendRing = false;
    return stream;
  }
}
