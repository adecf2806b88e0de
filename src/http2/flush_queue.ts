import type { Clock } from "../ports/clock.ts";

/**
 * Output buffers begin with this: the replies of a turn to a client with ten requests open. They grow as they need to
 * and stay so. Larger ones cost more than they save: a batch of replies to many connections takes one for each.
 */
const BUFFER_BYTES = 4_096;
/** Buffers are kept for the next turn up to this sum: two thousand connections with little output, or a few with much. */
const KEPT_BYTES_MAX = 8 << 20;

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
  #keptBytes = 0;
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
    const buffer = this.#buffers.pop();
    if (buffer === undefined) return new Uint8Array(BUFFER_BYTES);
    this.#keptBytes -= buffer.length;
    return buffer;
  }

  giveBuffer(buffer: Uint8Array): void {
    if (this.#keptBytes + buffer.length > KEPT_BYTES_MAX) return;
    this.#keptBytes += buffer.length;
    this.#buffers.push(buffer);
  }
}
