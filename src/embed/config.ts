import type { ServerConfig } from "../server/config.ts";
import type { FeatureState } from "./feature_gates.ts";
import type { TlsFiles } from "./tls_files.ts";

/** Everything a member needs, resolved: every field has its value, times are milliseconds. */
export interface EtcdConfig extends ServerConfig {
  /** "http://localhost:2379", "unix://name:port", … */
  readonly listenClientUrls: readonly string[];
  /** When there are any, those of `listenClientUrls` serve HTTP/2 alone. */
  readonly listenClientHttpUrls: readonly string[];
  readonly listenPeerUrls: readonly string[];
  readonly listenMetricsUrls: readonly string[];
  readonly advertisePeerUrls: readonly string[];
  /** For client and metrics URLs that ask for TLS. */
  readonly clientTls: TlsFiles | undefined;
  /** For peer URLs that ask for TLS. */
  readonly peerTls: TlsFiles | undefined;
  /** Lets other processes listen on the same ports. */
  readonly socketReusePort: boolean;
  readonly maxConcurrentStreams: number;
  /** Calls of the JSON gateway at once, which etcd's sends over one connection; Infinity for no limit. */
  readonly maxJsonCalls: number;
  readonly grpcKeepaliveMinTimeMs: number;
  /** Idle time after which a client is pinged; Infinity for never. */
  readonly grpcKeepaliveIntervalMs: number;
  readonly grpcKeepaliveTimeoutMs: number;
  /** Whether the JSON gateway is served. */
  readonly grpcGateway: boolean;
  /** Web origins that may call; "*" for all. */
  readonly cors: readonly string[];
  /** Host names that plain HTTP requests may be for; "*" for all. */
  readonly hostWhitelist: readonly string[];
  readonly metrics: "basic" | "extensive";
  readonly featureGates: readonly FeatureState[];
}
