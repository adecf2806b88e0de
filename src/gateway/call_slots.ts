import type { HttpExchange, RequestBody } from "../http1/api.ts";

/**
 * Places for calls of the gateway. etcd's sends all of them over one connection of gRPC, whose streams
 * `--max-concurrent-streams` bounds: what is past that waits, in the order in which it came, for a call to end.
 */
export class CallSlots {
  readonly #bodyBytesMax: number;
  readonly #waiting = new Set<WaitingCall>();
  #free: number;

  /** A call that waits and sends more than `bodyBytesMax` is broken off. */
  constructor(callsMax: number, bodyBytesMax: number) {
    this.#free = callsMax;
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** Takes a place, if there is one, for a call that gives it back by `release`. */
  take(): boolean {
    if (this.#free === 0) return false;
    this.#free -= 1;
    return true;
  }

  /** Begins a call by `open` when there is a place for it. */
  wait(exchange: HttpExchange, open: () => RequestBody): RequestBody {
    const call = new WaitingCall(exchange, open, this.#bodyBytesMax, () => this.#waiting.delete(call));
    this.#waiting.add(call);
    return call;
  }

  release(): void {
    for (const call of this.#waiting) {
      this.#waiting.delete(call);
      return call.begin();
    }
    this.#free += 1;
  }
}

/** Keeps what comes of a request until its call begins, and hands it on from then. */
class WaitingCall implements RequestBody {
  readonly #exchange: HttpExchange;
  readonly #open: () => RequestBody;
  readonly #bytesMax: number;
  readonly #leave: () => void;
  #body: RequestBody | undefined;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #isEnded = false;

  constructor(exchange: HttpExchange, open: () => RequestBody, bytesMax: number, leave: () => void) {
    this.#exchange = exchange;
    this.#open = open;
    this.#bytesMax = bytesMax;
    this.#leave = leave;
  }

  begin(): void {
    const body = this.#body = this.#open();
    for (const bytes of this.#kept) body.onData(bytes, 0, bytes.length);
    this.#kept = [];
    if (this.#isEnded) body.onEnd();
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (this.#body !== undefined) return this.#body.onData(chunk, start, end);
    this.#kept.push(chunk.subarray(start, end));
    this.#keptBytes += end - start;
    if (this.#keptBytes <= this.#bytesMax) return;
    this.#leave();
    this.#exchange.destroy();
  }

  onEnd(): void {
    this.#isEnded = true;
    this.#body?.onEnd();
  }

  onAbort(): void {
    if (this.#body !== undefined) this.#body.onAbort();
    else this.#leave();
  }

  onWritable(): void {
    this.#body?.onWritable();
  }
}
