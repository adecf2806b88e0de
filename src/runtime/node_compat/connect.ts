import { connect as connectPlain } from "node:net";
import type { Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { TLSSocket } from "node:tls";
import { SocketError } from "../../ports/sockets.ts";
import type { ByteStream, ConnectOptions, SocketAddress } from "../../ports/sockets.ts";
import { peerInfo, type StreamOf } from "./byte_stream.ts";
import { socketError } from "./socket_errors.ts";
import { clientTlsOptions, tlsPeerInfo } from "./tls.ts";

/** How long a connection may be silent before the kernel asks whether the peer is still there. */
export const KEEPALIVE_PROBE_AFTER_MS = 30_000;

export function connect(
  address: SocketAddress,
  options: ConnectOptions,
  streamOf: StreamOf,
): Promise<ByteStream> {
  const { tls } = options;
  const target = {
    ...(address.kind === "tcp" ? { host: address.host, port: address.port } : { path: address.path }),
    ...(options.localAddress === undefined ? {} : { localAddress: options.localAddress }),
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEPALIVE_PROBE_AFTER_MS,
  };
  return new Promise((resolve, reject) => {
    let socket: Socket;
    try {
      socket = tls === undefined ? connectPlain(target) : connectTls({
        ...target,
        ...clientTlsOptions(address, tls),
        ALPNProtocols: [...options.alpn ?? []],
      });
    } catch (error) {
      return reject(socketError(error, tls === undefined ? "other" : "tls"));
    }
    const timer = setTimeout(() => {
      fail(new SocketError("timeout", `no connection after ${options.timeoutMs} ms`));
    }, options.timeoutMs);
    const fail = (error: unknown): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(socketError(error, tls === undefined ? "other" : "tls"));
    };
    const closed = (): void => fail(new SocketError("reset", "connection closed before it was established"));
    socket.on("error", fail);
    socket.once("close", closed);
    socket.once(tls === undefined ? "connect" : "secureConnect", () => {
      clearTimeout(timer);
      socket.removeListener("close", closed);
      const tlsInfo = tls === undefined ? undefined : tlsPeerInfo(socket as TLSSocket);
      const stream = streamOf(socket, peerInfo(socket, tlsInfo));
      // Only now: between the two there would be an error without a listener.
      socket.removeListener("error", fail);
      resolve(stream);
    });
  });
}
