import { hexId } from "../base/bytes.ts";
import { metric, type MetricFamily, renderMetrics, type Sample } from "../base/metrics.ts";
import { codeNames } from "../grpc/status.ts";
import type { MethodTable, Route } from "../grpc/method_table.ts";
import type { TrafficCounter } from "../grpc/server.ts";
import type { Process } from "../ports/process.ts";
import type { EtcdServer } from "../server/server.ts";
import { SERVER_VERSION } from "../server/version.ts";
import type { ClientRequests } from "../services/admission.ts";

export interface MetricsSources {
  readonly server: EtcdServer;
  readonly methods: MethodTable;
  readonly process: Process;
  readonly traffic: TrafficCounter;
  readonly clientRequests: ClientRequests;
  /** Seconds since 1970 at which the process began. */
  readonly startedSeconds: number;
}

/** A function that renders etcd's metric families, those that have a meaning here, with its names and labels. */
export function metricsRenderer(sources: MetricsSources): () => string {
  const families = [
    ...serverFamilies(sources),
    ...storeFamilies(sources.server),
    ...leaseFamilies(sources.server),
    ...diskFamilies(sources.server),
    ...grpcFamilies(sources),
    ...processFamilies(sources),
  ];
  return () => renderMetrics(families);
}

function serverFamilies({ server, clientRequests }: MetricsSources): MetricFamily[] {
  const { metrics } = server;
  const bool = (value: boolean): number => value ? 1 : 0;
  return [
    metric(
      "gauge",
      "etcd_server_has_leader",
      "Whether or not a leader exists. 1 is existence, 0 is not.",
      () => bool(server.leader !== 0n),
    ),
    metric(
      "gauge",
      "etcd_server_is_leader",
      "Whether or not this member is a leader. 1 if is, 0 otherwise.",
      () => bool(server.leader === server.cluster.localId),
    ),
    metric(
      "gauge",
      "etcd_server_is_learner",
      "Whether or not this member is a learner. 1 if is, 0 otherwise.",
      () => bool(server.cluster.local?.isLearner === true),
    ),
    metric(
      "counter",
      "etcd_server_leader_changes_seen_total",
      "The number of leader changes seen.",
      () => metrics.leaderChanges,
    ),
    metric(
      "gauge",
      "etcd_server_proposals_committed_total",
      "The total number of consensus proposals committed.",
      () => server.committedIndex,
    ),
    metric(
      "gauge",
      "etcd_server_proposals_applied_total",
      "The total number of consensus proposals applied.",
      () => server.appliedIndex,
    ),
    metric(
      "gauge",
      "etcd_server_proposals_pending",
      "The current number of pending proposals to commit.",
      () => server.pendingProposals,
    ),
    metric(
      "counter",
      "etcd_server_proposals_failed_total",
      "The total number of failed proposals seen.",
      () => metrics.proposalsFailed,
    ),
    metric(
      "counter",
      "etcd_server_slow_apply_total",
      "The total number of slow apply requests (likely overloaded from slow disk).",
      () => metrics.slowApplies,
    ),
    metric(
      "gauge",
      "etcd_server_quota_backend_bytes",
      "Current backend storage quota size in bytes.",
      () => Number.isFinite(server.quota.bytes) ? server.quota.bytes : 0,
    ),
    labelled(
      "histogram",
      "etcd_server_apply_duration_seconds",
      "The latency distributions of v3 apply called by backend.",
      () =>
        metrics.applies.list().map(({ operation, success, histogram }) => ({
          labels: { version: "v3", op: operation, success: String(success) },
          value: histogram,
        })),
    ),
    metric(
      "counter",
      "etcd_server_health_success",
      "The total number of successful health checks",
      () => metrics.healthSuccesses,
    ),
    metric(
      "counter",
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
      () => [
        { labels: { server_id: hexId(server.cluster.localId) }, value: 1 },
      ],
    ),
    labelled(
      "gauge",
      "etcd_server_version",
      "Which version is running. 1 for 'server_version' label with current version.",
      () => [
        { labels: { server_version: SERVER_VERSION }, value: 1 },
      ],
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
  ];
}

function storeFamilies(server: EtcdServer): MetricFamily[] {
  const { store, backend } = server;
  return [
    metric(
      "counter",
      "etcd_mvcc_range_total",
      "Total number of ranges seen by this member.",
      () => store.ranges,
    ),
    metric("counter", "etcd_mvcc_put_total", "Total number of puts seen by this member.", () => store.puts),
    metric(
      "counter",
      "etcd_mvcc_delete_total",
      "Total number of deletes seen by this member.",
      () => store.deletes,
    ),
    metric("counter", "etcd_mvcc_txn_total", "Total number of txns seen by this member.", () => store.txns),
    metric(
      "gauge",
      "etcd_mvcc_db_total_size_in_bytes",
      "Total size of the underlying database physically allocated in bytes.",
      () => backend.sizeBytes,
    ),
    metric(
      "gauge",
      "etcd_mvcc_db_total_size_in_use_in_bytes",
      "Total size of the underlying database logically in use in bytes.",
      () => backend.inUseBytes,
    ),
    metric("gauge", "etcd_debugging_mvcc_keys_total", "Total number of keys.", () => store.keyCount),
    metric(
      "gauge",
      "etcd_debugging_mvcc_current_revision",
      "The current revision of store.",
      () => store.currentRevision,
    ),
    metric(
      "gauge",
      "etcd_debugging_mvcc_compact_revision",
      "The revision of the last compaction in store.",
      () => store.compactRevision,
    ),
    metric(
      "gauge",
      "etcd_debugging_mvcc_total_put_size_in_bytes",
      "The total size of put kv pairs seen by this member.",
      () => store.putBytes,
    ),
  ];
}

function leaseFamilies({ lessor }: EtcdServer): MetricFamily[] {
  return [
    metric(
      "counter",
      "etcd_debugging_lease_granted_total",
      "The total number of granted leases.",
      () => lessor.granted,
    ),
    metric(
      "counter",
      "etcd_debugging_lease_revoked_total",
      "The total number of revoked leases.",
      () => lessor.revoked,
    ),
    metric(
      "counter",
      "etcd_debugging_lease_renewed_total",
      "The number of renewed leases seen by the leader.",
      () => lessor.renewed,
    ),
    metric(
      "histogram",
      "etcd_debugging_lease_ttl_total",
      "Bucketed histogram of lease TTLs.",
      () => lessor.ttls,
    ),
    metric(
      "counter",
      "etcd_server_lease_expired_total",
      "The total number of expired leases.",
      () => lessor.expired,
    ),
  ];
}

function diskFamilies(server: EtcdServer): MetricFamily[] {
  const { metrics } = server;
  return [
    metric(
      "histogram",
      "etcd_disk_wal_fsync_duration_seconds",
      "The latency distributions of fsync called by WAL.",
      () => metrics.walSync,
    ),
    metric(
      "gauge",
      "etcd_disk_wal_write_bytes_total",
      "Total number of bytes written in WAL.",
      () => server.walWrittenBytes,
    ),
    metric(
      "histogram",
      "etcd_disk_backend_commit_duration_seconds",
      "The latency distributions of commit called by backend.",
      () => metrics.backendCommit,
    ),
    metric(
      "histogram",
      "etcd_disk_backend_defrag_duration_seconds",
      "The latency distribution of backend defragmentation.",
      () => metrics.defrag,
    ),
    metric(
      "gauge",
      "etcd_disk_defrag_inflight",
      "Whether or not defrag is active on the member. 1 means active, 0 means not.",
      () => metrics.defragInflight,
    ),
  ];
}

function grpcFamilies({ methods, traffic }: MetricsSources): MetricFamily[] {
  const perMethod = (read: (route: Route) => number) => (): Sample[] =>
    [...methods.routes()].map((route) => ({ labels: grpcLabels(route), value: read(route) }));
  return [
    labelled(
      "counter",
      "grpc_server_started_total",
      "Total number of RPCs started on the server.",
      perMethod(({ stats }) => stats.started),
    ),
    labelled(
      "counter",
      "grpc_server_msg_received_total",
      "Total number of RPC stream messages received on the server.",
      perMethod(({ stats }) => stats.received),
    ),
    labelled(
      "counter",
      "grpc_server_msg_sent_total",
      "Total number of gRPC stream messages sent by the server.",
      perMethod(({ stats }) => stats.sent),
    ),
    labelled(
      "counter",
      "grpc_server_handled_total",
      "Total number of RPCs completed on the server, regardless of success or failure.",
      () =>
        [...methods.routes()].flatMap((route) =>
          codeNames.map((name, code) => ({
            labels: { ...grpcLabels(route), grpc_code: name },
            value: route.stats.handled[code]!,
          }))
        ),
    ),
    metric(
      "counter",
      "etcd_network_client_grpc_received_bytes_total",
      "The total number of bytes received from grpc clients.",
      () => traffic.receivedBytes,
    ),
    metric(
      "counter",
      "etcd_network_client_grpc_sent_bytes_total",
      "The total number of bytes sent to grpc clients.",
      () => traffic.sentBytes,
    ),
  ];
}

function grpcLabels({ method }: Route): Record<string, string> {
  return { grpc_type: method.kind, grpc_service: method.service, grpc_method: method.name };
}

function processFamilies(sources: MetricsSources): MetricFamily[] {
  return [
    metric(
      "gauge",
      "process_resident_memory_bytes",
      "Resident memory size in bytes.",
      () => sources.process.residentBytes(),
    ),
    metric(
      "counter",
      "process_cpu_seconds_total",
      "Total user and system CPU time spent in seconds.",
      () => sources.process.cpuSeconds(),
    ),
    metric(
      "gauge",
      "process_start_time_seconds",
      "Start time of the process since unix epoch in seconds.",
      () => sources.startedSeconds,
    ),
    metric(
      "gauge",
      "process_open_fds",
      "Number of open file descriptors.",
      () => sources.process.openFiles() ?? 0,
    ),
    metric(
      "gauge",
      "process_max_fds",
      "Maximum number of open file descriptors.",
      () => sources.process.openFilesMax() ?? 0,
    ),
    metric(
      "gauge",
      "os_fd_used",
      "The number of used file descriptors.",
      () => sources.process.openFiles() ?? 0,
    ),
    metric("gauge", "os_fd_limit", "The file descriptor limit.", () => sources.process.openFilesMax() ?? 0),
  ];
}

function labelled(
  type: MetricFamily["type"],
  name: string,
  help: string,
  samples: () => readonly Sample[],
): MetricFamily {
  return { type, name, help, samples };
}
