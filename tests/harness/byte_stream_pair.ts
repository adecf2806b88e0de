import type { ByteStream, ByteStreamHandler, PeerInfo } from "../../src/ports/sockets.ts";

export interface PairOptions {
  /** Bytes that "the kernel" takes in each direction before writes are held. */
  readonly capacityBytes?: number;
  /** Chunks are cut to this when they are delivered: 1 delivers byte by byte. */
  readonly chunkBytesMax?: number;
}

/**
 * Two connected byte streams in memory. Nothing is delivered but by `settle`, so a test decides when the
 * turn of the event loop ends.
 */
export interface ByteStreamPair {
  readonly a: MemoryByteStream;
  readonly b: MemoryByteStream;
  /** Delivers bytes, drains, ends and closings until nothing moves any more. */
  settle(): void;
}

export function byteStreamPair(options: PairOptions = {}): ByteStreamPair {
  const a = new MemoryByteStream("10.0.0.1:1", options);
  const b = new MemoryByteStream("10.0.0.2:2", options);
  a.connect(b);
  b.connect(a);
  return {
    a,
    b,
    settle() {
      while (a.deliver() || b.deliver()) continue;
    },
  };
}

export class MemoryByteStream implements ByteStream {
  readonly peer: PeerInfo;
  handler: ByteStreamHandler | undefined;
  /** How often `write` was called, for tests that count system calls. */
  writes = 0;
  paused = false;
  ended = false;
  destroyed = false;
  readonly #capacityBytes: number;
  readonly #chunkBytesMax: number;
  #remote!: MemoryByteStream;
  /** Held by `write`, in order; their memory is the caller's gift. */
  #held: Uint8Array[] = [];
  #drainOwed = false;
  /** In the kernel, on the way to this end. */
  #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #endDelivered = false;
  #closeDelivered = false;

  constructor(remoteAddress: string, options: PairOptions) {
    this.peer = { remoteAddress, localAddress: "10.0.0.9:9", tls: undefined };
    this.#capacityBytes = options.capacityBytes ?? Infinity;
    this.#chunkBytesMax = options.chunkBytesMax ?? 65_536;
  }

  connect(remote: MemoryByteStream): void {
    this.#remote = remote;
  }

  get queuedBytes(): number {
    return this.#held.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  write(bytes: Uint8Array): "free" | "held" {
    this.writes += 1;
    if (this.ended || this.destroyed) return "free";
    if (this.#held.length === 0 && this.#remote.#inboxBytes + bytes.length <= this.#capacityBytes) {
      this.#remote.#receive(bytes.slice());
      return "free";
    }
    this.#held.push(bytes);
    this.#drainOwed = true;
    return "held";
  }

  #receive(bytes: Uint8Array): void {
    this.#inbox.push(bytes);
    this.#inboxBytes += bytes.length;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.ended = true;
  }

  destroy(): void {
    this.destroyed = true;
    this.#held = [];
  }

  /** One step of each kind. Returns whether anything moved. */
  deliver(): boolean {
    const moved = [this.#moveHeld(), this.#deliverDrain(), this.#deliverData(), this.#deliverEnd()];
    return this.#deliverClose() || moved.includes(true);
  }

  #moveHeld(): boolean {
    const room = this.#capacityBytes - this.#remote.#inboxBytes;
    const first = this.#held[0];
    if (first === undefined || room <= 0) return false;
    this.#remote.#receive(first.slice(0, room));
    if (first.length > room) this.#held[0] = first.subarray(room);
    else this.#held.shift();
    return true;
  }

  #deliverDrain(): boolean {
    if (!this.#drainOwed || this.#held.length > 0 || this.destroyed) return false;
    this.#drainOwed = false;
    this.handler?.onDrain();
    return true;
  }

  #deliverData(): boolean {
    if (this.destroyed) {
      this.#inbox = [];
      this.#inboxBytes = 0;
      return false;
    }
    const first = this.#inbox[0];
    if (first === undefined || this.paused || this.handler === undefined) return false;
    const chunk = first.slice(0, this.#chunkBytesMax);
    if (chunk.length < first.length) this.#inbox[0] = first.subarray(chunk.length);
    else this.#inbox.shift();
    this.#inboxBytes -= chunk.length;
    this.handler.onData(chunk);
    return true;
  }

  #deliverEnd(): boolean {
    const over = this.#remote.ended && this.#remote.#held.length === 0 && this.#inbox.length === 0;
    if (!over || this.#endDelivered || this.destroyed) return false;
    this.#endDelivered = true;
    this.handler?.onEnd();
    return true;
  }

  #deliverClose(): boolean {
    const bothEnded = this.ended && this.#held.length === 0 && this.#endDelivered;
    if (this.#closeDelivered || !(bothEnded || this.destroyed || this.#remote.destroyed)) return false;
    if (!this.destroyed && this.#inbox.length > 0) return false;
    this.#closeDelivered = true;
    this.handler?.onClose(undefined);
    return true;
  }
}
