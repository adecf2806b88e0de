import { hexId } from "../../base/bytes.ts";
import type { HistogramTable } from "../../base/histogram.ts";
import { counter, gauge, labelled, type MetricFamily, type Sample } from "../../base/metrics.ts";
import { AlarmType } from "../../gen/etcdserverpb/maintenance_pb.ts";
import { SERVER_VERSION } from "../../server/version.ts";
import type { MetricsSources } from "./sources.ts";

const alarmNames: Readonly<Record<number, string>> = {
  [AlarmType.NONE]: "NONE",
  [AlarmType.NOSPACE]: "NOSPACE",
  [AlarmType.CORRUPT]: "CORRUPT",
};

/** The member, its part in the cluster, and requests. */
export function serverFamilies(sources: MetricsSources): MetricFamily[] {
  const { server, clientRequests, features, runtimeVersion } = sources;
  const { metrics } = server;
  return [
    gauge(
      "etcd_server_has_leader",
      "Whether or not a leader exists. 1 is existence, 0 is not.",
      () => bool(server.leader !== 0n),
    ),
    gauge(
      "etcd_server_is_leader",
      "Whether or not this member is a leader. 1 if is, 0 otherwise.",
      () => bool(server.isLeader),
    ),
    gauge(
      "etcd_server_is_learner",
      "Whether or not this member is a learner. 1 if is, 0 otherwise.",
      () => bool(server.cluster.local?.isLearner === true),
    ),
    counter(
      "etcd_server_leader_changes_seen_total",
      "The number of leader changes seen.",
      () => metrics.leaderChanges,
    ),
    gauge(
      "etcd_server_proposals_committed_total",
      "The total number of consensus proposals committed.",
      () => server.committedIndex,
    ),
    gauge(
      "etcd_server_proposals_applied_total",
      "The total number of consensus proposals applied.",
      () => server.appliedIndex,
    ),
    gauge(
      "etcd_server_proposals_pending",
      "The current number of pending proposals to commit.",
      () => server.pendingProposals,
    ),
    counter(
      "etcd_server_proposals_failed_total",
      "The total number of failed proposals seen.",
      () => server.failedProposals,
    ),
    counter(
      "etcd_server_slow_apply_total",
      "The total number of slow apply requests (likely overloaded from slow disk).",
      () => metrics.slowApplies,
    ),
    counter(
      "etcd_server_slow_read_indexes_total",
      "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
      () => metrics.slowReadIndexes,
    ),
    counter(
      "etcd_server_read_indexes_failed_total",
      "The total number of failed read indexes seen.",
      () => metrics.failedReadIndexes,
    ),
    gauge(
      "etcd_server_quota_backend_bytes",
      "Current backend storage quota size in bytes.",
      () => Number.isFinite(server.quota.bytes) ? server.quota.bytes : 0,
    ),
    labelled(
      "histogram",
      "etcd_server_apply_duration_seconds",
      "The latency distributions of v2 apply called by backend.",
      () => byOutcome(metrics.applies, (op, success) => ({ version: "v3", op, success })),
    ),
    labelled(
      "histogram",
      "etcd_server_request_duration_seconds",
      "Response latency distribution in seconds for each type.",
      () => byOutcome(metrics.requests, (type, success) => ({ type, success })),
    ),
    labelled(
      "histogram",
      "etcd_server_range_duration_seconds",
      "The latency distributions of txn.Range",
      () => byOutcome(metrics.ranges, (_, success) => ({ success })),
    ),
    counter(
      "etcd_server_health_success",
      "The total number of successful health checks",
      () => metrics.healthSuccesses,
    ),
    counter(
      "etcd_server_health_failures",
      "The total number of failed health checks",
      () => metrics.healthFailures,
    ),
    labelled(
      "gauge",
      "etcd_server_healthcheck",
      "The result of each kind of healthcheck.",
      () =>
        metrics.healthChecks.list().map(({ type, name, last }) => ({
          labels: { type, name },
          value: bool(last === "success"),
        })),
    ),
    labelled(
      "counter",
      "etcd_server_healthchecks_total",
      "The total number of each kind of healthcheck.",
      () =>
        metrics.healthChecks.list().flatMap(({ type, name, success, error }) => [
          ...(success > 0 ? [{ labels: { type, name, status: "success" }, value: success }] : []),
          ...(error > 0 ? [{ labels: { type, name, status: "error" }, value: error }] : []),
        ]),
    ),
    labelled(
      "gauge",
      "etcd_server_id",
      "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
      () => [{ labels: { server_id: hexId(server.cluster.localId) }, value: 1 }],
    ),
    labelled(
      "gauge",
      "etcd_server_version",
      "Which version is running. 1 for 'server_version' label with current version.",
      () => [{ labels: { server_version: SERVER_VERSION }, value: 1 }],
    ),
    labelled(
      "gauge",
      "etcd_server_go_version",
      "Which Go version server is running with. 1 for 'server_go_version' label with current version.",
      () => [{ labels: { server_go_version: runtimeVersion }, value: 1 }],
    ),
    labelled(
      "gauge",
      "etcd_server_feature_enabled",
      "Whether or not a feature is enabled. 1 is enabled, 0 is not.",
      () => features.map(({ name, stage, enabled }) => ({ labels: { name, stage }, value: bool(enabled) })),
    ),
    labelled(
      "gauge",
      "etcd_cluster_version",
      "Which version is running. 1 for 'cluster_version' label with current cluster version",
      () =>
        server.cluster.version === undefined
          ? []
          : [{ labels: { cluster_version: server.cluster.version.replace(/\.\d+$/, "") }, value: 1 }],
    ),
    labelled(
      "counter",
      "etcd_server_client_requests_total",
      "The total number of client requests per client version.",
      () =>
        clientRequests.list().map(({ type, version, count }) => ({
          labels: { type, client_api_version: version },
          value: count,
        })),
    ),
    labelled(
      "gauge",
      "etcd_network_known_peers",
      "The current number of known peers.",
      () =>
        server.cluster.list().map(({ id }) => ({
          labels: { Local: hexId(server.cluster.localId), Remote: hexId(id) },
          value: 1,
        })),
    ),
    labelled(
      "gauge",
      "etcd_debugging_server_alarms",
      "Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label with type of this alarm",
      () =>
        server.alarms.list(AlarmType.NONE).map(({ memberId, type }) => ({
          labels: { server_id: hexId(memberId), alarm_type: alarmNames[type] ?? String(type) },
          value: 1,
        })),
    ),
  ];
}

function bool(value: boolean): number {
  return value ? 1 : 0;
}

function byOutcome(
  table: HistogramTable,
  labels: (operation: string, success: string) => Readonly<Record<string, string>>,
): Sample[] {
  return table.list().map(({ operation, success, histogram }) => ({
    labels: labels(operation, String(success)),
    value: histogram,
  }));
}
