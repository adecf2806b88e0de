import { counter, gauge, histogram, type MetricFamily } from "../../base/metrics.ts";
import type { EtcdServer } from "../../server/server.ts";

/** Keys, watches and leases. */
export function storeFamilies(server: EtcdServer): MetricFamily[] {
  return [...keyFamilies(server), ...watchFamilies(server), ...leaseFamilies(server)];
}

function keyFamilies({ store, backend, metrics }: EtcdServer): MetricFamily[] {
  return [
    counter(
      "etcd_mvcc_range_total",
      "Total number of ranges seen by this member.",
      () => store.ranges,
    ),
    counter(
      "etcd_mvcc_put_total",
      "Total number of puts seen by this member.",
      () => store.puts,
    ),
    counter(
      "etcd_mvcc_delete_total",
      "Total number of deletes seen by this member.",
      () => store.deletes,
    ),
    counter(
      "etcd_mvcc_txn_total",
      "Total number of txns seen by this member.",
      () => store.txns,
    ),
    gauge(
      "etcd_mvcc_db_total_size_in_bytes",
      "Total size of the underlying database physically allocated in bytes.",
      () => backend.sizeBytes,
    ),
    gauge(
      "etcd_mvcc_db_total_size_in_use_in_bytes",
      "Total size of the underlying database logically in use in bytes.",
      () => backend.inUseBytes,
    ),
    // LMDB's own are of one turn each; these are the reads that stay open for longer.
    gauge(
      "etcd_mvcc_db_open_read_transactions",
      "The number of currently open read transactions",
      () => store.openReads,
    ),
    histogram(
      "etcd_mvcc_hash_duration_seconds",
      "The latency distribution of storage hash operation.",
      () => metrics.hash,
    ),
    histogram(
      "etcd_mvcc_hash_rev_duration_seconds",
      "The latency distribution of storage hash by revision operation.",
      () => metrics.hashRevision,
    ),
    gauge(
      "etcd_debugging_mvcc_keys_total",
      "Total number of keys.",
      () => store.keyCount,
    ),
    gauge(
      "etcd_debugging_mvcc_current_revision",
      "The current revision of store.",
      () => store.currentRevision,
    ),
    gauge(
      "etcd_debugging_mvcc_compact_revision",
      "The revision of the last compaction in store.",
      () => store.compactRevision,
    ),
    gauge(
      "etcd_debugging_mvcc_total_put_size_in_bytes",
      "The total size of put kv pairs seen by this member.",
      () => store.putBytes,
    ),
    histogram(
      "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
      "Bucketed histogram of index compaction pause duration.",
      () => metrics.indexCompactionPauses,
    ),
    histogram(
      "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
      "Bucketed histogram of db compaction pause duration.",
      () => metrics.compactionPauses,
    ),
    histogram(
      "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
      "Bucketed histogram of db compaction total duration.",
      () => metrics.compactions,
    ),
    counter(
      "etcd_debugging_mvcc_db_compaction_keys_total",
      "Total number of db keys compacted.",
      () => metrics.compactedRevisions,
    ),
    gauge(
      "etcd_debugging_mvcc_db_compaction_last",
      "The unix time of the last db compaction. Resets to 0 on start.",
      () => metrics.lastCompactionSeconds,
    ),
  ];
}

function watchFamilies({ watchHub }: EtcdServer): MetricFamily[] {
  return [
    gauge(
      "etcd_debugging_mvcc_watch_stream_total",
      "Total number of watch streams.",
      () => watchHub.streamCount,
    ),
    gauge(
      "etcd_debugging_mvcc_watcher_total",
      "Total number of watchers.",
      () => watchHub.size,
    ),
    gauge(
      "etcd_debugging_mvcc_slow_watcher_total",
      "Total number of unsynced slow watchers.",
      () => watchHub.slowCount,
    ),
    counter(
      "etcd_debugging_mvcc_events_total",
      "Total number of events sent by this member.",
      () => watchHub.sentEvents,
    ),
    gauge(
      "etcd_debugging_mvcc_pending_events_total",
      "Total number of pending events to be sent.",
      () => watchHub.waitingEvents,
    ),
  ];
}

function leaseFamilies({ lessor }: EtcdServer): MetricFamily[] {
  return [
    counter(
      "etcd_debugging_lease_granted_total",
      "The total number of granted leases.",
      () => lessor.granted,
    ),
    counter(
      "etcd_debugging_lease_revoked_total",
      "The total number of revoked leases.",
      () => lessor.revoked,
    ),
    counter(
      "etcd_debugging_lease_renewed_total",
      "The number of renewed leases seen by the leader.",
      () => lessor.renewed,
    ),
    histogram(
      "etcd_debugging_lease_ttl_total",
      "Bucketed histogram of lease TTLs.",
      () => lessor.ttls,
    ),
    counter(
      "etcd_debugging_server_lease_expired_total",
      "The total number of expired leases.",
      () => lessor.expired,
    ),
  ];
}
