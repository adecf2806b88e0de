import { FileError } from "../ports/files.ts";
import type { Log } from "../ports/log.ts";
import type { Runtime } from "../ports/runtime.ts";
import { DEFAULT_QUOTA_BYTES } from "../server/config.ts";
import { SERVER_VERSION } from "../server/version.ts";
import { walExists } from "../wal/segment.ts";
import { GIT_SHA, goArch, runtimeVersion } from "./build_info.ts";
import type { EtcdConfig } from "./config.ts";
import { ConfigError } from "./config_error.ts";
import { fileErrorText } from "./file_error_text.ts";
import { Etcd } from "./etcd.ts";
import { formatFeatureGates } from "./feature_gates.ts";
import { type FlagName, type Settings } from "./flag_table.ts";
import { formatGoDuration } from "../base/go_duration.ts";
import { checkNewCluster, completeSettings, resolveConfig } from "./resolve.ts";
import { isSecure } from "./urls.ts";

const GIB = 1024 ** 3;
/** Beyond these etcd warns. */
const QUOTA_BYTES_ADVISED = 8 * GIB;
const REQUEST_BYTES_ADVISED = 10 * 1024 * 1024;
const DATA_DIR_MODE = 0o700;

/** What a member is started with. */
export interface MemberOptions {
  /** Checked by `validateSettings`. */
  readonly settings: Settings;
  readonly runtime: Runtime;
  readonly log: Log;
  /** The member cannot go on: its disk failed or an invariant broke. The process must end. */
  readonly onFatal: (error: unknown) => void;
}

/**
 * Starts a member from checked settings; resolves when it serves. Throws `ConfigError`, and what reading
 * the data directory or binding the listeners throws.
 */
export async function startMember({ settings: given, runtime, log, onFatal }: MemberOptions): Promise<Etcd> {
  const defaultHost = runtime.process.defaultHost();
  const settings = completeSettings(given, defaultHost);
  if (
    changed(given, settings, "advertise-client-urls") ||
    changed(given, settings, "initial-advertise-peer-urls")
  ) {
    log.info("detected default host for advertise", { host: defaultHost });
  }
  const dataDir = settings["data-dir"];
  if (given["data-dir"] === "") log.warn("'data-dir' was empty; using default", { "data-dir": dataDir });
  noteDataDir(dataDir, runtime, log);
  const config = resolveConfig(settings);
  const walDir = config.walDir === "" ? `${dataDir}/member/wal` : config.walDir;
  const initialized = walExists(runtime.files, walDir);
  if (!initialized) checkNewCluster(config, settings["initial-cluster-state"]);
  if (config.maxRequestBytes > REQUEST_BYTES_ADVISED) {
    log.warn("exceeded recommended request limit", {
      "max-request-bytes": config.maxRequestBytes,
      "max-request-size": bytesText(config.maxRequestBytes),
      "recommended-request-bytes": REQUEST_BYTES_ADVISED,
      "recommended-request-size": bytesText(REQUEST_BYTES_ADVISED),
    });
  }
  log.info("starting an etcd server", startFields(settings, config, initialized, runtime));
  noteQuota(config.quotaBackendBytes, log);
  noteIgnored(settings, log);
  return Etcd.start({ config, runtime, log, onFatal });
}

function changed(before: Settings, after: Settings, name: FlagName): boolean {
  return before[name] !== after[name];
}

/** Says what the data directory is, and complains of strangers in it and of others who may read it. */
function noteDataDir(dataDir: string, { files }: Runtime, log: Log): void {
  const names = namesIn(dataDir, files);
  for (const name of names) {
    if (name === "member" || name === "proxy") continue;
    log.warn("found invalid file under data directory", { filename: name, "data-dir": dataDir });
  }
  if (names.includes("proxy")) {
    throw new ConfigError(
      names.includes("member")
        ? "invalid datadir; both member and proxy directories exist"
        : "v2 http proxy has already been deprecated in 3.6",
      { dir: dataDir },
    );
  }
  const fields = { "data-dir": dataDir, "dir-type": names.includes("member") ? "member" : "empty" };
  if (names.includes("member")) log.info("server has already been initialized", fields);
  else log.info("Initialize and start etcd server", fields);
  const mode = files.exists(dataDir) ? files.permissions(dataDir) : DATA_DIR_MODE;
  if (mode !== DATA_DIR_MODE) {
    log.warn("check file permission", {
      error:
        `directory "${dataDir}" exist, but the permission is "${modeText(mode, "d")}". The recommended ` +
        `permission is "${modeText(DATA_DIR_MODE, "-")}" to prevent possible unprivileged access to the data`,
    });
  }
}

function namesIn(dataDir: string, files: Runtime["files"]): string[] {
  try {
    return files.exists(dataDir) ? files.list(dataDir) : [];
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new ConfigError("failed to list data directory", {
      dir: dataDir,
      error: `readdirent ${dataDir}: ${fileErrorText(error)}`,
    });
  }
}

/** "drwxr-x---" of 0o750. */
function modeText(mode: number, type: string): string {
  return type + [..."rwxrwxrwx"].map((letter, i) => (mode & (0o400 >> i)) === 0 ? "-" : letter).join("");
}

function noteQuota(bytes: number, log: Log): void {
  if (bytes < 0) {
    log.info("disabled backend quota", { "quota-name": "v3-applier", "quota-size-bytes": bytes });
  } else if (bytes === 0) {
    log.info("enabled backend quota with default value", {
      "quota-name": "v3-applier",
      "quota-size-bytes": DEFAULT_QUOTA_BYTES,
      "quota-size": bytesText(DEFAULT_QUOTA_BYTES),
    });
  } else {
    if (bytes > QUOTA_BYTES_ADVISED) {
      log.warn("quota exceeds the maximum value", {
        "quota-name": "v3-applier",
        "quota-size-bytes": bytes,
        "quota-size": bytesText(bytes),
        "quota-maximum-size-bytes": QUOTA_BYTES_ADVISED,
        "quota-maximum-size": bytesText(QUOTA_BYTES_ADVISED),
      });
    }
    log.info("enabled backend quota", {
      "quota-name": "v3-applier",
      "quota-size-bytes": bytes,
      "quota-size": bytesText(bytes),
    });
  }
}

const SIZE_UNITS = ["B", "kB", "MB", "GB", "TB", "PB"] as const;

/** A size for people, in powers of 1,000: "2.1 GB" of 2147483648. */
export function bytesText(bytes: number): string {
  if (bytes < 10) return `${bytes} B`;
  const power = Math.min(Math.floor(Math.log10(bytes) / 3 + 1e-12), SIZE_UNITS.length - 1);
  const value = Math.floor(bytes / 1_000 ** power * 10 + 0.5) / 10;
  // Go rounds a half to the even number: 10.5 to 10.
  const text = value < 10
    ? value.toFixed(1)
    : `${value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value)}`;
  return `${text} ${SIZE_UNITS[power]}`;
}

const PROGRESS_INTERVAL_MS_MIN = 100;

/** Says which settings are not taken as they are. */
function noteIgnored(settings: Settings, log: Log): void {
  const interval = settings["watch-progress-notify-interval"];
  if (interval > 0 && interval < PROGRESS_INTERVAL_MS_MIN) {
    log.warn("adjusting watch progress notify interval to minimum period", {
      "min-watch-progress-notify-interval": formatGoDuration(PROGRESS_INTERVAL_MS_MIN),
    });
  }
  for (const url of settings["listen-peer-urls"].filter((url) => !isSecure(url))) {
    if (settings["peer-cert-file"] !== "" || settings["peer-key-file"] !== "") {
      log.warn("scheme is HTTP while key and cert files are present; ignoring key and cert files", {
        "peer-url": url,
      });
    }
    if (settings["peer-client-cert-auth"]) {
      log.warn(
        "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL",
        { "peer-url": url },
      );
    }
  }
  const clientUrls = [...settings["listen-client-urls"], ...settings["listen-client-http-urls"]];
  for (const url of clientUrls.filter((url) => !isSecure(url))) {
    if (settings["cert-file"] !== "" || settings["key-file"] !== "") {
      log.warn("scheme is http or unix while key and cert files are present; ignoring key and cert files", {
        "client-url": url,
      });
    }
    if (settings["client-cert-auth"]) {
      log.warn(
        "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL",
        { "client-url": url },
      );
    }
  }
}

/** The settings in effect, under the names that etcd logs them by. */
function startFields(
  settings: Settings,
  config: EtcdConfig,
  initialized: boolean,
  { process }: Runtime,
): Record<string, string | number | boolean | readonly string[]> {
  const duration = (name: FlagName) => formatGoDuration(settings[name] as number);
  const { autoCompaction } = config;
  const retentionMs = autoCompaction.mode === "periodic"
    ? autoCompaction.retentionMs
    : autoCompaction.mode === "revision"
    ? autoCompaction.retention / 1e6 // etcd keeps the count in a duration.
    : 0;
  const members = [...config.initialCluster].flatMap(([name, urls]) => urls.map((url) => `${name}=${url}`));
  return {
    "etcd-version": SERVER_VERSION,
    "git-sha": GIT_SHA,
    "go-version": runtimeVersion(process),
    "go-os": process.platform,
    "go-arch": goArch(process.arch),
    "member-initialized": initialized,
    "name": config.name,
    "data-dir": config.dataDir,
    "wal-dir": config.walDir,
    "wal-dir-dedicated": config.walDir,
    "member-dir": `${config.dataDir}/member`,
    "force-new-cluster": settings["force-new-cluster"],
    "heartbeat-interval": formatGoDuration(config.heartbeatMs),
    "election-timeout": formatGoDuration(config.electionMs),
    "initial-election-tick-advance": settings["initial-election-tick-advance"],
    "snapshot-count": config.snapshotCount,
    "max-wals": config.maxWals,
    "max-snapshots": settings["max-snapshots"],
    "snapshot-catchup-entries": settings["snapshot-catchup-entries"],
    "initial-advertise-peer-urls": config.advertisePeerUrls,
    "listen-peer-urls": config.listenPeerUrls,
    "advertise-client-urls": config.advertiseClientUrls,
    "listen-client-urls": config.listenClientUrls,
    "listen-metrics-urls": config.listenMetricsUrls,
    "local-address": "",
    "cors": config.cors,
    "host-whitelist": config.hostWhitelist,
    "initial-cluster": initialized ? "" : members.sort().join(","),
    "initial-cluster-state": settings["initial-cluster-state"],
    "initial-cluster-token": initialized ? "" : config.initialClusterToken,
    "quota-backend-bytes": config.quotaBackendBytes || DEFAULT_QUOTA_BYTES,
    "max-request-bytes": config.maxRequestBytes,
    "max-concurrent-streams": config.maxConcurrentStreams,
    "pre-vote": config.preVote,
    "feature-gates": formatFeatureGates(settings["feature-gates"]),
    "initial-corrupt-check": false,
    "corrupt-check-time-interval": duration("corrupt-check-time"),
    "compact-check-time-interval": duration("compact-hash-check-time"),
    "auto-compaction-mode": settings["auto-compaction-mode"],
    "auto-compaction-retention": formatGoDuration(retentionMs),
    "auto-compaction-interval": formatGoDuration(retentionMs),
    "discovery-token": settings["discovery-token"],
    "discovery-endpoints": settings["discovery-endpoints"].join(","),
    "discovery-dial-timeout": duration("discovery-dial-timeout"),
    "discovery-request-timeout": duration("discovery-request-timeout"),
    "discovery-keepalive-time": duration("discovery-keepalive-time"),
    "discovery-keepalive-timeout": duration("discovery-keepalive-timeout"),
    "discovery-insecure-transport": settings["discovery-insecure-transport"],
    "discovery-insecure-skip-tls-verify": settings["discovery-insecure-skip-tls-verify"],
    "discovery-cert": settings["discovery-cert"],
    "discovery-key": settings["discovery-key"],
    "discovery-cacert": settings["discovery-cacert"],
    "discovery-user": settings["discovery-user"].replace(/:.*/, ":***"),
    "downgrade-check-interval": duration("downgrade-check-time"),
    "max-learners": settings["max-learners"],
    "v2-deprecation": "write-only",
  };
}
