import type { ConnectionSlots } from "../base/connection_slots.ts";

/**
 * A connected byte stream: TCP, a unix socket or TLS, server or client side. All calls and callbacks
 * happen on the one thread; a callback never runs inside a call to `write`.
 */
export interface ByteStream {
  readonly peer: PeerInfo;
  /** Set once, before the first turn ends; bytes that arrived before are then delivered. */
  handler: ByteStreamHandler | undefined;
  /**
   * Sends `bytes`. "free": the kernel has them all and the caller may reuse the memory at once.
   * "held": the stream keeps the memory until it is sent; `queuedBytes` counts it.
   */
  write(bytes: Uint8Array): "free" | "held";
  /** Bytes handed to `write` that the kernel has not taken yet. `onDrain` reports its return to 0. */
  readonly queuedBytes: number;
  /** Stops reading, which pushes back on the sender. */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then closes the sending side. */
  end(): void;
  /** Closes both sides now; what is queued is dropped. */
  destroy(): void;
}

export interface ByteStreamHandler {
  /** `chunk` is the receiver's to keep: the stream never writes to it again. */
  onData(chunk: Uint8Array): void;
  onDrain(): void;
  /** The peer has closed its sending side. */
  onEnd(): void;
  /** Last callback. `error` is set when the stream broke. */
  onClose(error: Error | undefined): void;
}

export interface PeerInfo {
  /** "127.0.0.1:53124", "[::1]:53124" or "@" for a unix socket. */
  readonly remoteAddress: string;
  readonly localAddress: string;
  readonly tls: TlsPeerInfo | undefined;
}

export interface TlsPeerInfo {
  /** "h2", "http/1.1" or "" when nothing was negotiated. */
  readonly alpnProtocol: string;
  readonly serverName: string;
  /** Common name of a verified client certificate, "" without one. */
  readonly clientCommonName: string;
  /** The verified certificate of the other side; undefined when it presented none. */
  readonly certificate: PeerCertificate | undefined;
}

/** What access rules may ask of a verified certificate. */
export interface PeerCertificate {
  readonly commonName: string;
  readonly dnsNames: readonly string[];
  readonly ipAddresses: readonly string[];
  /** Upper-case hex without leading zeros. */
  readonly serialNumber: string;
}

/** Where to listen or to connect to. */
export type SocketAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** PEM text. With `clientCa`, clients must present a certificate it signed. */
export interface ServerTlsOptions {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
  readonly minVersion?: TlsVersion;
  readonly maxVersion?: TlsVersion;
  /** OpenSSL names of TLS 1.2 suites, separated by colons. A connection that negotiates another one is refused. */
  readonly ciphers?: string;
  /** A revocation list, PEM text or DER bytes; a client certificate whose serial number it lists is refused. */
  readonly crl?: string | Uint8Array;
  /** A further rule for client certificates: the returned text says why one is refused. */
  readonly checkClient?: (certificate: PeerCertificate, remoteAddress: string) => string | undefined;
}

export type TlsVersion = "TLSv1.2" | "TLSv1.3";

export interface ClientTlsOptions {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  readonly insecureSkipVerify?: boolean;
}

/** The network. */
export interface Sockets {
  /** Binds and accepts; rejects with a `SocketError` ("in use", "permission", …). */
  listen(address: SocketAddress, options: ListenOptions): Promise<Listener>;
  /**
   * Connects, with the TLS handshake done when `tls` is given; rejects with a `SocketError`.
   * Bytes are delivered from the turn after `handler` is set.
   */
  connect(address: SocketAddress, options: ConnectOptions): Promise<ByteStream>;
}

export interface ConnectOptions {
  readonly tls?: ClientTlsOptions;
  /** Protocols to offer, the preferred one first: "h2", "http/1.1". */
  readonly alpn?: readonly string[];
  /** For name lookup, connection and handshake together. */
  readonly timeoutMs: number;
  /** The local IP address to connect from. */
  readonly localAddress?: string;
}

/**
 * How one port is served. The first bytes decide: an HTTP/2 preface goes to `onHttp2`, anything else to
 * `onHttp1`. On TLS connections, ALPN decides in the same way. Who takes a connection sets its `handler` before
 * returning and gets its bytes from the first on.
 */
export interface ListenOptions {
  /**
   * A function is asked before each handshake, so that files can be renewed while connections last; it
   * returns the same object as before when nothing has changed. Only `clientCa` must stay present or absent.
   */
  readonly tls?: ServerTlsOptions | (() => ServerTlsOptions);
  /** With `tls`: connections that do not begin with a TLS handshake are served in plain text too. */
  readonly allowPlain?: boolean;
  /** Takes connections that speak HTTP/2; without it they are closed. */
  readonly onHttp2?: (stream: ByteStream) => void;
  /** Takes connections that speak HTTP/1; without it they are closed. */
  readonly onHttp1?: (stream: ByteStream) => void;
  /** Takes every connection as it is, once TLS is established, without looking at its bytes. */
  readonly onRaw?: (stream: ByteStream) => void;
  /** Each open connection takes one. Those for which none is free are closed at once, or refused. */
  readonly slots: ConnectionSlots;
  /** From the accepted connection to the end of the TLS handshake. */
  readonly handshakeTimeoutMs: number;
  /** Until enough bytes have come to tell the protocol. */
  readonly prefaceTimeoutMs: number;
  /** Tells of connections that were closed before they reached a handler. */
  readonly onRejected?: (rejection: Rejection) => void;
  /** Lets several processes share the port, where the platform can. */
  readonly reusePort?: boolean;
}

export interface Rejection {
  readonly remoteAddress: string;
  /** The name the client asked for in its TLS handshake, "" when unknown. */
  readonly serverName: string;
  readonly reason: "tls" | "timeout" | "too many connections" | "no handler";
  readonly message: string;
}

export interface Listener {
  /** Where it listens, with the real port when 0 was asked for. */
  readonly address: SocketAddress;
  readonly connections: number;
  /** Stops accepting; open connections go on. */
  stopAccepting(): void;
  /** Stops accepting and closes every connection still open; resolves when all are gone. */
  close(): Promise<void>;
}

export type SocketErrorKind =
  | "refused"
  | "reset"
  | "timeout"
  | "unreachable"
  | "name not found"
  | "in use"
  | "permission"
  | "tls"
  | "other";

export class SocketError extends Error {
  override readonly name = "SocketError";
  readonly kind: SocketErrorKind;

  constructor(kind: SocketErrorKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
  }
}
