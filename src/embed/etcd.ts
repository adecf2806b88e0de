import { Code, codeNames } from "../grpc/status.ts";
import { GrpcServer, type TrafficCounter } from "../grpc/server.ts";
import type { CallContext, Method } from "../grpc/method.ts";
import { MethodTable } from "../grpc/method_table.ts";
import type { Transport } from "@connectrpc/connect";
import type { Hono } from "hono";
import { gatewayApp, type GatewayEnv } from "../gateway/app.ts";
import { metricsRenderer } from "../gateway/metrics.ts";
import { connectHandlers, inProcessTransport } from "../grpc/connect_bridge.ts";
import { FetchExchange } from "../http2/fetch_adapter.ts";
import { http2Options, ServerConnection } from "../http2/connection.ts";
import type { RequestBody } from "../http1/api.ts";
import type { Exchange } from "../http1/exchange.ts";
import { FetchExchange as FetchHttp1, type FetchHandler } from "../http1/fetch_adapter.ts";
import { Http1Server } from "../http1/server.ts";
import { asksForWebSocket } from "../http1/websocket_handshake.ts";
import { WebSocketServer } from "../http1/websocket_server.ts";
import { FlushQueue } from "../http2/flush_queue.ts";
import { Sweeper } from "../http2/sweeper.ts";
import { hexId } from "../base/bytes.ts";
import { ConnectionSlots } from "../base/connection_slots.ts";
import { plainText } from "../gateway/plain_answers.ts";
import { HostWhitelist } from "../gateway/host_whitelist.ts";
import { OriginPolicy } from "../gateway/cors.ts";
import { isJsonTarget, JsonGateway } from "../gateway/json_gateway.ts";
import { agreedProtocol, WebSocketExchange } from "../gateway/websocket_exchange.ts";
import { peerHandler } from "../peer/handler.ts";
import type { Log } from "../ports/log.ts";
import type { Runtime } from "../ports/runtime.ts";
import {
  type ByteStream,
  type Listener,
  type ListenOptions,
  type PeerInfo,
  type ServerTlsOptions,
  type SocketAddress,
  SocketError,
} from "../ports/sockets.ts";
import { EtcdServer } from "../server/server.ts";
import { admit, ClientRequests } from "../services/admission.ts";
import { NESTING_MAX } from "../services/methods.ts";
import { etcdMethods, etcdServices } from "../services/routes.ts";
import { statusOf } from "../services/status.ts";
import { runtimeVersion } from "./build_info.ts";
import type { EtcdConfig } from "./config.ts";
import { parseListenUrl } from "./listen_url.ts";
import { tlsSource } from "./tls_files.ts";

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
/** File descriptors kept for the log, the store, peers and metrics. */
const RESERVED_FILES = 150;
/** Of those: clients that take all of theirs leave peers and probes of the health some. */
const PEER_AND_METRICS_CONNECTIONS_MAX = 64;
/** Where the platform does not tell how many files a process may have open. */
const FILES_MAX = 65_536;
const DRAIN_MS = 1_500;

/** A running member with its listeners: what `startEtcd` returns. */
export class Etcd {
  readonly server: EtcdServer;
  /** The handler set, by method path; the same that every protocol reaches. */
  readonly methods: MethodTable;
  /** For Connect clients in this process: `createClient(KV, etcd.transport)` calls the handlers, with no socket. */
  readonly transport: Transport;
  readonly #options: EtcdOptions;
  readonly #listeners: Listener[] = [];
  readonly #clientListeners: Listener[] = [];
  readonly #hosts: HostWhitelist;
  readonly #origins: OriginPolicy;
  readonly #connections = new Set<ServerConnection>();
  readonly #http1Servers: Http1Server[] = [];
  readonly #sweeper: Sweeper;
  readonly #clientSlots: ConnectionSlots;
  readonly #otherSlots = new ConnectionSlots(PEER_AND_METRICS_CONNECTIONS_MAX);
  readonly #flushQueue: FlushQueue;
  readonly #grpc: GrpcServer;
  readonly #app: Hono<GatewayEnv>;
  readonly #json: JsonGateway | undefined;
  readonly #webSockets: WebSocketServer | undefined;
  readonly #traffic: TrafficCounter = { receivedBytes: 0, sentBytes: 0 };
  readonly #clientRequests = new ClientRequests();
  #closed: Promise<void> | undefined;

  private constructor(options: EtcdOptions, server: EtcdServer, flushQueue: FlushQueue) {
    const { config, runtime, log } = options;
    this.#options = options;
    this.server = server;
    this.#flushQueue = flushQueue;
    this.#sweeper = new Sweeper(runtime.clock);
    const files = runtime.process.openFilesMax() ?? FILES_MAX;
    this.#clientSlots = new ConnectionSlots(Math.max(files - RESERVED_FILES, 1));
    this.#hosts = new HostWhitelist(config.hostWhitelist);
    this.#origins = new OriginPolicy(config.cors);
    this.methods = new MethodTable(etcdMethods(server), { timed: config.metrics === "extensive" });
    const shared = {
      methods: this.methods,
      clock: runtime.clock,
      toStatus: (error: unknown) => statusOf(error, log),
      admit: (method: Method, context: CallContext) =>
        admit(server, this.#clientRequests, method.kind === "unary", context),
    };
    const receiveBytesMax = config.maxRequestBytes + REQUEST_OVERHEAD_BYTES;
    this.#grpc = new GrpcServer({
      ...shared,
      limits: { receiveBytesMax },
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
          (request, { connection }) => this.#fetch(request, connection.peer, "2"),
        ),
    });
    const connect = connectHandlers({
      ...shared,
      nestingMax: NESTING_MAX,
      services: etcdServices,
      receiveBytesMax,
      compression: runtime.compression,
    });
    this.transport = inProcessTransport(connect);
    this.#json = config.grpcGateway
      ? new JsonGateway({
        ...shared,
        receiveBytesMax,
        callsMax: config.maxJsonCalls,
        traffic: this.#traffic,
        deadlines: this.#grpc.deadlines,
      })
      : undefined;
    this.#webSockets = this.#json && new WebSocketServer({
      sweeper: this.#sweeper,
      digest: runtime.digest,
      limits: { messageBytesMax: this.#json.jsonBytesMax },
      onDefect: (error) => options.onFatal(error),
    });
    this.#app = gatewayApp({
      server,
      json: this.#json,
      connect,
      receiveBytesMax,
      origins: this.#origins,
      process: runtime.process,
      renderMetrics: metricsRenderer({
        server,
        methods: this.methods,
        process: runtime.process,
        traffic: this.#traffic,
        clientRequests: this.#clientRequests,
        features: config.featureGates,
        runtimeVersion: runtimeVersion(runtime.process),
        startedSeconds: runtime.clock.wallMs() / 1000,
      }),
    });
  }

  static async start(options: EtcdOptions): Promise<Etcd> {
    const { config, runtime, log, onFatal } = options;
    const { clock, files, digest, entropy, linkNative } = runtime;
    await probePorts(config, runtime);
    const flushQueue = new FlushQueue(clock);
    const ports = { clock, files, digest, entropy, log, linkNative };
    const server = await EtcdServer.open({ config, ports, flush: () => flushQueue.flushAll(), onFatal });
    const etcd = new Etcd(options, server, flushQueue);
    try {
      await etcd.#serve();
    } catch (error) {
      await etcd.close();
      throw error;
    }
    return etcd;
  }

  async #serve(): Promise<void> {
    const { config, log, runtime } = this.#options;
    const clientTls = config.clientTls && tlsSource(config.clientTls, runtime.files);
    const peerTls = config.peerTls && tlsSource(config.peerTls, runtime.files);
    log.info("configuring peer listeners", { "listen-peer-urls": config.listenPeerUrls });
    const toPeers = peerHandler(this.server);
    for (const port of portsOf(config.listenPeerUrls)) {
      const { address } = await this.#listen(port, peerTls, {
        ...this.#commonListenOptions("peer", this.#otherSlots),
        onHttp1: this.#serveHttp1((exchange) => new FetchHttp1(exchange, toPeers, runtime.clock)),
      });
      log.info("serving peer traffic", { address: addressText(address) });
    }
    await this.server.start();
    log.info("configuring client listeners", { "listen-client-urls": config.listenClientUrls });
    const isSplit = config.listenClientHttpUrls.length > 0;
    for (const port of portsOf(config.listenClientUrls)) {
      await this.#serveClients(port, clientTls, isSplit ? "grpc" : "grpc+http");
    }
    for (const port of portsOf(config.listenClientHttpUrls)) {
      await this.#serveClients(port, clientTls, "http");
    }
    for (const port of portsOf(config.listenMetricsUrls)) {
      await this.#listen(port, clientTls, {
        ...this.#commonListenOptions("metrics", this.#otherSlots),
        onHttp1: this.#serveHttp1((exchange) => new FetchHttp1(exchange, this.#fetchMetrics, runtime.clock)),
      });
      log.info("serving metrics", { address: port.url });
    }
    log.info("now serving peer/client/metrics", {
      "local-member-id": hexId(this.server.cluster.localId),
      "initial-advertise-peer-urls": config.advertisePeerUrls,
      "listen-peer-urls": config.listenPeerUrls,
      "advertise-client-urls": config.advertiseClientUrls,
      "listen-client-urls": config.listenClientUrls,
      "listen-metrics-urls": config.listenMetricsUrls,
    });
  }

  /** A port for "grpc" takes no HTTP/1.1. One for "http" takes HTTP/2 as well: clients with TLS ask for it first. */
  async #serveClients(
    port: ListenPort,
    tls: (() => ServerTlsOptions) | undefined,
    traffic: "grpc" | "http" | "grpc+http",
  ): Promise<void> {
    const { log } = this.#options;
    const { onHttp1, ...http2 } = this.#clientListenOptions();
    const listener = await this.#listen(
      port,
      tls,
      traffic === "grpc" ? http2 : { ...http2, onHttp1: onHttp1! },
    );
    this.#clientListeners.push(listener);
    log.info("ready to serve client requests");
    const fields = { traffic, address: addressText(listener.address) };
    if (port.secure) log.info("serving client traffic securely", fields);
    if (port.plain) log.info("serving client traffic insecurely; this is strongly discouraged!", fields);
  }

  async #listen(
    port: ListenPort,
    tls: (() => ServerTlsOptions) | undefined,
    options: ListenOptions,
  ): Promise<Listener> {
    const { config, runtime } = this.#options;
    const listener = await listenOn(runtime, port, {
      ...options,
      ...(port.secure && tls !== undefined ? { tls, allowPlain: port.plain } : {}),
      reusePort: config.socketReusePort,
    });
    this.#listeners.push(listener);
    return listener;
  }

  readonly #fetchMetrics: FetchHandler = (request, { peer }) =>
    METRICS_PATH.test(new URL(request.url).pathname)
      ? this.#app.fetch(request, { peer, httpVersion: "1.1" })
      : new Response("404 page not found\n", { status: 404, headers: plainText });

  /** What a listener does with connections of HTTP/1.1. */
  #serveHttp1(onRequest: (exchange: Exchange) => RequestBody): (stream: ByteStream) => void {
    const server = new Http1Server({
      clock: this.#options.runtime.clock,
      flushQueue: this.#flushQueue,
      sweeper: this.#sweeper,
      handler: { onRequest },
      onDefect: (error) => this.#options.onFatal(error),
    });
    this.#http1Servers.push(server);
    return (stream) => server.accept(stream);
  }

  #commonListenOptions(
    endpoint: string,
    slots: ConnectionSlots,
  ): Omit<ListenOptions, "onHttp2" | "onHttp1"> {
    const { log } = this.#options;
    return {
      slots,
      handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
      prefaceTimeoutMs: PREFACE_TIMEOUT_MS,
      onRejected: ({ remoteAddress, serverName, message }) =>
        log.warn(`rejected connection on ${endpoint} endpoint`, {
          "remote-addr": remoteAddress,
          "server-name": serverName,
          error: message,
        }),
    };
  }

  #clientListenOptions(): ListenOptions {
    const { config, runtime } = this.#options;
    const http2 = http2Options(runtime.clock, {
      flushQueue: this.#flushQueue,
      sweeper: this.#sweeper,
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
      ...this.#commonListenOptions("client", this.#clientSlots),
      onHttp2: (stream) => void this.#connections.add(new ServerConnection(stream, this.#grpc, http2)),
      onHttp1: this.#serveHttp1((exchange) =>
        this.#openJson(exchange) ?? new FetchHttp1(exchange, this.#fetchHttp1, runtime.clock)
      ),
    };
  }

  /** JSON over HTTP/1.1 takes no detour over the fetch API, unless the web's rules or the path are to be looked at. */
  #openJson(exchange: Exchange): RequestBody | undefined {
    if (exchange.peer.tls === undefined && !this.#hosts.allows(exchange.header("host") ?? "")) {
      return undefined;
    }
    if (asksForWebSocket(exchange)) return this.#openWebSocket(exchange);
    if (exchange.header("origin") !== undefined || exchange.method === "OPTIONS") return undefined;
    if (exchange.target.includes("//")) return undefined;
    return this.#json?.open(exchange);
  }

  /** What a WebSocket is refused for, it is refused as any request. */
  #openWebSocket(exchange: Exchange): RequestBody | undefined {
    const json = this.#json;
    if (json === undefined || !isJsonTarget(exchange.target)) return undefined;
    if (!this.#origins.allows(exchange.header("origin") ?? null)) return undefined;
    return this.#webSockets!.accept(
      exchange,
      agreedProtocol(exchange),
      (socket) => new WebSocketExchange(json, exchange, socket),
    );
  }

  readonly #fetchHttp1: FetchHandler = (request, { peer }) => this.#fetch(request, peer, "1.1");

  #fetch(request: Request, peer: PeerInfo, httpVersion: "1.1" | "2"): Response | Promise<Response> {
    return this.#hosts.refusal(request, peer.tls !== undefined) ??
      this.#app.fetch(request, { peer, httpVersion });
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
    return this.#clientListeners.map(({ address }) => addressText(address));
  }

  /** Ends gracefully: calls under way are finished, the log and the store are closed. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  /** Connections are open: of HTTP/1.1, after `drain`, only those with a request that is not answered yet. */
  get #isServing(): boolean {
    return this.#connections.size > 0 || this.#http1Servers.some(({ connections }) => connections > 0);
  }

  async #close(): Promise<void> {
    const { config, runtime, log } = this.#options;
    const fields = {
      name: config.name,
      "data-dir": config.dataDir,
      "advertise-peer-urls": config.advertisePeerUrls,
      "advertise-client-urls": config.advertiseClientUrls,
    };
    log.info("closing etcd server", fields);
    for (const listener of this.#listeners) listener.stopAccepting();
    this.#webSockets?.drain();
    for (const server of this.#http1Servers) server.drain();
    for (const connection of this.#connections) connection.goAway();
    const deadlineMs = runtime.clock.monotonicMs() + DRAIN_MS;
    while (this.#isServing && runtime.clock.monotonicMs() < deadlineMs) {
      await new Promise<void>((resolve) => runtime.clock.after(10, resolve));
    }
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    this.#grpc.deadlines.stop();
    await this.server.stop();
    log.info("closed etcd server", fields);
  }
}

const METRICS_PATH = /^\/(?:metrics|health|livez(?:\/.*)?|readyz(?:\/.*)?)$/;

/** One port, and how the URLs that name it want it served. */
interface ListenPort {
  readonly address: SocketAddress;
  readonly url: string;
  secure: boolean;
  plain: boolean;
}

function portsOf(urls: readonly string[]): ListenPort[] {
  const ports = new Map<string, ListenPort>();
  for (const url of urls) {
    const { address, secure } = parseListenUrl(url);
    const key = addressText(address);
    const port = ports.get(key) ?? { address, url, secure: false, plain: false };
    if (secure) port.secure = true;
    else port.plain = true;
    ports.set(key, port);
  }
  return [...ports.values()];
}

function addressText(address: SocketAddress): string {
  if (address.kind === "unix") return address.path;
  const { host, port } = address;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Binds, and fails with etcd's text. */
async function listenOn({ sockets }: Runtime, port: ListenPort, options: ListenOptions): Promise<Listener> {
  const { address } = port;
  try {
    return await sockets.listen(address, options);
  } catch (error) {
    if (!(error instanceof SocketError) || error.kind === "tls") throw error;
    const reason = { "in use": "address already in use", permission: "permission denied" } as Partial<
      Record<SocketError["kind"], string>
    >;
    const where = `listen ${address.kind === "tcp" ? "tcp" : "unix"} ${addressText(address)}`;
    throw new SocketError(error.kind, `${where}: bind: ${reason[error.kind] ?? error.message}`, {
      cause: error,
    });
  }
}

/**
 * Finds out whether the ports are free before the data directory is touched: a member that cannot serve
 * must not leave one behind. They are bound for good once there is something to serve.
 */
async function probePorts(config: EtcdConfig, runtime: Runtime): Promise<void> {
  if (config.socketReusePort) return;
  const urls = [
    ...config.listenPeerUrls,
    ...config.listenClientUrls,
    ...config.listenClientHttpUrls,
    ...config.listenMetricsUrls,
  ];
  for (const port of portsOf(urls)) {
    const { address } = port;
    if (address.kind !== "tcp" || address.port === 0) continue;
    const listener = await listenOn(runtime, port, {
      onRaw: (stream) => stream.destroy(),
      slots: new ConnectionSlots(1),
      handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
      prefaceTimeoutMs: PREFACE_TIMEOUT_MS,
    });
    await listener.close();
  }
}
