import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultSettings, type Settings } from "../../src/embed/flag_table.ts";
import { completeSettings, resolveConfig } from "../../src/embed/resolve.ts";
import { autoCompaction } from "../../src/embed/validate.ts";

function settings(changes: Partial<Settings>): Settings {
  return { ...defaultSettings(), ...changes };
}

test("completeSettings makes the data directory and the cluster out of the name", () => {
  const named = completeSettings(settings({ name: "m1" }), undefined);
  assert.equal(named["data-dir"], "m1.etcd");
  assert.equal(named["initial-cluster"], "m1=http://localhost:2380");
  const given = completeSettings(settings({ name: "m1", "initial-cluster": "m2=http://x:1" }), undefined);
  assert.equal(given["initial-cluster"], "m2=http://x:1");
});

test("completeSettings advertises the default host when the member listens everywhere", () => {
  const everywhere = {
    "listen-client-urls": ["http://0.0.0.0:1"],
    "listen-peer-urls": ["http://0.0.0.0:2"],
  };
  const detected = completeSettings(settings({ name: "m1", ...everywhere }), "10.0.0.5");
  assert.deepEqual(detected["advertise-client-urls"], ["http://10.0.0.5:1"]);
  assert.deepEqual(detected["initial-advertise-peer-urls"], ["http://10.0.0.5:2"]);
  assert.equal(detected["initial-cluster"], "m1=http://10.0.0.5:2");
  const none = completeSettings(settings(everywhere), undefined);
  assert.deepEqual(none["advertise-client-urls"], ["http://localhost:2379"]);
  const own = completeSettings(
    settings({ ...everywhere, "advertise-client-urls": ["http://x:1"] }),
    "10.0.0.5",
  );
  assert.deepEqual(own["advertise-client-urls"], ["http://x:1"]);
  const local = completeSettings(settings({}), "10.0.0.5");
  assert.deepEqual(local["advertise-client-urls"], ["http://localhost:2379"]);
});

test("resolveConfig puts values in the place of those that stand for others", () => {
  const config = resolveConfig(settings({}));
  assert.equal(config.maxConcurrentStreams, 10_000);
  assert.equal(resolveConfig(settings({ "max-concurrent-streams": 0 })).maxConcurrentStreams, 10_000);
  assert.equal(config.backendBatchIntervalMs, 100);
  assert.equal(config.backendBatchLimit, 10_000);
  assert.equal(config.grpcKeepaliveIntervalMs, 7_200_000);
  assert.equal(config.metrics, "basic");
  assert.deepEqual(config.autoCompaction, { mode: "off" });
  assert.equal(config.clientTls, undefined);
  const other = resolveConfig(settings({
    "max-concurrent-streams": 5,
    "grpc-keepalive-timeout": 0,
    "grpc-keepalive-min-time": 0,
    "compaction-batch-limit": 0,
    "metrics": "extensive",
    "feature-gates": new Map([["LeaseCheckpoint", true]]),
    "cert-file": "a",
    "key-file": "b",
    "tls-max-version": "TLS1.3",
  }));
  assert.equal(other.maxConcurrentStreams, 5);
  assert.equal(other.grpcKeepaliveIntervalMs, Infinity);
  assert.equal(other.grpcKeepaliveMinTimeMs, 300_000);
  assert.equal(other.compactionBatchLimit, 1000);
  assert.equal(other.metrics, "extensive");
  assert.equal(config.leaseCheckpointIntervalMs, undefined);
  assert.equal(other.leaseCheckpointIntervalMs, 300_000);
  assert.equal(other.clientTls?.maxVersion, "TLSv1.3");
  assert.equal(other.clientTls?.minVersion, "TLSv1.2");
});

test("autoCompaction reads durations, bare hours and revisions", () => {
  const table: readonly (readonly [string, string, unknown])[] = [
    ["periodic", "0", { mode: "off" }],
    ["periodic", "", { mode: "off" }],
    ["periodic", "0s", { mode: "off" }],
    ["periodic", "5", { mode: "periodic", retentionMs: 18_000_000 }],
    ["periodic", "5m", { mode: "periodic", retentionMs: 300_000 }],
    ["revision", "0", { mode: "off" }],
    ["revision", "1000", { mode: "revision", retention: 1000 }],
  ];
  for (const [mode, retention, expected] of table) {
    const given = settings({ "auto-compaction-mode": mode, "auto-compaction-retention": retention });
    assert.deepEqual(autoCompaction(given), expected, `${mode} ${retention}`);
  }
});
