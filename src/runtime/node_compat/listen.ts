import { Buffer } from "node:buffer";
import { lstatSync, rmSync } from "node:fs";
import { createServer as createTcpServer } from "node:net";
import type { Server as TcpServer, Socket } from "node:net";
import type {
  Listener,
  ListenOptions,
  PeerInfo,
  Rejection,
  SocketAddress,
  TlsPeerInfo,
} from "../../ports/sockets.ts";
import { hostPort, peerInfo, type StreamOf } from "./byte_stream.ts";
import { KEEPALIVE_PROBE_AFTER_MS } from "./connect.ts";
import { socketError } from "./socket_errors.ts";
import { TlsAcceptor } from "./tls_acceptor.ts";

/** The kernel shortens it to its own limit (net.core.somaxconn). */
const BACKLOG = 4096;
/** How an HTTP/2 connection begins (RFC 9113 §3.4): the part that no HTTP/1 request line can begin with. */
const HTTP2_PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n");
/** How long a listener that was closed for want of slots waits for more than the one that is free again. */
const REOPEN_AFTER_MS = 100;
/** The content type of a record that carries a TLS handshake (RFC 8446 §5.1). */
const TLS_HANDSHAKE = 0x16;

/** What listeners do on one runtime and not on another. */
export interface ListenerTraits {
  readonly streamOf: StreamOf;
  /**
   * The listening socket is closed while all slots are taken. Deno closes what was accepted too late only at
   * the end of a turn: a burst of connections takes all file descriptors of the process, and a listener that
   * has once failed to accept for that is never asked again.
   */
  readonly closesWhenFull: boolean;
}

export async function listen(
  address: SocketAddress,
  options: ListenOptions,
  traits: ListenerTraits,
): Promise<Listener> {
  const listener = new NodeListener(address, options, traits);
  await listener.bind();
  return listener;
}

class NodeListener implements Listener {
  readonly #options: ListenOptions;
  readonly #traits: ListenerTraits;
  /** Undefined while it is closed for want of slots. */
  #server: TcpServer | undefined;
  readonly #tls: TlsAcceptor | undefined;
  /** Accepted and not yet closed, whatever serves them. */
  readonly #open = new Set<Socket>();
  #address: SocketAddress;
  #stopped: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  /** Set by `#close`. */
  #allGone: (() => void) | undefined;

  constructor(address: SocketAddress, options: ListenOptions, traits: ListenerTraits) {
    this.#address = address;
    this.#traits = traits;
    this.#options = options;
    if (options.tls !== undefined) {
      this.#tls = new TlsAcceptor(options.tls, {
        timeoutMs: options.handshakeTimeoutMs,
        onSecure: (socket, tls) => this.#routeSecure(socket, tls),
        onRejected: (rejection) => options.onRejected?.(rejection),
      });
    }
  }

  bind(): Promise<void> {
    const address = this.#address;
    const server = createTcpServer({
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEPALIVE_PROBE_AFTER_MS,
    }, (socket) => this.#accept(socket));
    this.#server = server;
    if (address.kind === "unix") removeSocketFile(address.path);
    return new Promise((resolve, reject) => {
      server.once("error", (error) => reject(socketError(error)));
      server.listen({
        ...(address.kind === "unix"
          ? { path: address.path }
          : { host: bindHost(address.host), port: address.port }),
        backlog: BACKLOG,
        ...(this.#options.reusePort === true ? { reusePort: true } : {}),
      }, () => {
        const bound = server.address();
        if (address.kind === "tcp" && typeof bound === "object" && bound !== null) {
          this.#address = { kind: "tcp", host: address.host, port: bound.port };
        }
        resolve();
      });
    });
  }

  get address(): SocketAddress {
    return this.#address;
  }

  get connections(): number {
    return this.#open.size;
  }

  stopAccepting(): void {
    void this.#stop();
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const stopped = this.#stop();
    const gone = new Promise<void>((resolve) => {
      if (this.#open.size === 0) resolve();
      else this.#allGone = resolve;
    });
    for (const socket of this.#open) socket.destroy();
    await stopped;
    await gone;
  }

  #stop(): Promise<void> {
    this.#stopped ??= new Promise((resolve) => {
      const closed = (): void => {
        if (this.#address.kind === "unix") removeSocketFile(this.#address.path);
        resolve();
      };
      if (this.#server === undefined) closed();
      else this.#server.close(closed);
    });
    return this.#stopped;
  }

  /** Others are refused by the kernel until a slot is free. */
  #closeWhileFull(): void {
    if (this.#server === undefined || this.#stopped !== undefined) return;
    this.#server.close();
    this.#server = undefined;
    this.#options.slots.whenFree(() => this.#reopenSoon());
  }

  #reopenSoon(): void {
    setTimeout(() => {
      if (this.#stopped !== undefined) return;
      // Another process may have taken the port meanwhile, and may let go of it.
      this.bind().catch(() => {
        this.#server = undefined;
        this.#reopenSoon();
      });
    }, REOPEN_AFTER_MS).unref();
  }

  #accept(socket: Socket): void {
    // Whoever serves the socket hears of its end by "close"; here an error only must not go unhandled.
    socket.on("error", ignore);
    const { slots } = this.#options;
    if (!slots.take()) {
      this.#reject(socket, "too many connections", `${slots.taken} connections are open`);
      if (this.#traits.closesWhenFull) this.#closeWhileFull();
      return;
    }
    this.#open.add(socket);
    socket.once("close", () => {
      slots.release();
      this.#open.delete(socket);
      if (this.#open.size === 0) this.#allGone?.();
    });
    if (this.#tls === undefined) this.#routePlain(socket);
    else if (this.#options.allowPlain !== true) this.#tls.start(socket);
    else {
      this.#peek(socket, firstByte, (isTls) => {
        if (isTls) this.#tls!.start(socket);
        else this.#routePlain(socket);
      });
    }
  }

  #routePlain(socket: Socket): void {
    const peer = peerInfo(socket, undefined);
    if (this.#options.onRaw !== undefined) this.#options.onRaw(this.#traits.streamOf(socket, peer));
    else this.#routeByPreface(socket, peer);
  }

  #routeSecure(socket: Socket, tls: TlsPeerInfo): void {
    const peer = peerInfo(socket, tls);
    if (this.#options.onRaw !== undefined) this.#options.onRaw(this.#traits.streamOf(socket, peer));
    else if (tls.alpnProtocol === "h2") this.#toHttp2(socket, peer);
    else if (tls.alpnProtocol === "http/1.1") this.#toHttp1(socket, peer);
    else this.#routeByPreface(socket, peer);
  }

  #routeByPreface(socket: Socket, peer: PeerInfo): void {
    this.#peek(socket, http2Preface, (isHttp2) => {
      if (isHttp2) this.#toHttp2(socket, peer);
      else this.#toHttp1(socket, peer);
    });
  }

  #toHttp2(socket: Socket, peer: PeerInfo): void {
    const { onHttp2 } = this.#options;
    if (onHttp2 === undefined) this.#reject(socket, "no handler", "HTTP/2 is not served here");
    else onHttp2(this.#traits.streamOf(socket, peer));
  }

  #toHttp1(socket: Socket, peer: PeerInfo): void {
    const { onHttp1 } = this.#options;
    if (onHttp1 === undefined) this.#reject(socket, "no handler", "HTTP/1.1 is not served here");
    else onHttp1(this.#traits.streamOf(socket, peer));
  }

  /**
   * Looks at the first bytes until `test` has an answer, and puts them back. The socket is then paused,
   * and without any listener of ours but the one for errors.
   */
  #peek(socket: Socket, test: PrefixTest, decided: (answer: boolean) => void): void {
    let seen: Uint8Array | undefined;
    const stop = (): void => {
      clearTimeout(timer);
      socket.removeListener("data", onData);
      socket.removeListener("end", onEnd);
      socket.removeListener("close", stop);
    };
    const onData = (chunk: Uint8Array): void => {
      seen = seen === undefined ? chunk : Buffer.concat([seen, chunk]);
      const answer = test(seen);
      if (answer === undefined) return;
      stop();
      socket.pause();
      socket.unshift(seen);
      decided(answer);
    };
    const onEnd = (): void => {
      stop();
      socket.destroy();
    };
    const timer = setTimeout(() => {
      stop();
      this.#reject(socket, "timeout", `no request began within ${this.#options.prefaceTimeoutMs} ms`);
    }, this.#options.prefaceTimeoutMs);
    socket.on("data", onData);
    socket.on("end", onEnd);
    socket.on("close", stop);
    socket.resume();
  }

  #reject(socket: Socket, reason: Rejection["reason"], message: string): void {
    const remoteAddress = hostPort(socket.remoteAddress, socket.remotePort);
    socket.destroy();
    this.#options.onRejected?.({ remoteAddress, serverName: "", reason, message });
  }
}

/** Whether these first bytes are what is looked for; undefined while more are needed to tell. */
type PrefixTest = (bytes: Uint8Array) => boolean | undefined;

function firstByte(bytes: Uint8Array): boolean {
  return bytes[0] === TLS_HANDSHAKE;
}

function http2Preface(bytes: Uint8Array): boolean | undefined {
  const length = Math.min(bytes.length, HTTP2_PREFACE.length);
  for (let i = 0; i < length; i += 1) {
    if (bytes[i] !== HTTP2_PREFACE[i]) return false;
  }
  return length === HTTP2_PREFACE.length ? true : undefined;
}

/** As in Go, "localhost" is the IPv4 loopback address, whatever order the resolver prefers. */
function bindHost(host: string): string {
  return host === "localhost" ? "127.0.0.1" : host;
}

/** A socket file outlives its process and would make the next bind fail; any other file stays. */
function removeSocketFile(path: string): void {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true) rmSync(path, { force: true });
}

function ignore(): void {}
