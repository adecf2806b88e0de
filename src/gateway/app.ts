import { Hono } from "hono";
import type { UniversalHandler } from "@connectrpc/connect/protocol";
import { serveConnect } from "../grpc/connect_bridge.ts";
import { looksLikeGrpc } from "../grpc/metadata.ts";
import { isWebText, serveWebText } from "../grpc/web_text.ts";
import type { Process } from "../ports/process.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { EtcdServer } from "../server/server.ts";
import { SERVER_VERSION, STORAGE_VERSION } from "../server/version.ts";
import type { OriginPolicy } from "./cors.ts";
import { debugVars } from "./debug_vars.ts";
import { healthRoutes } from "./health.ts";
import { serveJsonFetch } from "./json_fetch.ts";
import type { JsonGateway } from "./json_gateway.ts";
import { notFound, onlyGet } from "./plain_answers.ts";

export interface GatewayOptions {
  readonly server: EtcdServer;
  readonly connect: ReadonlyMap<string, UniversalHandler>;
  /** Undefined when --enable-grpc-gateway is off. */
  readonly json: JsonGateway | undefined;
  /** Largest message accepted. */
  readonly receiveBytesMax: number;
  readonly origins: OriginPolicy;
  readonly process: Process;
  /** The metrics in Prometheus's text format. */
  readonly renderMetrics: () => string;
}

/** How a request came, beside what it says. */
export interface GatewayEnv {
  readonly Bindings: { readonly peer: PeerInfo; readonly httpVersion: "1.1" | "2" };
}

/** What the client port serves beside gRPC: health, metrics and version, Connect and gRPC-Web, JSON. */
export function gatewayApp(options: GatewayOptions): Hono<GatewayEnv> {
  const { server, connect, json, receiveBytesMax, origins, process, renderMetrics } = options;
  const app = new Hono<GatewayEnv>();
  app.use(async (context, next) => {
    const origin = context.req.header("origin") ?? null;
    if (!origins.allows(origin)) return context.text("origin not allowed", 403);
    if (context.req.method === "OPTIONS") context.res = new Response(null, { status: 200 });
    else await next();
    if (origin !== null) origins.apply(context.res.headers, origin);
    return undefined;
  });
  app.all("/version", (context) => {
    const decided = server.cluster.version !== undefined;
    return onlyGet(context) ?? context.json({
      etcdserver: SERVER_VERSION,
      etcdcluster: server.cluster.version ?? "not_decided",
      storage: decided ? STORAGE_VERSION : "unknown",
    });
  });
  app.all("/metrics", (context) => {
    context.header("content-type", "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    return context.body(renderMetrics());
  });
  app.all("/debug/vars", (context) => {
    const refusal = onlyGet(context);
    if (refusal !== undefined) return refusal;
    context.header("content-type", "application/json; charset=utf-8");
    return context.body(debugVars(server, process));
  });
  healthRoutes(app, server);
  if (json !== undefined) {
    for (const path of ["/v3/*", "/v3beta/*"]) {
      app.all(path, (context) => {
        // The bare "/v3", and what is sent on to its clean form.
        if (!context.req.path.startsWith(path.slice(0, -1)) || context.req.path.includes("//")) {
          return context.notFound();
        }
        return serveJsonFetch(json, context.req.raw, context.env.peer);
      });
    }
  }
  app.all("/:service/:method", (context) => {
    const handler = connect.get(new URL(context.req.url).pathname);
    // gRPC itself needs HTTP/2, and has been served by now.
    if (handler === undefined || looksLikeGrpc(context.req.header("content-type"))) return context.notFound();
    const { httpVersion, peer } = context.env;
    const serve = (request: Request) => serveConnect(handler, request, httpVersion, peer);
    const { raw } = context.req;
    if (isWebText(context.req.header("content-type"))) return serveWebText(raw, receiveBytesMax, serve);
    return serve(raw);
  });
  app.notFound((context) => notFound(context, json !== undefined));
  return app;
}
