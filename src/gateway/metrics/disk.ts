import { gauge, histogram, type MetricFamily } from "../../base/metrics.ts";
import type { EtcdServer } from "../../server/server.ts";

/** The log and the backend. */
export function diskFamilies(server: EtcdServer): MetricFamily[] {
  const { metrics } = server;
  return [
    histogram(
      "etcd_disk_wal_fsync_duration_seconds",
      "The latency distributions of fsync called by WAL.",
      () => metrics.walSync,
    ),
    histogram(
      "etcd_disk_wal_write_duration_seconds",
      "The latency distributions of write called by WAL.",
      () => metrics.walWrite,
    ),
    gauge(
      "etcd_disk_wal_write_bytes_total",
      "Total number of bytes written in WAL.",
      () => server.walWrittenBytes,
    ),
    histogram(
      "etcd_disk_backend_commit_duration_seconds",
      "The latency distributions of commit called by backend.",
      () => metrics.backendCommit,
    ),
    histogram(
      "etcd_disk_backend_snapshot_duration_seconds",
      "The latency distribution of backend snapshots.",
      () => metrics.snapshotTransfer,
    ),
    histogram(
      "etcd_disk_backend_defrag_duration_seconds",
      "The latency distribution of backend defragmentation.",
      () => metrics.defrag,
    ),
    gauge(
      "etcd_disk_defrag_inflight",
      "Whether or not defrag is active on the member. 1 means active, 0 means not.",
      () => metrics.defragInflight,
    ),
  ];
}
