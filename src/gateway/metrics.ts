import { gauge, labelled, type MetricFamily, renderMetrics } from "../base/metrics.ts";
import { diskFamilies } from "./metrics/disk.ts";
import { grpcFamilies } from "./metrics/grpc.ts";
import { processFamilies } from "./metrics/process.ts";
import { serverFamilies } from "./metrics/server.ts";
import type { MetricsSources } from "./metrics/sources.ts";
import { storeFamilies } from "./metrics/store.ts";
import { unusedFamilies } from "./metrics/unused.ts";

/**
 * A function that renders etcd's metric families, with its names, labels, buckets and help texts. Values are
 * read when it is called. Families of etcd that mean nothing here are left out:
 *
 *     etcd_debugging_auth_revision                     until there is a store of users and roles
 *     etcd_debugging_disk_backend_commit_*             phases of bbolt's commit, which LMDB's does not have
 *     etcd_debugging_server_watch_send_loop_*          there is no loop per stream: events are sent in the turn
 *                                                      that applies them, in one pass over all watchers
 *     etcd_network_peer_*, …_active_peers, …_snapshot_*  begin to be counted with the first peer
 *     go_gc_*, go_memstats_*, go_goroutines, go_sched_*  Go's collector, allocator and scheduler
 */
export function metricsRenderer(sources: MetricsSources): () => string {
  const scrapes = { succeeded: 0, failed: 0 };
  const families = [
    ...serverFamilies(sources),
    ...storeFamilies(sources.server),
    ...diskFamilies(sources.server),
    ...grpcFamilies(sources),
    ...processFamilies(sources),
    ...scrapeFamilies(scrapes),
    ...unusedFamilies(),
  ];
  return () => {
    try {
      const text = renderMetrics(families);
      scrapes.succeeded += 1;
      return text;
    } catch (error) {
      scrapes.failed += 1;
      throw error;
    }
  };
}

/** What Prometheus's handler for Go says of itself. One scrape is rendered at a time, in one turn. */
function scrapeFamilies(scrapes: { readonly succeeded: number; readonly failed: number }): MetricFamily[] {
  return [
    gauge("promhttp_metric_handler_requests_in_flight", "Current number of scrapes being served.", () => 1),
    labelled(
      "counter",
      "promhttp_metric_handler_requests_total",
      "Total number of scrapes by HTTP status code.",
      () => [
        { labels: { code: "200" }, value: scrapes.succeeded },
        { labels: { code: "500" }, value: scrapes.failed },
        { labels: { code: "503" }, value: 0 },
      ],
    ),
  ];
}
