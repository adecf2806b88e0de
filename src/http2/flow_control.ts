import type { Stream } from "./stream.ts";

/** The window of every stream and connection before anybody says otherwise (RFC 9113 section 6.9.2). */
export const WINDOW_DEFAULT = 65_535;
export const WINDOW_MAX = 0x7fff_ffff;

/** Output of a stream that windows, or the socket, do not take yet. */
interface ParkedItem {
  readonly kind: "data" | "headers";
  readonly bytes: Uint8Array;
  /** Bytes before it are sent. */
  at: number;
  readonly endStream: boolean;
  next: ParkedItem | undefined;
}

/** A stream's parked output, in order. Invariant: while it is not empty, the first item is data with bytes left. */
export class ParkedOutput {
  first: ParkedItem | undefined;
  #last: ParkedItem | undefined;
  /** Data bytes left to send; header blocks are not counted. */
  bytes = 0;

  add(kind: "data" | "headers", bytes: Uint8Array, at: number, endStream: boolean): void {
    const item: ParkedItem = { kind, bytes, at, endStream, next: undefined };
    if (this.#last === undefined) this.first = item;
    else this.#last.next = item;
    this.#last = item;
    if (kind === "data") this.bytes += bytes.length - at;
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
