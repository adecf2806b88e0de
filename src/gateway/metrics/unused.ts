import { exponentialBounds, Histogram } from "../../base/histogram.ts";
import { counter, gauge, histogram, type MetricFamily } from "../../base/metrics.ts";

/**
 * Families that count what never happens in this server, and so are 0: whoever looks for them, as a dashboard
 * or a test for missing metrics does, finds the truth.
 */
export function unusedFamilies(): MetricFamily[] {
  const zero = (): number => 0;
  const none = new Histogram(exponentialBounds(0.001, 2, 14));
  const noSaves = new Histogram(exponentialBounds(0.1, 2, 10));
  return [
    // Members that follow or learn: there is none beside this one.
    counter(
      "etcd_server_heartbeat_send_failures_total",
      "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
      zero,
    ),
    counter(
      "etcd_server_learner_promote_successes",
      "The total number of successful learner promotions while this member is leader.",
      zero,
    ),
    // A database sent by the leader.
    gauge(
      "etcd_server_snapshot_apply_in_progress_total",
      "1 if the server is applying the incoming snapshot. 0 if none.",
      zero,
    ),
    histogram(
      "etcd_snap_db_fsync_duration_seconds",
      "The latency distributions of fsyncing .snap.db file",
      () => none,
    ),
    histogram(
      "etcd_snap_db_save_total_duration_seconds",
      "The total latency distributions of v3 snapshot save",
      () => noSaves,
    ),
    // Files of the v2 store: snapshots of the log are records here.
    histogram(
      "etcd_snap_fsync_duration_seconds",
      "The latency distributions of fsync called by snap.",
      () => none,
    ),
    histogram(
      "etcd_debugging_snap_save_marshalling_duration_seconds",
      "The marshalling cost distributions of save called by snapshot.",
      () => none,
    ),
    histogram(
      "etcd_debugging_snap_save_total_duration_seconds",
      "The total latency distributions of save called by snapshot.",
      () => none,
    ),
    // The v2 store itself.
    counter("etcd_debugging_store_expires_total", "Total number of expired keys.", zero),
    counter(
      "etcd_debugging_store_watch_requests_total",
      "Total number of incoming watch requests (new or reestablished).",
      zero,
    ),
    gauge("etcd_debugging_store_watchers", "Count of currently active watchers.", zero),
    // etcd's gRPC proxy, which its server counts as well, and which this is not.
    gauge("etcd_grpc_proxy_cache_hits_total", "Total number of cache hits", zero),
    gauge("etcd_grpc_proxy_cache_keys_total", "Total number of keys/ranges cached", zero),
    gauge("etcd_grpc_proxy_cache_misses_total", "Total number of cache misses", zero),
    counter("etcd_grpc_proxy_events_coalescing_total", "Total number of events coalescing", zero),
    gauge("etcd_grpc_proxy_watchers_coalescing_total", "Total number of current watchers coalescing", zero),
  ];
}
