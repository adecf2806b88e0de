import { Code, codeNames } from "../grpc/status.ts";
import { GrpcServer, type TrafficCounter } from "../grpc/server.ts";
import type { CallContext, Method } from "../grpc/method.ts";
import { MethodTable } from "../grpc/method_table.ts";
import type { Hono } from "hono";
import { gatewayApp, type GatewayEnv } from "../gateway/app.ts";
import { metricsRenderer } from "../gateway/metrics.ts";
import { connectHandlers } from "../grpc/connect_bridge.ts";
import { FetchExchange } from "../http2/fetch_adapter.ts";
import { http2Options, ServerConnection } from "../http2/connection.ts";
import { FlushQueue } from "../http2/flush_queue.ts";
import type { Log } from "../ports/log.ts";
import type { Runtime } from "../ports/runtime.ts";
import type { Listener, ListenOptions } from "../ports/sockets.ts";
import { EtcdServer } from "../server/server.ts";
import { admit, ClientRequests } from "../services/admission.ts";
import { etcdMethods, etcdServices } from "../services/routes.ts";
import { statusOf } from "../services/status.ts";
import type { EtcdConfig } from "./config.ts";
import { parseListenUrl } from "./listen_url.ts";

export interface EtcdOptions {
  readonly config: EtcdConfig;
  readonly runtime: Runtime;
  readonly log: Log;
  /** The member cannot go on: its disk failed or an invariant broke. The process must end. */
  readonly onFatal: (error: unknown) => void;
}

/** Room beside the request itself in a gRPC message, as etcd allows. */
const REQUEST_OVERHEAD_BYTES = 512 * 1024;
const HANDSHAKE_TIMEOUT_MS = 10_000;
const PREFACE_TIMEOUT_MS = 10_000;
const HTTP1_HEAD_TIMEOUT_MS = 300_000;
/** File descriptors kept for the log, the store and peers. */
const RESERVED_FILES = 150;
/** Where the platform does not tell how many files a process may have open. */
const CONNECTIONS_MAX = 65_536;
const DRAIN_MS = 1_500;

/** A running member with its listeners: what `startEtcd` returns. */
export class Etcd {
  readonly server: EtcdServer;
  /** The handler set, by method path; the same that every protocol reaches. */
  readonly methods: MethodTable;
  readonly #options: EtcdOptions;
  readonly #listeners: Listener[] = [];
  readonly #connections = new Set<ServerConnection>();
  readonly #flushQueue: FlushQueue;
  readonly #grpc: GrpcServer;
  readonly #app: Hono<GatewayEnv>;
  readonly #traffic: TrafficCounter = { receivedBytes: 0, sentBytes: 0 };
  readonly #clientRequests = new ClientRequests();

  private constructor(options: EtcdOptions, server: EtcdServer, flushQueue: FlushQueue) {
    const { config, runtime, log } = options;
    this.#options = options;
    this.server = server;
    this.#flushQueue = flushQueue;
    this.methods = new MethodTable(etcdMethods(server));
    const shared = {
      methods: this.methods,
      toStatus: (error: unknown) => statusOf(error, log),
      admit: (method: Method, context: CallContext) =>
        admit(server, this.#clientRequests, method.kind === "unary", context),
    };
    const receiveBytesMax = config.maxRequestBytes + REQUEST_OVERHEAD_BYTES;
    this.#grpc = new GrpcServer({
      ...shared,
      limits: { receiveBytesMax },
      clock: runtime.clock,
      compression: runtime.compression,
      traffic: this.#traffic,
      onUnaryDone: (call, tookMs, code) => {
        if (tookMs >= config.warningUnaryRequestMs) this.#warnSlow(call.head.route.method, tookMs, code);
      },
      foreign: (stream, head, endStream) =>
        new FetchExchange(
          stream,
          head,
          endStream,
          (request, { connection }) => this.#app.fetch(request, { peer: connection.peer, httpVersion: "2" }),
        ),
    });
    this.#app = gatewayApp({
      server,
      connect: connectHandlers({ ...shared, services: etcdServices, receiveBytesMax, compressions: [] }),
      origins: config.cors,
      renderMetrics: metricsRenderer({
        server,
        methods: this.methods,
        process: runtime.process,
        traffic: this.#traffic,
        clientRequests: this.#clientRequests,
        startedSeconds: runtime.clock.wallMs() / 1000,
      }),
    });
  }

  static async start(options: EtcdOptions): Promise<Etcd> {
    const { config, runtime, log, onFatal } = options;
    const { clock, files, digest, entropy } = runtime;
    const flushQueue = new FlushQueue(clock);
    const ports = { clock, files, digest, entropy, log };
    const server = await EtcdServer.open({ config, ports, flush: () => flushQueue.flushAll(), onFatal });
    const etcd = new Etcd(options, server, flushQueue);
    await server.start();
    for (const url of config.listenClientUrls) await etcd.#listen(url);
    return etcd;
  }

  async #listen(url: string): Promise<void> {
    const { log, runtime } = this.#options;
    const { address, secure } = parseListenUrl(url);
    const listener = await runtime.sockets.listen(address, this.#listenOptions());
    this.#listeners.push(listener);
    log.info("ready to serve client requests");
    const at = listener.address.kind === "tcp"
      ? `${listener.address.host}:${listener.address.port}`
      : listener.address.path;
    log.info(
      secure
        ? "serving client traffic securely"
        : "serving client traffic insecurely; this is strongly discouraged!",
      { traffic: "grpc+http", address: at },
    );
  }

  #listenOptions(): ListenOptions {
    const { config, runtime, log } = this.#options;
    const http2 = http2Options(runtime.clock, {
      flushQueue: this.#flushQueue,
      limits: { streamsMax: config.maxConcurrentStreams },
      pingPolicy: { minTimeMs: config.grpcKeepaliveMinTimeMs, permitWithoutStream: false },
      keepalive: {
        idleMs: config.grpcKeepaliveIntervalMs,
        timeoutMs: config.grpcKeepaliveTimeoutMs,
        withoutStreams: true,
      },
      onClosed: (connection) => void this.#connections.delete(connection),
      onDefect: (error) => this.#options.onFatal(error),
    });
    return {
      onHttp2: (stream) => void this.#connections.add(new ServerConnection(stream, this.#grpc, http2)),
      http1: (request, { peer }) => this.#app.fetch(request, { peer, httpVersion: "1.1" }),
      connectionsMax: Math.max((runtime.process.openFilesMax() ?? CONNECTIONS_MAX) - RESERVED_FILES, 1),
      handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
      prefaceTimeoutMs: PREFACE_TIMEOUT_MS,
      http1HeadTimeoutMs: HTTP1_HEAD_TIMEOUT_MS,
      onRejected: ({ remoteAddress, serverName, message }) =>
        log.warn("rejected connection on client endpoint", {
          "remote-addr": remoteAddress,
          "server-name": serverName,
          error: message,
        }),
    };
  }

  #warnSlow(method: { readonly service: string; readonly name: string }, tookMs: number, code: Code): void {
    this.#options.log.warn("request stats", {
      "response type": `/${method.service}/${method.name}`,
      "time spent": `${tookMs.toFixed(3)}ms`,
      code: codeNames[code],
    });
  }

  /** Addresses the member listens on for clients: real ports where 0 was asked for. */
  get clientAddresses(): readonly string[] {
    return this.#listeners.map(({ address }) =>
      address.kind === "tcp" ? `${address.host}:${address.port}` : address.path
    );
  }

  /** Ends gracefully: calls under way are finished, the log and the store are closed. */
  async close(): Promise<void> {
    const { runtime } = this.#options;
    for (const listener of this.#listeners) listener.stopAccepting();
    for (const connection of this.#connections) connection.goAway();
    const deadlineMs = runtime.clock.monotonicMs() + DRAIN_MS;
    while (this.#connections.size > 0 && runtime.clock.monotonicMs() < deadlineMs) {
      await new Promise<void>((resolve) => runtime.clock.after(10, resolve));
    }
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    this.#grpc.deadlines.stop();
    await this.server.stop();
  }
}
