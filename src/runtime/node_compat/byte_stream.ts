import type { Socket } from "node:net";
import type { ByteStream, ByteStreamHandler, PeerInfo, TlsPeerInfo } from "../../ports/sockets.ts";

/** Makes the stream of a connected socket. */
export type StreamOf = (socket: Socket, peer: PeerInfo) => ByteStream;

export const socketStream: StreamOf = (socket, peer) => new SocketStream(socket, peer);

/** A `node:net` or `node:tls` socket, connected and with its handshake done, as a `ByteStream`. */
export class SocketStream implements ByteStream {
  readonly peer: PeerInfo;
  protected readonly socket: Socket;
  #handler: ByteStreamHandler | undefined;
  #error: Error | undefined;
  #closed = false;
  #drainOwed = false;
  /** Given to every write, so that a write makes no closure. */
  readonly #written = (): void => {
    if (!this.#drainOwed || this.socket.writableLength > 0) return;
    this.#drainOwed = false;
    this.#handler?.onDrain();
  };

  constructor(socket: Socket, peer: PeerInfo) {
    this.socket = socket;
    this.peer = peer;
    socket.on("error", (error) => {
      this.#error = error;
    });
    socket.on("close", () => {
      this.#closed = true;
      this.#handler?.onClose(this.#error);
    });
  }

  get handler(): ByteStreamHandler | undefined {
    return this.#handler;
  }

  /** Reading begins with the first handler: nothing is taken from the kernel before somebody wants it. */
  set handler(handler: ByteStreamHandler | undefined) {
    const first = this.#handler === undefined;
    this.#handler = handler;
    if (!first || handler === undefined) return;
    if (this.#closed) {
      queueMicrotask(() => this.#handler?.onClose(this.#error));
      return;
    }
    this.startReading();
  }

  protected startReading(): void {
    this.socket.on("data", (chunk: Uint8Array) => this.#handler?.onData(plainBytes(chunk)));
    this.socket.on("end", () => this.#handler?.onEnd());
    this.socket.resume(); // It may have been paused when it was handed over.
  }

  write(bytes: Uint8Array): "free" | "held" {
    const socket = this.socket;
    // After the end there is nobody to send to: the bytes are dropped.
    if (this.#closed || socket.destroyed || socket.writableEnded) return "free";
    socket.write(bytes, this.#written);
    if (socket.writableLength === 0) return "free";
    this.#drainOwed = true;
    return "held";
  }

  get queuedBytes(): number {
    return this.#closed ? 0 : this.socket.writableLength;
  }

  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    this.socket.resume();
  }

  end(): void {
    this.socket.end();
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** A `Buffer`'s `slice` shares memory where an array's copies, so what leaves the adapter is a plain array. */
export function plainBytes(chunk: Uint8Array): Uint8Array {
  return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

export function peerInfo(socket: Socket, tls: TlsPeerInfo | undefined): PeerInfo {
  return {
    remoteAddress: hostPort(socket.remoteAddress, socket.remotePort),
    localAddress: hostPort(socket.localAddress, socket.localPort),
    tls,
  };
}

/** How the IPv6 socket of a dual-stack listener writes the address of an IPv4 peer (RFC 4291 section 2.5.5.2). */
const IPV4_MAPPED = "::ffff:";

/** "127.0.0.1:2379", "[::1]:2379", or "@" for a unix socket, which has no port. */
export function hostPort(host: string | undefined, port: number | undefined): string {
  if (host === undefined || port === undefined) return "@";
  if (host.startsWith(IPV4_MAPPED) && host.includes(".")) return `${host.slice(IPV4_MAPPED.length)}:${port}`;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
