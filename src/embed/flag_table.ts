import {
  bool,
  choice,
  choices,
  commaSet,
  duration,
  type FlagKind,
  gates,
  ignored,
  int,
  list,
  origins,
  set,
  text,
  uint,
  uint32,
  urls,
} from "./flag_kinds.ts";
import type { GateSettings } from "./feature_gates.ts";

/** One flag: what it takes, what it is when nobody sets it, and what becomes of it. */
export interface Flag<T> {
  readonly kind: FlagKind<T>;
  readonly default: T;
  readonly help: string;
  /** Set when only the default can be served: what is missing. Another value is refused at start. */
  readonly unsupported?: string;
  /** Set when the value changes nothing here: why that is right. Another value than the default is logged. */
  readonly noEffect?: string;
}

type Remark = Pick<Flag<unknown>, "unsupported" | "noEffect">;

function flag<T>(kind: FlagKind<T>, value: T, help: string, remark: Remark = {}): Flag<T> {
  return { kind, default: value, help, ...remark };
}

const unsupported = (reason: string): Remark => ({ unsupported: reason });
const noEffect = (reason: string): Remark => ({ noEffect: reason });

const NO_PEERS = "a cluster of one member has no peers";
const NO_DISCOVERY = "discovery is not built yet";
const NO_AUTH = "authentication is not built yet";
const NO_TRACING = "distributed tracing is not built yet";
const OUR_STORE = "the store is LMDB, not bbolt";

const HOUR_MS = 3_600_000;
const MIB = 1024 * 1024;

/** etcd's own default for "no limit". */
export const STREAMS_UNLIMITED = 2 ** 32 - 1;

const member = {
  "name": flag(text, "default", "Name of this member, for people to read."),
  "data-dir": flag(text, "", "Directory of the member's data; '' for '${name}.etcd'."),
  "wal-dir": flag(text, "", "Directory of the log, when it is to be on another disk than the data."),
  "snapshot-count": flag(uint, 10_000, "Applied entries between two releases of the log."),
  "heartbeat-interval": flag(uint, 100, "Milliseconds between two heartbeats of the leader."),
  "election-timeout": flag(
    uint,
    1_000,
    "Milliseconds without a leader after which a member stands for election: 5 heartbeats or more.",
  ),
  "initial-election-tick-advance": flag(
    bool,
    true,
    "Shorten the first election after a start.",
    noEffect("a single member elects itself at once"),
  ),
  "listen-peer-urls": flag(urls, ["http://localhost:2380"], "URLs to listen on for other members."),
  "listen-client-urls": flag(
    urls,
    ["http://localhost:2379"],
    "URLs to listen on for clients: gRPC, gRPC-Web, Connect and HTTP.",
  ),
  "listen-client-http-urls": flag(
    urls,
    [],
    "URLs to listen on for HTTP/1.1 clients, which --listen-client-urls then no longer serves.",
  ),
  "max-snapshots": flag(
    uint,
    5,
    "Snapshot files to keep. Deprecated: to be removed in 3.8.",
    noEffect("no snapshot files are written"),
  ),
  "max-wals": flag(uint, 5, "Segments of the log to keep (0 for all)."),
  "memory-mlock": flag(bool, false, "Keep the memory from being swapped.", unsupported("not built yet")),
  "quota-backend-bytes": flag(
    int,
    0,
    "Bytes the store may use before writes are refused; 0 for 2 GiB, below 0 for no limit.",
  ),
  "backend-bbolt-freelist-type": flag(text, "", "Kind of free list: map or array.", noEffect(OUR_STORE)),
  "backend-batch-interval": flag(duration, 0, "Longest time between two commits of the store; 0 for 100ms."),
  "backend-batch-limit": flag(int, 0, "Most operations between two commits of the store; 0 for 10000."),
  "max-txn-ops": flag(uint, 128, "Most operations in one transaction."),
  "max-request-bytes": flag(uint, 1.5 * MIB, "Largest request of a client, in bytes."),
  "max-concurrent-streams": flag(
    uint32,
    STREAMS_UNLIMITED,
    "Most requests under way on a connection, and on the JSON API in all; by default 10000, and no limit.",
  ),
  "grpc-keepalive-min-time": flag(duration, 5_000, "Shortest time a client must leave between two pings."),
  "grpc-keepalive-interval": flag(
    duration,
    2 * HOUR_MS,
    "Idle time after which a client is pinged (0 to disable).",
  ),
  "grpc-keepalive-timeout": flag(
    duration,
    20_000,
    "Time a pinged client has to answer before its connection is closed (0 to disable).",
  ),
  "socket-reuse-port": flag(bool, false, "Let several processes listen on the same port (SO_REUSEPORT)."),
  "socket-reuse-address": flag(
    bool,
    false,
    "Listen on an address that is in TIME_WAIT (SO_REUSEADDR).",
    noEffect("the runtimes always set SO_REUSEADDR"),
  ),
  "enable-grpc-gateway": flag(bool, true, "Serve the JSON gateway under /v3/."),
  "raft-read-timeout": flag(duration, 5_000, "Timeout of reads from a peer.", noEffect(NO_PEERS)),
  "raft-write-timeout": flag(duration, 5_000, "Timeout of writes to a peer.", noEffect(NO_PEERS)),
  "feature-gates": flag(
    gates,
    new Map() as GateSettings,
    "Features to turn on or off, as 'Name=true,Other=false':",
  ),
} as const;

const clustering = {
  "initial-advertise-peer-urls": flag(
    urls,
    ["http://localhost:2380"],
    "This member's peer URLs as the others reach them.",
  ),
  "initial-cluster": flag(
    text,
    "default=http://localhost:2380",
    "The members of a new cluster, as 'name=url,name=url'; when only --name is set, that name is used.",
  ),
  "initial-cluster-state": flag(
    choice("new", "existing"),
    "new",
    "'new' for a new cluster, 'existing' to join one. Ignored once the member has data.",
  ),
  "initial-cluster-token": flag(
    text,
    "etcd-cluster",
    "Text that makes the ids of a new cluster differ from those of others.",
  ),
  "advertise-client-urls": flag(
    urls,
    ["http://localhost:2379"],
    "This member's client URLs as clients reach them. Needed when --listen-client-urls is set.",
  ),
  "discovery-token": flag(text, "", "Token of the cluster to discover.", unsupported(NO_DISCOVERY)),
  "discovery-endpoints": flag(commaSet, [], "Endpoints of the discovery service.", unsupported(NO_DISCOVERY)),
  "discovery-dial-timeout": flag(
    duration,
    2_000,
    "Timeout of connecting to the discovery service.",
    noEffect(NO_DISCOVERY),
  ),
  "discovery-request-timeout": flag(
    duration,
    5_000,
    "Timeout of requests to the discovery service.",
    noEffect(NO_DISCOVERY),
  ),
  "discovery-keepalive-time": flag(
    duration,
    2_000,
    "Idle time after which the discovery service is pinged.",
    noEffect(NO_DISCOVERY),
  ),
  "discovery-keepalive-timeout": flag(
    duration,
    6_000,
    "Time the discovery service has to answer a ping.",
    noEffect(NO_DISCOVERY),
  ),
  "discovery-insecure-transport": flag(bool, true, "Discover without TLS.", noEffect(NO_DISCOVERY)),
  "discovery-insecure-skip-tls-verify": flag(
    bool,
    false,
    "Do not verify the discovery service's certificate.",
    noEffect(NO_DISCOVERY),
  ),
  "discovery-cert": flag(
    text,
    "",
    "Certificate to present to the discovery service.",
    noEffect(NO_DISCOVERY),
  ),
  "discovery-key": flag(text, "", "Key of that certificate.", noEffect(NO_DISCOVERY)),
  "discovery-cacert": flag(
    text,
    "",
    "CA that the discovery service's certificate must be signed by.",
    noEffect(NO_DISCOVERY),
  ),
  "discovery-user": flag(text, "", "User of the discovery service: name[:password].", noEffect(NO_DISCOVERY)),
  "discovery-password": flag(text, "", "Password of that user.", noEffect(NO_DISCOVERY)),
  "discovery-fallback": flag(choice("exit", "proxy"), "exit", "What to do when discovery fails: 'exit'."),
  "discovery-srv": flag(
    text,
    "",
    "DNS domain whose SRV records name the members.",
    unsupported(NO_DISCOVERY),
  ),
  "discovery-srv-name": flag(text, "", "Suffix of the SRV service's name.", unsupported(NO_DISCOVERY)),
  "strict-reconfig-check": flag(
    bool,
    true,
    "Refuse changes of the membership that would lose the quorum.",
    noEffect("the membership cannot be changed yet"),
  ),
  "pre-vote": flag(
    bool,
    true,
    "Ask for leave before an election, so that a returning member disturbs nobody.",
  ),
  "auto-compaction-retention": flag(
    text,
    "0",
    "What automatic compaction keeps: a duration ('5m', bare numbers are hours) or revisions; 0 for no compaction.",
  ),
  "auto-compaction-mode": flag(text, "periodic", "What the retention counts: 'periodic' or 'revision'."),
  "v2-deprecation": flag(
    choices("write-only", "write-only-skip-check", "write-only-drop-data", "gone"),
    [] as readonly string[],
    "Deprecated: to be removed in 3.8; the value is ignored.",
  ),
} as const;

const security = {
  "cert-file": flag(text, "", "Certificate (PEM) for https client URLs; read again at each handshake."),
  "key-file": flag(text, "", "Key (PEM) of that certificate."),
  "client-cert-auth": flag(bool, false, "Demand a certificate of every client."),
  "client-cert-file": flag(
    text,
    "",
    "Certificate for connections the server makes to itself.",
    noEffect("it makes none"),
  ),
  "client-key-file": flag(text, "", "Key of that certificate.", noEffect("it makes none")),
  "client-crl-file": flag(text, "", "Revocation list: client certificates in it are refused."),
  "client-cert-allowed-hostname": flag(
    list,
    [] as readonly string[],
    "Names, one of which a client's certificate must be valid for.",
  ),
  "trusted-ca-file": flag(
    text,
    "",
    "CA certificates (PEM): every client must have a certificate that one of them signed.",
  ),
  "auto-tls": flag(
    bool,
    false,
    "Make a certificate for clients.",
    unsupported("set --cert-file and --key-file"),
  ),
  "peer-cert-file": flag(text, "", "Certificate (PEM) for https peer URLs; read again at each handshake."),
  "peer-key-file": flag(text, "", "Key (PEM) of that certificate."),
  "peer-client-cert-auth": flag(bool, false, "Demand a certificate of every peer."),
  "peer-client-cert-file": flag(text, "", "Certificate for connections to peers.", noEffect(NO_PEERS)),
  "peer-client-key-file": flag(text, "", "Key of that certificate.", noEffect(NO_PEERS)),
  "peer-trusted-ca-file": flag(
    text,
    "",
    "CA certificates (PEM): every peer must have a certificate that one of them signed.",
  ),
  "peer-cert-allowed-cn": flag(
    list,
    [] as readonly string[],
    "Common names, one of which a peer's certificate must have.",
  ),
  "peer-cert-allowed-hostname": flag(
    list,
    [] as readonly string[],
    "Names, one of which a peer's certificate must be valid for.",
  ),
  "peer-auto-tls": flag(
    bool,
    false,
    "Make a certificate for peers.",
    unsupported("set --peer-cert-file and --peer-key-file"),
  ),
  "self-signed-cert-validity": flag(
    uint,
    1,
    "Years a certificate is valid that the server makes.",
    noEffect("it makes none"),
  ),
  "peer-crl-file": flag(text, "", "Revocation list: peer certificates in it are refused."),
  "cipher-suites": flag(list, [] as readonly string[], "TLS 1.2 cipher suites by their IANA names."),
  "cors": flag(origins, ["*"], "Web origins whose pages may call, '*' for all."),
  "host-whitelist": flag(commaSet, ["*"], "Host names that plain HTTP requests may be for, '*' for all."),
  "tls-min-version": flag(text, "TLS1.2", "Lowest TLS version: TLS1.2 or TLS1.3."),
  "tls-max-version": flag(text, "", "Highest TLS version: TLS1.2 or TLS1.3; '' for the highest there is."),
} as const;

const auth = {
  "auth-token": flag(
    text,
    "simple",
    "Kind of token: 'simple', or 'jwt' with its options.",
    unsupported(NO_AUTH),
  ),
  "bcrypt-cost": flag(uint, 10, "Cost of hashing a password, 4 to 31.", noEffect(NO_AUTH)),
  "auth-token-ttl": flag(uint, 300, "Seconds a simple token lives without being used.", noEffect(NO_AUTH)),
} as const;

const profiling = {
  "enable-pprof": flag(
    bool,
    false,
    "Serve profiles under /debug/pprof/.",
    unsupported("use the runtime's own profiler"),
  ),
  "metrics": flag(
    text,
    "basic",
    "'extensive' adds histograms of the time each RPC takes.",
  ),
  "listen-metrics-urls": flag(urls, [], "URLs to listen on for /metrics, /health, /livez and /readyz alone."),
} as const;

const logging = {
  "logger": flag(text, "zap", "Only 'zap', which stands for structured lines."),
  "log-outputs": flag(set, ["default"], "Where lines go: 'stderr' (the default), 'stdout', paths of files."),
  "log-level": flag(text, "info", "Lowest level written: debug, info, warn, error, dpanic, panic or fatal."),
  "log-format": flag(text, "json", "'json' or 'console'."),
  "enable-log-rotation": flag(bool, false, "Begin a new file when the log file has grown to its size."),
  "log-rotation-config-json": flag(
    text,
    '{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}',
    "Size in MB of a log file, and how many earlier ones to keep (0 for all).",
  ),
  "warning-unary-request-duration": flag(duration, 300, "A request that took longer is logged."),
} as const;

const tracing = {
  "enable-distributed-tracing": flag(bool, false, "Send traces to a collector.", unsupported(NO_TRACING)),
  "distributed-tracing-address": flag(text, "localhost:4317", "The collector.", noEffect(NO_TRACING)),
  "distributed-tracing-service-name": flag(text, "etcd", "Name of the service.", noEffect(NO_TRACING)),
  "distributed-tracing-instance-id": flag(text, "", "Id of this instance.", noEffect(NO_TRACING)),
  "distributed-tracing-sampling-rate": flag(int, 0, "Samples per million spans.", noEffect(NO_TRACING)),
} as const;

const features = {
  "corrupt-check-time": flag(
    duration,
    0,
    "Time between two comparisons of the members' stores (0 to disable).",
    unsupported("comparing members is not built yet"),
  ),
  "compact-hash-check-time": flag(
    duration,
    60_000,
    "Time between two comparisons of the hashes of compactions.",
    noEffect(NO_PEERS),
  ),
  "compaction-batch-limit": flag(int, 1_000, "Most revisions a compaction deletes in one go."),
  "compaction-sleep-interval": flag(duration, 10, "Pause of a compaction between two batches."),
  "peer-skip-client-san-verification": flag(
    bool,
    false,
    "Do not compare a peer's address with its certificate.",
    noEffect(NO_PEERS),
  ),
  "watch-progress-notify-interval": flag(
    duration,
    600_000,
    "Time between two notes of progress to watchers that want them.",
  ),
  "warning-apply-duration": flag(duration, 100, "An entry that took longer to apply is logged."),
  "bootstrap-defrag-threshold-megabytes": flag(
    uint,
    0,
    "Defragment at start when this many megabytes would be freed (0 to disable).",
    noEffect("the store reuses what is free"),
  ),
  "max-learners": flag(int, 1, "Most learners in the cluster.", noEffect(NO_PEERS)),
  "downgrade-check-time": flag(duration, 5_000, "Time between two looks at a downgrade.", noEffect(NO_PEERS)),
  "snapshot-catchup-entries": flag(
    uint,
    5_000,
    "Entries kept for slow followers when the log is released.",
    noEffect(NO_PEERS),
  ),
} as const;

const unsafe = {
  "force-new-cluster": flag(
    bool,
    false,
    "Make a cluster of one member out of the data of a larger one.",
    unsupported("not built yet"),
  ),
  "unsafe-no-fsync": flag(bool, false, "Do not wait for the disk: a power cut loses acknowledged writes."),
} as const;

const other = {
  "version": flag(bool, false, "Print the version and exit."),
  "config-file": flag(
    text,
    "",
    "Read the configuration from this YAML or JSON file; other flags and the environment are then ignored.",
  ),
} as const;

/** The flags as `--help` groups them. */
export const flagSections: readonly (readonly [title: string, Readonly<Record<string, AnyFlag>>])[] = [
  ["Member", member],
  ["Clustering", clustering],
  ["Security", security],
  ["Auth", auth],
  ["Profiling and monitoring", profiling],
  ["Logging", logging],
  ["Distributed tracing", tracing],
  ["Features", features],
  ["Unsafe", unsafe],
  ["Other", other],
];

const table = {
  ...member,
  ...clustering,
  ...security,
  ...auth,
  ...profiling,
  ...logging,
  ...tracing,
  ...features,
  ...unsafe,
  ...other,
} as const;

export type FlagName = keyof typeof table;

// deno-lint-ignore no-explicit-any -- a flag of some type; its kind and its default agree
export type AnyFlag = Flag<any>;

/** The value of each flag. Durations are milliseconds. */
export type Settings = {
  readonly [Name in FlagName]: typeof table[Name] extends Flag<infer T> ? T : never;
};

export const flagTable: Readonly<Record<FlagName, AnyFlag>> = table;

/** Flags of earlier releases, which are taken and mean nothing. */
export const legacyFlags: readonly string[] = [
  "cluster-active-size",
  "cluster-remove-delay",
  "cluster-sync-interval",
  "config",
  "force",
  "max-result-buffer",
  "max-retry-attempts",
  "peer-heartbeat-interval",
  "peer-election-timeout",
  "retry-interval",
  "snapshot",
  "v",
  "vv",
  "test.coverprofile",
  "test.outputdir",
];

export const legacyFlag: AnyFlag = flag(ignored, false, "");

/** What is logged when one of these is set. */
export const deprecations: Readonly<Partial<Record<FlagName, string>>> = {
  "max-snapshots": "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
  "v2-deprecation":
    "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value is enforced, ignoring user input.",
};

export function isFlagName(name: string): name is FlagName {
  return Object.hasOwn(table, name);
}

export function defaultSettings(): Settings {
  const entries = Object.entries(table).map(([name, each]) => [name, each.default]);
  return Object.fromEntries(entries) as unknown as Settings;
}
