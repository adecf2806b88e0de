import { EMPTY_BYTES } from "../base/bytes.ts";
import type { Compression } from "../ports/compression.ts";
import { Code, RpcError } from "./status.ts";

/** Bytes before each message: a flag byte (1 = compressed) and a big-endian length. */
export const MESSAGE_PREFIX_BYTES = 5;

export interface MessageLimits {
  /** Largest message accepted, before and after decompression. */
  readonly receiveBytesMax: number;
}

/** Reads the length of a prefix at `at`. */
export function messageLength(bytes: Uint8Array, at: number): number {
  return (bytes[at + 1]! * 0x1000000) + ((bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!);
}

/** Refuses a message by its prefix alone, before any of it is buffered. */
export function checkMessagePrefix(flags: number, length: number, limits: MessageLimits): void {
  if (length > limits.receiveBytesMax) {
    throw new RpcError(
      Code.ResourceExhausted,
      `grpc: received message larger than max (${length} vs. ${limits.receiveBytesMax})`,
    );
  }
  if (flags > 1) throw new RpcError(Code.Internal, `grpc: received unexpected payload format ${flags}`);
}

/** Undoes a message's compression; the output is capped while it is produced. */
export function decompressMessage(
  bytes: Uint8Array,
  encoding: string | undefined,
  compression: Compression,
  limits: MessageLimits,
): Uint8Array {
  if (encoding === undefined || encoding === "" || encoding === "identity") {
    throw new RpcError(Code.Internal, "grpc: compressed flag set with identity or empty encoding");
  }
  const result = compression.gunzip(bytes, limits.receiveBytesMax);
  if (result === "too large") {
    throw new RpcError(
      Code.ResourceExhausted,
      `grpc: received message after decompression larger than max ${limits.receiveBytesMax}`,
    );
  }
  if (result === "malformed") {
    throw new RpcError(Code.Internal, "grpc: failed to decompress the received message: malformed gzip data");
  }
  return result;
}

/** Memory of messages that have not arrived in full: one budget for all calls of a connection. */
export class MessageBudget {
  #leftBytes: number;

  constructor(bytesMax: number) {
    this.#leftBytes = bytesMax;
  }

  take(bytes: number): void {
    if (bytes > this.#leftBytes) {
      throw new RpcError(Code.ResourceExhausted, "grpc: too many unfinished messages on this connection");
    }
    this.#leftBytes -= bytes;
  }

  give(bytes: number): void {
    this.#leftBytes += bytes;
  }
}

/** First memory for a message: what it claims to need is given as it arrives. */
const FIRST_BYTES = 16 * 1024;

/**
 * Cuts a stream of DATA payloads into messages. It holds at most one message, in memory that grows with what
 * has arrived and counts against the budget, and a prefix. `onMessage` may be called several times per `push`.
 */
export class MessageReader {
  readonly #prefix = new Uint8Array(MESSAGE_PREFIX_BYTES);
  readonly #limits: MessageLimits;
  readonly #budget: MessageBudget;
  readonly #onMessage: (compressed: boolean, bytes: Uint8Array) => void;
  #prefixLength = 0;
  #message: Uint8Array = EMPTY_BYTES;
  #length = 0;
  #filled = 0;

  constructor(
    limits: MessageLimits,
    budget: MessageBudget,
    onMessage: (compressed: boolean, bytes: Uint8Array) => void,
  ) {
    this.#limits = limits;
    this.#budget = budget;
    this.#onMessage = onMessage;
  }

  /** Throws `RpcError` on a message that is refused; the stream is then of no more use. */
  push(chunk: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      if (this.#prefixLength < MESSAGE_PREFIX_BYTES) {
        this.#prefix[this.#prefixLength++] = chunk[at++]!;
        if (this.#prefixLength < MESSAGE_PREFIX_BYTES) continue;
        this.#length = messageLength(this.#prefix, 0);
        checkMessagePrefix(this.#prefix[0]!, this.#length, this.#limits);
        if (at + this.#length <= end) { // The message lies in this chunk: no copy.
          this.#prefixLength = 0;
          this.#onMessage(this.#prefix[0] === 1, chunk.subarray(at, at + this.#length));
          at += this.#length;
          continue;
        }
      }
      const taken = Math.min(end - at, this.#length - this.#filled);
      this.#append(chunk, at, taken);
      at += taken;
      if (this.#filled < this.#length) return;
      const message = this.#message.subarray(0, this.#length);
      this.close();
      this.#prefixLength = 0;
      this.#onMessage(this.#prefix[0] === 1, message);
    }
  }

  #append(chunk: Uint8Array, at: number, count: number): void {
    const needed = this.#filled + count;
    if (needed > this.#message.length) {
      const grown = Math.min(this.#length, Math.max(FIRST_BYTES, needed, this.#message.length * 2));
      this.#budget.take(grown - this.#message.length);
      const message = new Uint8Array(grown);
      message.set(this.#message.subarray(0, this.#filled));
      this.#message = message;
    }
    this.#message.set(chunk.subarray(at, at + count), this.#filled);
    this.#filled = needed;
  }

  /** Gives back what an unfinished message holds. To be called when the stream ends, whichever way. */
  close(): void {
    this.#budget.give(this.#message.length);
    this.#message = EMPTY_BYTES;
    this.#filled = 0;
  }

  /** True when the stream ended between messages. */
  get atBoundary(): boolean {
    return this.#prefixLength === 0;
  }
}
