import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { applyConfigFile } from "../../src/embed/config_file.ts";
import { defaultSettings, type FlagName, flagTable, type Settings } from "../../src/embed/flag_table.ts";
import { SettingsDraft } from "../../src/embed/flags.ts";
import type { Files } from "../../src/ports/files.ts";

function read(text: string): { changed: Partial<Settings>; unknownKeys: readonly string[] } {
  const draft = new SettingsDraft(defaultSettings());
  const files = { read: () => utf8(text) } as unknown as Files;
  const { unknownKeys } = applyConfigFile("c.yml", files, draft);
  const changed = Object.fromEntries(
    [...draft.explicit].sort().map((name) => [name, flagTable[name].kind.format(draft.settings[name])]),
  );
  return { changed: changed as Partial<Settings>, unknownKeys };
}

test("applyConfigFile reads a file with everything that etcd has names for", () => {
  const { changed, unknownKeys } = read(`
# Human-readable name for this member.
name: 'm1'
data-dir: /var/lib/etcd
wal-dir:
snapshot-count: 20000
heartbeat-interval: 200
election-timeout: 2000
quota-backend-bytes: 8589934592
listen-peer-urls: http://localhost:12380,http://localhost:22380
listen-client-urls: http://localhost:12379
max-wals: 7
cors: "http://a:1,http://b:2"
initial-advertise-peer-urls: http://localhost:12380
advertise-client-urls: http://localhost:12379
discovery-srv:
initial-cluster: m1=http://localhost:12380
initial-cluster-token: 'token'
initial-cluster-state: 'new'
strict-reconfig-check: no
enable-pprof: on
pre-vote: false
client-transport-security:
  cert-file: c.crt
  key-file: c.key
  client-cert-auth: true
  trusted-ca-file: ca.crt
  auto-tls: false
  allowed-hostname: [a.example, b.example]
peer-transport-security:
  cert-file: p.crt
  key-file: p.key
  client-cert-auth: false
  trusted-ca-file:
  auto-tls: false
  allowed-cn: [etcd]
  allowed-hostname:
  skip-client-san-verification: true
self-signed-cert-validity: 2
log-level: debug
logger: zap
log-outputs: [stderr, /var/log/etcd.log]
force-new-cluster: false
auto-compaction-mode: periodic
auto-compaction-retention: "1"
cipher-suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]
tls-min-version: 'TLS1.2'
tls-max-version: 'TLS1.3'
grpc-keepalive-timeout: 7000000000
watch-progress-notify-interval: 5000000000
feature-gates: InitialCorruptCheck=true
socket-options: { reuse-port: true }
discovery-config:
  token: t
  endpoints: [http://d1:1, http://d2:2]
  dial-timeout: 1000000000
  secure: { cacert: d.ca, insecure-transport: false }
  auth: { username: u, password: p }
`);
  assert.deepEqual(unknownKeys, []);
  assert.deepEqual(changed, {
    "advertise-client-urls": "http://localhost:12379",
    "auto-compaction-mode": "periodic",
    "auto-compaction-retention": "1",
    "auto-tls": "false",
    "cert-file": "c.crt",
    "cipher-suites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "client-cert-allowed-hostname": "a.example,b.example",
    "client-cert-auth": "true",
    "cors": "http://a:1,http://b:2",
    "data-dir": "/var/lib/etcd",
    "discovery-cacert": "d.ca",
    "discovery-dial-timeout": "1s",
    "discovery-endpoints": "http://d1:1,http://d2:2",
    "discovery-insecure-transport": "false",
    "discovery-password": "p",
    "discovery-token": "t",
    "discovery-user": "u",
    "election-timeout": "2000",
    "enable-pprof": "true",
    "feature-gates": "InitialCorruptCheck=true",
    "force-new-cluster": "false",
    "grpc-keepalive-timeout": "7s",
    "heartbeat-interval": "200",
    "initial-advertise-peer-urls": "http://localhost:12380",
    "initial-cluster": "m1=http://localhost:12380",
    "initial-cluster-state": "new",
    "initial-cluster-token": "token",
    "key-file": "c.key",
    "listen-client-urls": "http://localhost:12379",
    "listen-peer-urls": "http://localhost:12380,http://localhost:22380",
    "log-level": "debug",
    "log-outputs": "/var/log/etcd.log,stderr",
    "logger": "zap",
    "max-wals": "7",
    "name": "m1",
    "peer-auto-tls": "false",
    "peer-cert-allowed-cn": "etcd",
    "peer-cert-file": "p.crt",
    "peer-client-cert-auth": "false",
    "peer-key-file": "p.key",
    "peer-skip-client-san-verification": "true",
    "pre-vote": "false",
    "quota-backend-bytes": "8589934592",
    "self-signed-cert-validity": "2",
    "snapshot-count": "20000",
    "socket-reuse-port": "true",
    "strict-reconfig-check": "false",
    "tls-max-version": "TLS1.3",
    "tls-min-version": "TLS1.2",
    "trusted-ca-file": "ca.crt",
    "watch-progress-notify-interval": "5s",
  });
});

test("applyConfigFile takes every flag that a file may set, with its default", () => {
  const values = {
    string: (value: string) => JSON.stringify(value),
    boolean: (value: string) => value,
    integer: (value: string) => value,
    nanoseconds: (_: string, ms: unknown) => String(Number(ms) * 1e6),
    list: (_: string, items: unknown) => JSON.stringify(items),
  };
  for (const [name, { kind, default: value }] of Object.entries(flagTable)) {
    const text = values[kind.fileType](kind.format(value), value);
    const { changed, unknownKeys } = read(`${name}: ${text}`);
    // A flag is set, or is none of the file's own; never does a key fall between the two.
    if (unknownKeys.length > 0) {
      assert.match(name, /cert|key|ca-file|crl|tls|san|discovery|socket|raft|version|config/);
    } else assert.deepEqual(Object.keys(changed).filter((each) => each !== name), [], name);
  }
});

test("applyConfigFile passes over keys it does not know, and names them", () => {
  const { changed, unknownKeys } = read('{"proxy": "off", "name": "x", "cert-file": "y", "__proto__": 1}');
  assert.deepEqual(changed, { name: "x" });
  assert.deepEqual(unknownKeys, ["proxy", "cert-file", "__proto__"]);
});

test("applyConfigFile takes an empty file", () => {
  for (const text of ["", "# nothing\n", "null", "---\n"]) assert.deepEqual(read(text).changed, {});
});

test("applyConfigFile keeps lists apart that have commas in them", () => {
  assert.throws(() => read("log-outputs: [1]"), /log-outputs must be a list of strings/);
  assert.deepEqual(read("log-outputs: []").changed, {});
});

const names = Object.keys(flagTable) as FlagName[];
test("applyConfigFile refuses an object for every flag", () => {
  for (const name of names) {
    const draft = () => read(`${name}: {a: 1}`);
    try {
      assert.deepEqual(draft().unknownKeys, [name]);
    } catch (error) {
      assert.equal((error as Error).name, "ConfigError", name);
    }
  }
});
