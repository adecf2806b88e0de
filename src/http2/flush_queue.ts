import type { Clock } from "../ports/clock.ts";

/** Output buffers begin with this and are kept for the next turn; one that grew past it is let go. */
const BUFFER_BYTES = 65_536;
/** Buffers kept: as many as connections have output in the same turn, within 4 MiB. */
const BUFFERS_MAX = 64;

export interface Flushable {
  /** Writes the output gathered so far. Never throws. */
  flush(): void;
}

/**
 * The connections that have output to write in this turn of the event loop, and the buffers they gather it in
 * (idle connections hold none). Whoever has finished a batch of replies calls `flushAll`; if nobody does, a coming
 * turn will.
 */
export class FlushQueue {
  readonly #clock: Clock;
  readonly #buffers: Uint8Array[] = [];
  #waiting: Flushable[] = [];
  #flushing: Flushable[] = [];
  #scheduled = false;
  #inFlushAll = false;
  readonly #onTurn = (): void => {
    this.#scheduled = false;
    this.flushAll();
  };

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Adds a connection; one that is in the queue twice has nothing to write the second time. */
  add(connection: Flushable): void {
    this.#waiting.push(connection);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#clock.soon(this.#onTurn);
  }

  /** Flushes every connection in the queue; those that are added meanwhile have their turn later. */
  flushAll(): void {
    if (this.#waiting.length === 0 || this.#inFlushAll) return;
    this.#inFlushAll = true;
    const batch = this.#waiting;
    this.#waiting = this.#flushing;
    this.#flushing = batch;
    for (let i = 0; i < batch.length; i += 1) batch[i]!.flush();
    batch.length = 0;
    this.#inFlushAll = false;
  }

  takeBuffer(): Uint8Array {
    return this.#buffers.pop() ?? new Uint8Array(BUFFER_BYTES);
  }

  giveBuffer(buffer: Uint8Array): void {
    if (buffer.length === BUFFER_BYTES && this.#buffers.length < BUFFERS_MAX) this.#buffers.push(buffer);
  }
}
