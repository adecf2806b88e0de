import { Hono } from "hono";
import type { TrafficCounter } from "../grpc/server.ts";
import type { MethodTable } from "../grpc/method_table.ts";
import type { Runtime } from "../ports/runtime.ts";
import type { EtcdServer } from "../server/server.ts";
import { SERVER_VERSION, STORAGE_VERSION } from "../server/version.ts";
import type { ClientRequests } from "../services/admission.ts";

export interface GatewayOptions {
  readonly server: EtcdServer;
  readonly methods: MethodTable;
  readonly runtime: Runtime;
  readonly traffic: TrafficCounter;
  readonly clientRequests: ClientRequests;
}

/** What the client port serves over plain HTTP. */
export function gatewayApp({ server }: GatewayOptions): Hono {
  const app = new Hono();
  app.get("/version", (context) =>
    context.json({
      etcdserver: SERVER_VERSION,
      etcdcluster: server.cluster.version ?? "not_decided",
      storage: server.cluster.version === undefined ? "unknown" : STORAGE_VERSION,
    }));
  return app;
}
