import type { Http1Limits } from "./limits.ts";

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const TAB = 0x09;
const SEMICOLON = 0x3b;
const COLON = 0x3a;
const DELETE = 0x7f;
/** Of a chunk's size: no chunk is as long as 4 GiB. */
const SIZE_DIGITS_MAX = 8;

/** Value of each hexadecimal digit; 255 for all else. */
const hexValues = new Uint8Array(256).fill(255);
for (let value = 0; value < 16; value += 1) {
  const digit = value.toString(16);
  hexValues[digit.charCodeAt(0)] = value;
  hexValues[digit.toUpperCase().charCodeAt(0)] = value;
}

/** What the next byte belongs to. */
const State = {
  size: 0,
  extension: 1,
  sizeLineFeed: 2,
  data: 3,
  dataReturn: 4,
  dataLineFeed: 5,
  trailerStart: 6,
  trailerName: 7,
  trailerValue: 8,
  trailerLineFeed: 9,
  lastLineFeed: 10,
  done: 11,
} as const;

/** Reads a chunked body (RFC 9112 section 7.1) as it comes. Extensions and trailers are read over. */
export class ChunkedReader {
  readonly #limits: Http1Limits;
  readonly #onData: (bytes: Uint8Array, start: number, end: number) => void;
  #state: number = State.size;
  /** Of the chunk at hand: its size as far as it is known, then the bytes of it that have not come. */
  #left = 0;
  #digits = 0;
  #extensionBytes = 0;
  #extensionsBytes = 0;
  #trailerBytes = 0;

  constructor(limits: Http1Limits, onData: (bytes: Uint8Array, start: number, end: number) => void) {
    this.#limits = limits;
    this.#onData = onData;
  }

  get done(): boolean {
    return this.#state === State.done;
  }

  /** Reads up to the end of the body or of `bytes`, and returns where; -1 when it is malformed. */
  read(bytes: Uint8Array, start: number): number {
    let at = start;
    while (at < bytes.length && this.#state !== State.done) {
      if (this.#state === State.data) {
        const end = Math.min(bytes.length, at + this.#left);
        this.#left -= end - at;
        if (this.#left === 0) this.#state = State.dataReturn;
        this.#onData(bytes, at, end);
        at = end;
      } else {
        if (!this.#step(bytes[at]!)) return -1;
        at += 1;
      }
    }
    return at;
  }

  /** Takes a byte that is not data; false when it may not stand there. */
  #step(byte: number): boolean {
    switch (this.#state) {
      case State.size:
        return this.#sizeByte(byte);
      case State.extension:
        if (byte === CR) {
          this.#state = State.sizeLineFeed;
          return true;
        }
        this.#extensionBytes += 1;
        this.#extensionsBytes += 1;
        return isText(byte) && this.#extensionBytes <= this.#limits.chunkExtensionBytesMax &&
          this.#extensionsBytes <= this.#limits.chunkExtensionsBytesMax;
      case State.sizeLineFeed:
        this.#state = this.#left === 0 ? State.trailerStart : State.data;
        this.#digits = 0;
        this.#extensionBytes = 0;
        return byte === LF;
      case State.dataReturn:
        this.#state = State.dataLineFeed;
        return byte === CR;
      case State.dataLineFeed:
        this.#state = State.size;
        return byte === LF;
      default:
        return this.#trailerByte(byte);
    }
  }

  #sizeByte(byte: number): boolean {
    const value = hexValues[byte]!;
    if (value < 16) {
      this.#digits += 1;
      this.#left = this.#left * 16 + value;
      return this.#digits <= SIZE_DIGITS_MAX;
    }
    this.#state = byte === CR ? State.sizeLineFeed : State.extension;
    return this.#digits > 0 && (byte === CR || byte === SEMICOLON);
  }

  #trailerByte(byte: number): boolean {
    this.#trailerBytes += 1;
    if (this.#trailerBytes > this.#limits.trailerBytesMax) return false;
    switch (this.#state) {
      case State.trailerStart:
        this.#state = byte === CR ? State.lastLineFeed : State.trailerName;
        return byte === CR || (byte > SP && byte < DELETE && byte !== COLON);
      case State.trailerName:
        if (byte === COLON) this.#state = State.trailerValue;
        return byte > SP && byte < DELETE;
      case State.trailerValue:
        if (byte === CR) this.#state = State.trailerLineFeed;
        return byte === CR || isText(byte);
      case State.trailerLineFeed:
        this.#state = State.trailerStart;
        return byte === LF;
      default:
        this.#state = State.done;
        return byte === LF;
    }
  }
}

function isText(byte: number): boolean {
  return byte >= SP ? byte !== DELETE : byte === TAB;
}
