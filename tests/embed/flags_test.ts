import assert from "node:assert/strict";
import { test } from "node:test";
import { applyEnv, envNameOf } from "../../src/embed/env.ts";
import {
  defaultSettings,
  type FlagName,
  flagSections,
  flagTable,
  legacyFlags,
} from "../../src/embed/flag_table.ts";
import { parseFlags, SettingsDraft } from "../../src/embed/flags.ts";
import { helpText } from "../../src/embed/help.ts";
import { silentLog } from "../../src/ports/log.ts";

function parse(...args: string[]): SettingsDraft {
  const draft = new SettingsDraft(defaultSettings());
  assert.deepEqual(parseFlags(args, draft), { kind: "ok", rest: [] });
  return draft;
}

/** etcd 3.7.1's defaults, as its flags print them. */
const defaults: Readonly<Record<string, string>> = {
  "name": "default",
  "data-dir": "",
  "wal-dir": "",
  "snapshot-count": "10000",
  "heartbeat-interval": "100",
  "election-timeout": "1000",
  "initial-election-tick-advance": "true",
  "listen-peer-urls": "http://localhost:2380",
  "listen-client-urls": "http://localhost:2379",
  "listen-client-http-urls": "",
  "max-snapshots": "5",
  "max-wals": "5",
  "memory-mlock": "false",
  "quota-backend-bytes": "0",
  "backend-bbolt-freelist-type": "",
  "backend-batch-interval": "0s",
  "backend-batch-limit": "0",
  "max-txn-ops": "128",
  "max-request-bytes": "1572864",
  "max-concurrent-streams": "4294967295",
  "grpc-keepalive-min-time": "5s",
  "grpc-keepalive-interval": "2h0m0s",
  "grpc-keepalive-timeout": "20s",
  "socket-reuse-port": "false",
  "socket-reuse-address": "false",
  "enable-grpc-gateway": "true",
  "raft-read-timeout": "5s",
  "raft-write-timeout": "5s",
  "feature-gates": "",
  "initial-advertise-peer-urls": "http://localhost:2380",
  "initial-cluster": "default=http://localhost:2380",
  "initial-cluster-state": "new",
  "initial-cluster-token": "etcd-cluster",
  "advertise-client-urls": "http://localhost:2379",
  "discovery-token": "",
  "discovery-endpoints": "",
  "discovery-dial-timeout": "2s",
  "discovery-request-timeout": "5s",
  "discovery-keepalive-time": "2s",
  "discovery-keepalive-timeout": "6s",
  "discovery-insecure-transport": "true",
  "discovery-insecure-skip-tls-verify": "false",
  "discovery-cert": "",
  "discovery-key": "",
  "discovery-cacert": "",
  "discovery-user": "",
  "discovery-password": "",
  "discovery-fallback": "exit",
  "discovery-srv": "",
  "discovery-srv-name": "",
  "strict-reconfig-check": "true",
  "pre-vote": "true",
  "auto-compaction-retention": "0",
  "auto-compaction-mode": "periodic",
  "v2-deprecation": "",
  "cert-file": "",
  "key-file": "",
  "client-cert-auth": "false",
  "client-cert-file": "",
  "client-key-file": "",
  "client-crl-file": "",
  "client-cert-allowed-hostname": "",
  "trusted-ca-file": "",
  "auto-tls": "false",
  "peer-cert-file": "",
  "peer-key-file": "",
  "peer-client-cert-auth": "false",
  "peer-client-cert-file": "",
  "peer-client-key-file": "",
  "peer-trusted-ca-file": "",
  "peer-cert-allowed-cn": "",
  "peer-cert-allowed-hostname": "",
  "peer-auto-tls": "false",
  "self-signed-cert-validity": "1",
  "peer-crl-file": "",
  "cipher-suites": "",
  "cors": "*",
  "host-whitelist": "*",
  "tls-min-version": "TLS1.2",
  "tls-max-version": "",
  "auth-token": "simple",
  "bcrypt-cost": "10",
  "auth-token-ttl": "300",
  "enable-pprof": "false",
  "metrics": "basic",
  "listen-metrics-urls": "",
  "logger": "zap",
  "log-outputs": "default",
  "log-level": "info",
  "log-format": "json",
  "enable-log-rotation": "false",
  "log-rotation-config-json":
    '{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}',
  "warning-unary-request-duration": "300ms",
  "enable-distributed-tracing": "false",
  "distributed-tracing-address": "localhost:4317",
  "distributed-tracing-service-name": "etcd",
  "distributed-tracing-instance-id": "",
  "distributed-tracing-sampling-rate": "0",
  "corrupt-check-time": "0s",
  "compact-hash-check-time": "1m0s",
  "compaction-batch-limit": "1000",
  "compaction-sleep-interval": "10ms",
  "peer-skip-client-san-verification": "false",
  "watch-progress-notify-interval": "10m0s",
  "warning-apply-duration": "100ms",
  "bootstrap-defrag-threshold-megabytes": "0",
  "max-learners": "1",
  "downgrade-check-time": "5s",
  "snapshot-catchup-entries": "5000",
  "force-new-cluster": "false",
  "unsafe-no-fsync": "false",
  "version": "false",
  "config-file": "",
};

test("flagTable has etcd's flags with etcd's defaults", () => {
  const ours = Object.entries(flagTable).map(([name, flag]) => [name, flag.kind.format(flag.default)]);
  assert.deepEqual(Object.fromEntries(ours), defaults);
});

test("every flag takes its own default as text, on the command line and in the environment", () => {
  for (const [name, value] of Object.entries(defaults)) {
    if (value === "" || name === "version" || name === "config-file") continue;
    assert.deepEqual(parse(`--${name}=${value}`).settings, defaultSettings(), name);
    const draft = new SettingsDraft(defaultSettings());
    applyEnv({ [envNameOf(name)]: value }, draft, silentLog);
    assert.deepEqual([...draft.explicit], [name]);
    assert.deepEqual(draft.settings, defaultSettings(), name);
  }
});

test("parseFlags follows Go's flag package", () => {
  assert.equal(parse("-name", "a", "--name=b").settings.name, "b");
  assert.equal(parse("--name=a=b").settings.name, "a=b");
  assert.equal(parse("--name=").settings.name, "");
  assert.equal(parse("--name", "--pre-vote").settings.name, "--pre-vote");
  assert.equal(parse("--pre-vote=0").settings["pre-vote"], false);
  assert.deepEqual(parse("-v", "--snapshot=x", "--test.outputdir=/").settings, defaultSettings());
  const rest = new SettingsDraft(defaultSettings());
  assert.deepEqual(parseFlags(["--pre-vote", "false", "--name=x"], rest), {
    kind: "ok",
    rest: ["false", "--name=x"],
  });
  for (const help of ["-h", "--h", "-help", "--help", "--help=x"]) {
    assert.deepEqual(parseFlags([help], rest), { kind: "help" });
  }
});

test("parseFlags reads each kind of value", () => {
  const { settings } = parse(
    "--quota-backend-bytes=-1",
    "--max-wals=0b11",
    "--snapshot-count=18446744073709551615",
    "--grpc-keepalive-interval=0",
    "--log-outputs=stdout,stderr,stdout",
    "--cors=http://b:1,https://a:2",
    "--host-whitelist=b,a",
    "--cipher-suites=B,A",
    "--feature-gates=AllAlpha=true,PriorityRequest=false",
    "--listen-peer-urls=http://localhost:2,http://localhost:1",
    "--initial-cluster-state=existing",
  );
  assert.equal(settings["quota-backend-bytes"], -1);
  assert.equal(settings["max-wals"], 3);
  assert.equal(settings["snapshot-count"], Number.MAX_SAFE_INTEGER);
  assert.equal(settings["grpc-keepalive-interval"], 0);
  assert.deepEqual(settings["log-outputs"], ["stderr", "stdout"]);
  assert.deepEqual(settings.cors, ["http://b:1", "https://a:2"]);
  assert.deepEqual(settings["host-whitelist"], ["a", "b"]);
  assert.deepEqual(settings["cipher-suites"], ["B", "A"]);
  assert.deepEqual(settings["listen-peer-urls"], ["http://localhost:1", "http://localhost:2"]);
  assert.equal(settings["initial-cluster-state"], "existing");
  assert.equal(settings["feature-gates"].get("PriorityRequest"), false);
  assert.equal(settings["feature-gates"].get("InitialCorruptCheck"), true);
  assert.equal(settings["feature-gates"].get("FastLeaseKeepAlive"), undefined);
});

test("every value of every kind is refused without a trace when it is wrong", () => {
  const wrong: Readonly<Record<string, string>> = {
    "snapshot-count": "1e3",
    "compaction-batch-limit": "9223372036854775808",
    "max-concurrent-streams": "-1",
    "grpc-keepalive-timeout": "5",
    "listen-client-urls": "localhost",
    "initial-cluster-state": "New",
    "feature-gates": "InitialCorruptCheck=true,Nothing=true",
    "v2-deprecation": "gone,not-yet",
    "pre-vote": "yes",
  };
  for (const [name, value] of Object.entries(wrong)) {
    const draft = new SettingsDraft(defaultSettings());
    const parsed = parseFlags([`--${name}=${value}`], draft);
    assert.equal(parsed.kind, "error", name);
    assert.deepEqual(draft.settings, defaultSettings(), name);
    assert.equal(draft.explicit.size, 0);
  }
});

test("--help names every flag once, with its default, and says what is not there", () => {
  const help = helpText();
  for (const name of Object.keys(flagTable)) {
    assert.equal(help.split(`\n  --${name} '`).length, 2, name);
  }
  assert.equal(
    flagSections.reduce((sum, [, flags]) => sum + Object.keys(flags).length, 0),
    Object.keys(flagTable).length,
  );
  assert.match(help, /--data-dir '\$\{name\}\.etcd'/);
  assert.match(help, /InitialCorruptCheck=true\|false \(ALPHA - default=false\)/);
  assert.match(help, /ETCD_DATA_DIR is --data-dir/);
});

test("legacy flags do not hide flags that mean something", () => {
  for (const name of legacyFlags) assert.equal(flagTable[name as FlagName], undefined, name);
});
