import { Hono } from "hono";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { serveConnect } from "../grpc/connect_bridge.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { EtcdServer } from "../server/server.ts";
import { SERVER_VERSION, STORAGE_VERSION } from "../server/version.ts";
import { OriginPolicy } from "./cors.ts";
import { healthRoutes } from "./health.ts";
import { serveJsonFetch } from "./json_fetch.ts";
import type { JsonGateway } from "./json_gateway.ts";

export interface GatewayOptions {
  readonly server: EtcdServer;
  readonly connect: ReadonlyMap<string, UniversalHandler>;
  /** Undefined when --enable-grpc-gateway is off. */
  readonly json: JsonGateway | undefined;
  /** etcd's --cors. */
  readonly origins: readonly string[];
  /** The metrics in Prometheus's text format. */
  readonly renderMetrics: () => string;
}

/** How a request came, beside what it says. */
export interface GatewayEnv {
  readonly Bindings: { readonly peer: PeerInfo; readonly httpVersion: "1.1" | "2" };
}

/** What the client port serves beside gRPC: health, metrics and version, Connect and gRPC-Web, JSON. */
export function gatewayApp(options: GatewayOptions): Hono<GatewayEnv> {
  const { server, connect, json, renderMetrics } = options;
  const policy = new OriginPolicy(options.origins);
  const app = new Hono<GatewayEnv>();
  app.use(async (context, next) => {
    const origin = context.req.header("origin") ?? null;
    if (!policy.allows(origin)) return context.text("origin not allowed", 403);
    if (context.req.method === "OPTIONS") context.res = new Response(null, { status: 200 });
    else await next();
    if (origin !== null) policy.apply(context.res.headers, origin);
    return undefined;
  });
  app.get("/version", (context) => {
    const decided = server.cluster.version !== undefined;
    return context.json({
      etcdserver: SERVER_VERSION,
      etcdcluster: server.cluster.version ?? "not_decided",
      storage: decided ? STORAGE_VERSION : "unknown",
    });
  });
  app.get("/metrics", (context) => {
    context.header("content-type", "text/plain; version=0.0.4; charset=utf-8");
    return context.body(renderMetrics());
  });
  healthRoutes(app, server);
  if (json !== undefined) {
    for (const path of ["/v3/*", "/v3beta/*"]) {
      app.all(path, (context) => serveJsonFetch(json, context.req.raw, context.env.peer));
    }
  }
  app.all("/:service/:method", (context) => {
    const handler = connect.get(new URL(context.req.url).pathname);
    if (handler === undefined) return context.notFound();
    return serveConnect(handler, context.req.raw, context.env.httpVersion, context.env.peer);
  });
  app.notFound((context) => context.text("404 page not found\n", 404));
  return app;
}
