import type { FlushQueue } from "../http2/flush_queue.ts";
import type { Sweeper, Swept } from "../http2/sweeper.ts";
import type { Clock } from "../ports/clock.ts";
import type { ByteStream } from "../ports/sockets.ts";
import type { RequestHandler } from "./api.ts";
import { Http1Connection } from "./connection.ts";
import { defaultHttp1Limits, type Http1Limits } from "./limits.ts";

/** `flushQueue` and `sweeper` may be shared with connections of HTTP/2. */
export interface Http1Options {
  readonly clock: Clock;
  readonly flushQueue: FlushQueue;
  readonly sweeper: Sweeper;
  readonly handler: RequestHandler;
  readonly limits?: Partial<Http1Limits>;
  /** Told of an exception that the handler threw: a defect. The connection has been closed. */
  readonly onDefect: (error: unknown) => void;
}

/** Serves HTTP/1.1, and 1.0, on connections that others accept. */
export class Http1Server implements Swept {
  readonly flushQueue: FlushQueue;
  readonly sweeper: Sweeper;
  readonly limits: Http1Limits;
  readonly handler: RequestHandler;
  readonly onDefect: (error: unknown) => void;
  /** The time for the Date field, a second old at the most. */
  date = "";
  readonly clock: Clock;
  readonly #connections = new Set<Http1Connection>();
  #draining = false;

  constructor(options: Http1Options) {
    this.flushQueue = options.flushQueue;
    this.sweeper = options.sweeper;
    this.limits = { ...defaultHttp1Limits, ...options.limits };
    this.handler = options.handler;
    this.onDefect = options.onDefect;
    this.clock = options.clock;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Takes a connection on which nothing has been read. */
  accept(stream: ByteStream): void {
    if (this.#connections.size === 0) {
      this.sweeper.add(this);
      this.#setDate();
    }
    const connection = new Http1Connection(stream, this);
    this.#connections.add(connection);
    if (this.#draining) connection.drain();
  }

  forget(connection: Http1Connection): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.sweeper.remove(this);
  }

  /** Closes idle connections now and the others after their current request. */
  drain(): void {
    this.#draining = true;
    for (const connection of this.#connections) connection.drain();
  }

  sweep(nowMs: number): void {
    this.#setDate();
    for (const connection of this.#connections) connection.sweep(nowMs);
  }

  #setDate(): void {
    this.date = new Date(this.clock.wallMs()).toUTCString();
  }
}
