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
}

/** Where to listen or to connect to. */
export type SocketAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** PEM text. With `clientCa`, clients must (`requireClientCert`) or may present a certificate it signed. */
export interface ServerTlsOptions {
  readonly cert: string;
  readonly key: string;
  readonly clientCa?: string;
  readonly requireClientCert?: boolean;
  readonly minVersion?: "TLSv1.2" | "TLSv1.3";
  readonly maxVersion?: "TLSv1.2" | "TLSv1.3";
  readonly ciphers?: string;
  readonly crl?: string;
}

export interface ClientTlsOptions {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly serverName?: string;
  readonly insecureSkipVerify?: boolean;
}
