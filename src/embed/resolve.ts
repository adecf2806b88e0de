import type { EtcdConfig } from "./config.ts";
import { ConfigError } from "./config_error.ts";
import { gateStates, isGateEnabled } from "./feature_gates.ts";
import { defaultSettings, type Settings, STREAMS_UNLIMITED } from "./flag_table.ts";
import { cipherList, type TlsFiles, tlsVersion } from "./tls_files.ts";
import { hostOf, isSecure, parseMemberUrls } from "./urls.ts";
import { autoCompaction } from "./validate.ts";

/**
 * Requests a connection may have under way when the flag has etcd's default, which is no limit. Go clients
 * open one connection for everything, and watch with one stream per context; each stream costs memory here.
 */
const DEFAULT_STREAMS_MAX = 10_000;
const DEFAULT_BATCH_INTERVAL_MS = 100;
const DEFAULT_BATCH_LIMIT = 10_000;
/** What gRPC enforces when a server has no policy of its own. */
const GRPC_KEEPALIVE_MIN_TIME_MS = 300_000;

/** etcd's; no flag changes it. */
const LEASE_CHECKPOINT_INTERVAL_MS = 300_000;

/** The configuration that checked settings stand for. Throws `ConfigError` where they do not fit together. */
export function resolveConfig(settings: Settings): EtcdConfig {
  const defaults = defaultSettings();
  const {
    "grpc-keepalive-min-time": keepaliveMinTimeMs,
    "grpc-keepalive-interval": keepaliveIntervalMs,
    "grpc-keepalive-timeout": keepaliveTimeoutMs,
    "max-concurrent-streams": streams,
  } = settings;
  const isUnlimited = streams === STREAMS_UNLIMITED || streams === 0;
  const pings = keepaliveIntervalMs > 0 && keepaliveTimeoutMs > 0;
  const clientTls = tlsFiles(settings, "");
  const peerTls = tlsFiles(settings, "peer-");
  checkTlsUrls(settings, clientTls, peerTls);
  return {
    name: settings.name,
    dataDir: settings["data-dir"],
    walDir: settings["wal-dir"],
    initialCluster: initialCluster(settings),
    initialClusterToken: settings["initial-cluster-token"],
    advertisePeerUrls: settings["initial-advertise-peer-urls"],
    advertiseClientUrls: settings["advertise-client-urls"],
    heartbeatMs: settings["heartbeat-interval"],
    electionMs: settings["election-timeout"],
    preVote: settings["pre-vote"],
    snapshotCount: settings["snapshot-count"],
    maxWals: settings["max-wals"],
    maxTxnOps: settings["max-txn-ops"],
    maxRequestBytes: settings["max-request-bytes"],
    quotaBackendBytes: settings["quota-backend-bytes"],
    backendBatchIntervalMs: settings["backend-batch-interval"] || DEFAULT_BATCH_INTERVAL_MS,
    backendBatchLimit: settings["backend-batch-limit"] || DEFAULT_BATCH_LIMIT,
    compactionBatchLimit: settings["compaction-batch-limit"] > 0
      ? settings["compaction-batch-limit"]
      : defaults["compaction-batch-limit"],
    compactionSleepMs: settings["compaction-sleep-interval"] || defaults["compaction-sleep-interval"],
    autoCompaction: autoCompaction(settings),
    leaseCheckpointIntervalMs: isGateEnabled(settings["feature-gates"], "LeaseCheckpoint")
      ? LEASE_CHECKPOINT_INTERVAL_MS
      : undefined,
    warningApplyMs: settings["warning-apply-duration"],
    warningUnaryRequestMs: settings["warning-unary-request-duration"] ||
      defaults["warning-unary-request-duration"],
    unsafeNoFsync: settings["unsafe-no-fsync"],
    listenClientUrls: settings["listen-client-urls"],
    listenClientHttpUrls: settings["listen-client-http-urls"],
    listenPeerUrls: settings["listen-peer-urls"],
    listenMetricsUrls: settings["listen-metrics-urls"],
    clientTls,
    peerTls,
    socketReusePort: settings["socket-reuse-port"],
    maxConcurrentStreams: isUnlimited ? DEFAULT_STREAMS_MAX : streams,
    maxJsonCalls: isUnlimited ? Infinity : streams,
    grpcKeepaliveMinTimeMs: keepaliveMinTimeMs > 0 ? keepaliveMinTimeMs : GRPC_KEEPALIVE_MIN_TIME_MS,
    grpcKeepaliveIntervalMs: pings ? keepaliveIntervalMs : Infinity,
    grpcKeepaliveTimeoutMs: keepaliveTimeoutMs,
    grpcGateway: settings["enable-grpc-gateway"],
    cors: settings.cors,
    hostWhitelist: settings["host-whitelist"],
    featureGates: gateStates(settings["feature-gates"]),
    metrics: settings.metrics === "extensive" ? "extensive" : "basic",
    watchProgressNotifyMs: settings["watch-progress-notify-interval"] ||
      defaults["watch-progress-notify-interval"],
  };
}

/**
 * Fills in what follows from other settings: the data directory from the name, the cluster from the name,
 * and, when the member listens everywhere but advertises only the default, `defaultHost` for "localhost".
 */
export function completeSettings(settings: Settings, defaultHost: string | undefined): Settings {
  const defaults = defaultSettings();
  const advertise = (
    listen: readonly string[],
    advertised: readonly string[],
    byDefault: readonly string[],
  ) =>
    defaultHost !== undefined && sameList(advertised, byDefault) && listen[0] !== undefined &&
      hostOf(listen[0]) === "0.0.0.0"
      ? [`http://${hostInUrl(defaultHost)}:${listen[0].slice(listen[0].lastIndexOf(":") + 1)}`]
      : advertised;
  const peerUrls = advertise(
    settings["listen-peer-urls"],
    settings["initial-advertise-peer-urls"],
    defaults["initial-advertise-peer-urls"],
  );
  const isNamed = settings.name !== defaults.name &&
    settings["initial-cluster"] === defaults["initial-cluster"];
  return {
    ...settings,
    "data-dir": settings["data-dir"] || `${settings.name}.etcd`,
    "initial-advertise-peer-urls": peerUrls,
    "initial-cluster": isNamed
      ? peerUrls.map((url) => `${settings.name || defaults.name}=${url}`).join(",")
      : settings["initial-cluster"],
    "advertise-client-urls": advertise(
      settings["listen-client-urls"],
      settings["advertise-client-urls"],
      defaults["advertise-client-urls"],
    ),
  };
}

/** Checks what only a member without data needs: the cluster it is to make. Throws `ConfigError`. */
export function checkNewCluster(config: EtcdConfig, state: Settings["initial-cluster-state"]): void {
  const { name, initialCluster, advertisePeerUrls } = config;
  if (state === "existing") {
    throw new ConfigError(
      "--initial-cluster-state=existing is not supported: a member cannot join a cluster yet",
    );
  }
  const urls = initialCluster.get(name);
  if (urls === undefined) {
    throw new ConfigError(`couldn't find local name "${name}" in the initial cluster configuration`);
  }
  if (initialCluster.size > 1) {
    const names = [...initialCluster.keys()].join(",");
    throw new ConfigError(`--initial-cluster with several members is not supported yet: ${names}`);
  }
  const advertised = advertisePeerUrls.join(",");
  const missing = without(urls, advertisePeerUrls);
  if (missing.length > 0) {
    const pairs = missing.map((url) => `${name}=${url}`).join(",");
    throw new ConfigError(
      `--initial-cluster has ${pairs} but missing from --initial-advertise-peer-urls=${advertised}`,
    );
  }
  const unnamed = without(advertisePeerUrls, urls);
  if (unnamed.length > 0) {
    const pairs = urls.map((url) => `${name}=${url}`).join(",");
    throw new ConfigError(
      `--initial-advertise-peer-urls has ${unnamed.join(",")} but missing from --initial-cluster=${pairs}`,
    );
  }
}

/** URLs of `urls` that are not in `others`, where "localhost" and its address are the same. */
function without(urls: readonly string[], others: readonly string[]): string[] {
  const plain = (url: string) => url.replace("//localhost:", "//127.0.0.1:");
  const known = new Set(others.map(plain));
  return urls.filter((url) => !known.has(plain(url)));
}

function initialCluster(settings: Settings): Map<string, string[]> {
  try {
    return parseMemberUrls(settings["initial-cluster"]);
  } catch (error) {
    throw new ConfigError(`error setting up initial cluster: ${(error as Error).message}`);
  }
}

function tlsFiles(settings: Settings, side: "" | "peer-"): TlsFiles | undefined {
  const ciphers = cipherList(settings["cipher-suites"]);
  if (settings[`${side}cert-file`] === "") return undefined;
  return {
    certFile: settings[`${side}cert-file`],
    keyFile: settings[`${side}key-file`],
    trustedCaFile: settings[`${side}trusted-ca-file`],
    crlFile: side === "" ? settings["client-crl-file"] : settings["peer-crl-file"],
    allowedHostnames: side === ""
      ? settings["client-cert-allowed-hostname"]
      : settings["peer-cert-allowed-hostname"],
    allowedCommonNames: side === "" ? [] : settings["peer-cert-allowed-cn"],
    minVersion: tlsVersion(settings["tls-min-version"]) ?? "TLSv1.2",
    maxVersion: tlsVersion(settings["tls-max-version"]),
    ciphers,
  };
}

function checkTlsUrls(settings: Settings, client: TlsFiles | undefined, peer: TlsFiles | undefined): void {
  const peerUrl = settings["listen-peer-urls"].find(isSecure);
  if (peer === undefined && peerUrl !== undefined) {
    const { host } = new URL(peerUrl);
    throw new ConfigError(`cannot listen on TLS for ${host}: KeyFile and CertFile are not presented`);
  }
  const clientUrls = [...settings["listen-client-urls"], ...settings["listen-client-http-urls"]];
  const twice = settings["listen-client-http-urls"].find((url) =>
    settings["listen-client-urls"].includes(url)
  );
  if (twice !== undefined) {
    throw new ConfigError(
      `cannot bind both --listen-client-urls and --listen-client-http-urls on the same url ${twice}`,
    );
  }
  if (client !== undefined) return;
  const url = clientUrls.find(isSecure);
  if (url !== undefined) {
    throw new ConfigError(
      `TLS key/cert (--cert-file, --key-file) must be provided for client url ${url} with HTTPS scheme`,
    );
  }
  if (settings["listen-metrics-urls"].some(isSecure)) {
    throw new ConfigError(
      "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
    );
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((each, i) => each === b[i]);
}

function hostInUrl(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
