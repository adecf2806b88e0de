import { constants, createPrivateKey, X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { createServer } from "node:tls";
import type { Server, TlsOptions, TLSSocket } from "node:tls";
import { SocketError } from "../../ports/sockets.ts";
import type { PeerCertificate, Rejection, ServerTlsOptions, TlsPeerInfo } from "../../ports/sockets.ts";
import { hostPort } from "./byte_stream.ts";
import { revokedSerials } from "./revocation_list.ts";
import { socketError } from "./socket_errors.ts";
import { hasPeerCertificate, tlsPeerInfo } from "./tls.ts";

const ALPN_PROTOCOLS = ["h2", "http/1.1"];

export interface TlsAcceptorOptions {
  /** From `start` to the end of the handshake. */
  readonly timeoutMs: number;
  /** Takes a socket whose handshake is done and whose client passed every check. */
  readonly onSecure: (socket: TLSSocket, tls: TlsPeerInfo) => void;
  readonly onRejected: (rejection: Rejection) => void;
}

/** Does the server's side of TLS handshakes on accepted sockets, with a `node:tls` server that never listens. */
export class TlsAcceptor {
  readonly #source: () => ServerTlsOptions;
  readonly #options: TlsAcceptorOptions;
  readonly #server: Server;
  readonly #handshakes = new Map<Socket, Handshake>();
  #current: ServerTlsOptions;
  #revoked: ReadonlySet<string>;

  /** Throws a `SocketError` when certificate, key or revocation list cannot be used. */
  constructor(source: ServerTlsOptions | (() => ServerTlsOptions), options: TlsAcceptorOptions) {
    this.#source = typeof source === "function" ? source : () => source;
    this.#options = options;
    this.#current = this.#source();
    this.#revoked = this.#current.crl === undefined ? new Set() : revokedSerials(this.#current.crl);
    checkKeyPair(this.#current);
    try {
      this.#server = createServer(serverOptions(this.#current), (socket) => this.#finish(socket));
    } catch (error) {
      throw socketError(error, "tls");
    }
    this.#server.on("tlsClientError", (error, socket) => {
      const handshake = this.#handshakes.get(underlying(socket));
      if (handshake !== undefined) {
        this.#reject(handshake, "tls", `tls: ${error.message}`, serverNameOf(socket));
      }
    });
  }

  /** Takes a connected socket; bytes read from it already must have been put back. */
  start(socket: Socket): void {
    const handshake: Handshake = {
      socket,
      remoteAddress: hostPort(socket.remoteAddress, socket.remotePort),
      timer: undefined,
    };
    this.#handshakes.set(socket, handshake);
    try {
      this.#refresh();
    } catch (error) {
      return this.#reject(handshake, "tls", (error as Error).message, "");
    }
    handshake.timer = setTimeout(() => {
      this.#reject(handshake, "timeout", `tls: no handshake within ${this.#options.timeoutMs} ms`, "");
    }, this.#options.timeoutMs);
    socket.once("close", () => {
      if (this.#handshakes.has(socket)) this.#reject(handshake, "tls", "EOF", "");
    });
    // A client that leaves in mid-handshake has no answer to wait for.
    socket.allowHalfOpen = false;
    this.#server.emit("connection", socket);
  }

  #refresh(): void {
    const next = this.#source();
    if (next === this.#current) return;
    const revoked = next.crl === undefined ? new Set<string>() : revokedSerials(next.crl);
    checkKeyPair(next);
    try {
      this.#server.setSecureContext(serverOptions(next));
    } catch (error) {
      throw socketError(error, "tls");
    }
    this.#current = next;
    this.#revoked = revoked;
  }

  #finish(socket: TLSSocket): void {
    const handshake = this.#handshakes.get(underlying(socket));
    if (handshake === undefined) {
      socket.destroy(); // It was rejected while its last record was under way.
      return;
    }
    socket.on("error", ignore);
    socket.allowHalfOpen = true;
    const tls = tlsPeerInfo(socket);
    const refusal = this.#refusal(socket, tls.certificate, handshake.remoteAddress);
    if (refusal !== undefined) return this.#reject(handshake, "tls", refusal, tls.serverName);
    this.#forget(handshake);
    this.#options.onSecure(socket, tls);
  }

  /** Why a finished handshake must not stand, or undefined. */
  #refusal(
    socket: TLSSocket,
    certificate: PeerCertificate | undefined,
    remoteAddress: string,
  ): string | undefined {
    const { ciphers, clientCa, checkClient } = this.#current;
    // Deno's TLS library knows only strong suites, but does not let us choose among them.
    const cipher = socket.getCipher();
    if (ciphers !== undefined && cipher.version === "TLSv1.2" && !ciphers.split(":").includes(cipher.name)) {
      return `tls: cipher suite ${cipher.name} is not among those configured`;
    }
    if (clientCa === undefined) return undefined;
    if (certificate === undefined) {
      return hasPeerCertificate(socket)
        ? `tls: failed to verify certificate: ${String(socket.authorizationError)}`
        : "tls: client didn't provide a certificate";
    }
    if (this.#revoked.has(certificate.serialNumber)) {
      return `transport: certificate serial ${certificate.serialNumber.toLowerCase()} revoked`;
    }
    return checkClient?.(certificate, remoteAddress);
  }

  #reject(handshake: Handshake, reason: Rejection["reason"], message: string, serverName: string): void {
    this.#forget(handshake);
    handshake.socket.destroy();
    this.#options.onRejected({ remoteAddress: handshake.remoteAddress, serverName, reason, message });
  }

  #forget(handshake: Handshake): void {
    clearTimeout(handshake.timer);
    this.#handshakes.delete(handshake.socket);
  }
}

interface Handshake {
  readonly socket: Socket;
  readonly remoteAddress: string;
  timer: ReturnType<typeof setTimeout> | undefined;
}

/** Some runtimes would take anything here, and then fail each handshake. */
function checkKeyPair(options: ServerTlsOptions): void {
  let matches: boolean;
  try {
    matches = new X509Certificate(options.cert).checkPrivateKey(createPrivateKey(options.key));
  } catch (error) {
    throw new SocketError("tls", `tls: failed to parse certificate or key: ${(error as Error).message}`);
  }
  if (!matches) throw new SocketError("tls", "tls: private key does not match public key");
}

function serverOptions(options: ServerTlsOptions): TlsOptions {
  const { clientCa, ciphers, maxVersion } = options;
  return {
    ALPNProtocols: ALPN_PROTOCOLS,
    cert: options.cert,
    key: options.key,
    minVersion: options.minVersion ?? "TLSv1.2",
    ...(maxVersion === undefined ? {} : { maxVersion }),
    ...(ciphers === undefined ? {} : { ciphers }),
    // A resumed session would skip the verification, and so outlive a change of the CA.
    ...(clientCa === undefined
      ? {}
      : { ca: clientCa, requestCert: true, secureOptions: constants.SSL_OP_NO_TICKET }),
    rejectUnauthorized: clientCa !== undefined,
  };
}

/** The socket that a TLS socket was made from. The three runtimes agree on this name, though it is not documented. */
function underlying(socket: TLSSocket): Socket {
  return (socket as unknown as { readonly _parent: Socket })._parent;
}

function serverNameOf(socket: TLSSocket): string {
  return (socket as { servername?: string | false | null }).servername || "";
}

function ignore(): void {}
