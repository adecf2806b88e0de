import type { ServerConfig } from "../server/config.ts";

/** Everything `startEtcd` needs, resolved: every field has its value, times are milliseconds. */
export interface EtcdConfig extends ServerConfig {
  /** "http://localhost:2379", "unix://name:port", … */
  readonly listenClientUrls: readonly string[];
  readonly listenPeerUrls: readonly string[];
  readonly listenMetricsUrls: readonly string[];
  readonly maxConcurrentStreams: number;
  readonly grpcKeepaliveMinTimeMs: number;
  readonly grpcKeepaliveIntervalMs: number;
  readonly grpcKeepaliveTimeoutMs: number;
  readonly metrics: "basic" | "extensive";
}
