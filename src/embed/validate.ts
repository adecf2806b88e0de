import type { Log } from "../ports/log.ts";
import { ConfigError } from "./config_error.ts";
import { featureGates, isGateEnabled } from "./feature_gates.ts";
import { type FlagName, flagTable, type Settings } from "./flag_table.ts";
import { formatGoDuration, parseGoDuration } from "../base/go_duration.ts";
import type { AutoCompaction } from "../server/config.ts";
import { tlsVersion } from "./tls_files.ts";
import { hostOf, isIpAddress, isSecure } from "./urls.ts";

const ELECTION_MS_MAX = 50_000;
const HOUR_MS = 3_600_000;

/**
 * Checks what no single flag can tell, in etcd's order and with its texts, and logs what it only warns of.
 * Throws `ConfigError`.
 */
export function validateSettings(settings: Settings, log: Log): void {
  if (settings["discovery-fallback"] === "proxy") {
    throw new ConfigError(`v2 proxy is deprecated, and --discovery-fallback can't be configured as "proxy"`);
  }
  checkBindUrls(settings["listen-peer-urls"]);
  checkBindUrls(settings["listen-client-urls"]);
  checkBindUrls(settings["listen-client-http-urls"]);
  if (settings["listen-client-http-urls"].length === 0) {
    log.warn("Running http and grpc server on single port. This is not recommended for production.");
  }
  checkBindUrls(settings["listen-metrics-urls"]);
  checkAdvertisedUrls(settings);
  checkBootstrap(settings);
  checkTicks(settings);
  if (settings["listen-client-urls"].length > 0 && settings["advertise-client-urls"].length === 0) {
    throw new ConfigError(ADVERTISE_MISSING);
  }
  autoCompactionMode(settings);
  if (
    settings["enable-distributed-tracing"] && !isSamplingRate(settings["distributed-tracing-sampling-rate"])
  ) {
    throw new ConfigError(
      "distributed tracing configurition is not valid: (tracing sampling rate must be " +
        `${settings["distributed-tracing-sampling-rate"] < 0 ? "positive" : "less than 1000000"})`,
    );
  }
  checkGates(settings, log);
  if (settings["compact-hash-check-time"] <= 0) {
    const given = formatGoDuration(settings["compact-hash-check-time"]);
    throw new ConfigError(`--compact-hash-check-time must be >0 (set to ${given})`);
  }
  if (settings.name === "default") {
    log.warn(
      "it isn't recommended to use default name, please set a value for --name. " +
        "Note that etcd might run into issue when multiple members have the same default name",
      { name: settings.name },
    );
  }
  checkTlsVersions(settings);
  checkLimits(settings);
  checkUnsupported(settings, log);
}

export const ADVERTISE_MISSING =
  "--advertise-client-urls is required when --listen-client-urls is set explicitly";

function checkBindUrls(urls: readonly string[]): void {
  for (const url of urls) {
    const host = hostOf(url);
    if (host === undefined || host === "localhost" || isIpAddress(host)) continue;
    throw new ConfigError(`expected IP in URL for binding (${url})`);
  }
}

function checkAdvertisedUrls(settings: Settings): void {
  const empty = (urls: readonly string[]) => urls.find((url) => hostOf(url) === "");
  const peer = empty(settings["initial-advertise-peer-urls"]);
  if (peer !== undefined) {
    const all = settings["initial-advertise-peer-urls"].join(",");
    throw new ConfigError(
      `--initial-advertise-peer-urls "${all}" must be "host:port" (unexpected empty host (${peer}))`,
    );
  }
  const client = empty(settings["advertise-client-urls"]);
  if (client !== undefined) {
    const all = settings["advertise-client-urls"].join(",");
    throw new ConfigError(
      `--advertise-client-urls "${all}" must be in the format "host:port", "unix:/path/to/socket" or ` +
        `"unixs:/path/to/socket" (unexpected empty host (${client}))`,
    );
  }
}

function checkBootstrap(settings: Settings): void {
  const endpoints = settings["discovery-endpoints"];
  const ways = [settings["initial-cluster"] !== "", settings["discovery-srv"] !== "", endpoints.length > 0];
  if (ways.filter(Boolean).length > 1) {
    throw new ConfigError(
      "multiple discovery or bootstrap flags are set. " +
        `Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"`,
    );
  }
  if ((settings["discovery-token"] !== "") !== (endpoints.length > 0)) {
    throw new ConfigError("both --discovery-token and --discovery-endpoints must be set");
  }
  if (endpoints.some((endpoint) => endpoint.trim() === "")) {
    throw new ConfigError("--discovery-endpoints must not contain empty endpoints");
  }
}

function checkTicks(settings: Settings): void {
  const { "heartbeat-interval": heartbeatMs, "election-timeout": electionMs } = settings;
  if (heartbeatMs === 0) throw new ConfigError("--heartbeat-interval must be >0 (set to 0ms)");
  if (electionMs === 0) throw new ConfigError("--election-timeout must be >0 (set to 0ms)");
  if (5 * heartbeatMs > electionMs) {
    throw new ConfigError(
      `--election-timeout[${electionMs}ms] should be at least as 5 times as --heartbeat-interval[${heartbeatMs}ms]`,
    );
  }
  if (electionMs > ELECTION_MS_MAX) {
    throw new ConfigError(
      `--election-timeout[${electionMs}ms] is too long, and should be set less than ${ELECTION_MS_MAX}ms`,
    );
  }
}

function isSamplingRate(perMillion: number): boolean {
  return perMillion >= 0 && perMillion <= 1_000_000;
}

function autoCompactionMode(settings: Settings): "periodic" | "revision" {
  const mode = settings["auto-compaction-mode"];
  if (mode === "") throw new ConfigError("undefined auto-compaction-mode");
  if (mode !== "periodic" && mode !== "revision") {
    throw new ConfigError(`unknown auto-compaction-mode ${JSON.stringify(mode)}`);
  }
  return mode;
}

/** What the two flags of automatic compaction mean together. Throws `ConfigError`. */
export function autoCompaction(settings: Settings): AutoCompaction {
  const mode = autoCompactionMode(settings);
  const text = settings["auto-compaction-retention"] || "0";
  if (/^\+?\d+$/.test(text)) {
    const count = Number(text);
    if (count === 0) return { mode: "off" };
    if (!Number.isSafeInteger(count * HOUR_MS)) {
      throw new ConfigError(`--auto-compaction-retention is too large: ${text}`);
    }
    return mode === "revision" ? { mode, retention: count } : { mode, retentionMs: count * HOUR_MS };
  }
  let retentionMs: number;
  try {
    retentionMs = parseGoDuration(text);
  } catch (error) {
    throw new ConfigError(`error parsing CompactionRetention: ${(error as Error).message}`);
  }
  // etcd takes both of these for something that nobody means.
  if (retentionMs < 0) throw new ConfigError(`--auto-compaction-retention must not be negative: ${text}`);
  if (mode === "revision") {
    throw new ConfigError(`--auto-compaction-retention must be a number of revisions: ${text}`);
  }
  return retentionMs === 0 ? { mode: "off" } : { mode, retentionMs };
}

function checkGates(settings: Settings, log: Log): void {
  const gates = settings["feature-gates"];
  const checkpoint = isGateEnabled(gates, "LeaseCheckpoint");
  const persist = isGateEnabled(gates, "LeaseCheckpointPersist");
  if (checkpoint && !persist) {
    log.warn(
      "Detected that checkpointing is enabled without persistence. " +
        "Consider enabling feature gate LeaseCheckpointPersist",
    );
  }
  if (persist && !checkpoint) {
    throw new ConfigError(
      "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
    );
  }
  for (const [name, enabled] of gates) {
    if (SERVED_GATES.includes(name) || enabled === featureGates.get(name)!.default) continue;
    log.warn("feature gate has no effect", { "feature-gate": `${name}=${enabled}` });
  }
}

/**
 * Gates that do what they say. A single member has nothing to compare its store with, so that it passes the
 * check at the start; the remaining time of a lease is kept whenever it is noted.
 */
const SERVED_GATES: readonly string[] = ["InitialCorruptCheck", "LeaseCheckpoint", "LeaseCheckpointPersist"];

function checkTlsVersions(settings: Settings): void {
  const { "tls-min-version": min, "tls-max-version": max, "cipher-suites": suites } = settings;
  const minVersion = tlsVersion(min);
  const maxVersion = tlsVersion(max);
  if (minVersion !== undefined && maxVersion !== undefined && minVersion > maxVersion) {
    throw new ConfigError(`min version (${min}) is greater than max version (${max})`);
  }
  if (minVersion === "TLSv1.3" && suites.length > 0) {
    throw new ConfigError("cipher suites cannot be configured when only TLS1.3 is enabled");
  }
}

/** Where etcd would run into trouble later, or run with something else than was asked for. */
function checkLimits(settings: Settings): void {
  atLeast(settings, "max-txn-ops", 1);
  atLeast(settings, "max-request-bytes", 1);
  atLeast(settings, "backend-batch-limit", 0);
  atLeast(settings, "backend-batch-interval", 0);
  atLeast(settings, "grpc-keepalive-min-time", 0);
  atLeast(settings, "grpc-keepalive-interval", 0);
  atLeast(settings, "grpc-keepalive-timeout", 0);
  atLeast(settings, "compaction-sleep-interval", 0);
  atLeast(settings, "warning-apply-duration", 0);
  atLeast(settings, "warning-unary-request-duration", 0);
  atLeast(settings, "watch-progress-notify-interval", 0);
  const requestBytes = settings["max-request-bytes"];
  if (requestBytes > REQUEST_BYTES_MAX) {
    throw new ConfigError(
      `--max-request-bytes must be at most ${REQUEST_BYTES_MAX} (set to ${requestBytes})`,
    );
  }
  for (const side of ["", "peer-"] as const) checkTlsFiles(settings, side);
  const names = settings["peer-cert-allowed-hostname"];
  const commonNames = settings["peer-cert-allowed-cn"];
  if (names.length > 0 && commonNames.length > 0) {
    throw new ConfigError("--peer-cert-allowed-cn and --peer-cert-allowed-hostname are mutually exclusive");
  }
}

/** Largest request the engine takes: a message has to fit into one buffer several times over. */
const REQUEST_BYTES_MAX = 512 * 1024 * 1024;

function atLeast(settings: Settings, name: FlagName, min: number): void {
  const value = settings[name] as number;
  if (value >= min) return;
  throw new ConfigError(`--${name} must be at least ${min} (set to ${flagTable[name].kind.format(value)})`);
}

function checkTlsFiles(settings: Settings, side: "" | "peer-"): void {
  const cert = settings[`${side}cert-file`];
  const key = settings[`${side}key-file`];
  if ((cert === "") !== (key === "")) {
    throw new ConfigError(
      `KeyFile and CertFile must both be present[key: ${key}, cert: ${cert}]: ` +
        `set both --${side}cert-file and --${side}key-file`,
    );
  }
  const secure = side === ""
    ? settings["listen-client-urls"].some(isSecure)
    : settings["listen-peer-urls"].some(isSecure);
  const auth = `${side}client-cert-auth` as const;
  const ca = `${side}trusted-ca-file` as const;
  if (secure && settings[auth] && settings[ca] === "") {
    throw new ConfigError(`--${auth} needs --${ca}: the system's certificate authorities are not used`);
  }
}

/** Refuses what was asked for and is not there, and tells of what changes nothing. */
function checkUnsupported(settings: Settings, log: Log): void {
  for (const [name, flag] of Object.entries(flagTable) as [FlagName, typeof flagTable[FlagName]][]) {
    if (flag.unsupported === undefined && flag.noEffect === undefined) continue;
    const value = flag.kind.format(settings[name]);
    if (value === flag.kind.format(flag.default)) continue;
    if (flag.unsupported !== undefined) {
      throw new ConfigError(`--${name}=${value} is not supported: ${flag.unsupported}`);
    }
    log.warn("flag has no effect", { flag: `--${name}`, reason: flag.noEffect! });
  }
}
