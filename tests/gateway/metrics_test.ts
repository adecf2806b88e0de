import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { Lease } from "../../src/gen/etcdserverpb/lease_pb.ts";
import { Maintenance } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import { codeNames } from "../../src/grpc/status.ts";
import { type EtcdProcess, httpGet, startEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { StreamClient } from "../harness/grpc_stream.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Family {
  readonly type: string;
  /** Names of labels, sorted, without those of buckets. */
  readonly labels: string;
}

interface Scrape {
  readonly families: ReadonlyMap<string, Family>;
  /** By the name with its labels, as printed. */
  readonly values: ReadonlyMap<string, string>;
}

/** Reads the text format, and checks that help, type and samples of a family stand together. */
function parse(text: string): Scrape {
  const families = new Map<string, { type: string; labels: string }>();
  const values = new Map<string, string>();
  const lines = text.split("\n");
  assert.equal(lines.pop(), "", "the last line ends with a newline");
  let name = "";
  for (let i = 0; i < lines.length; i += 1) {
    const line = lines[i]!;
    if (line.startsWith("# HELP ")) {
      name = line.split(" ")[2]!;
      assert.ok(!families.has(name), `${name} comes once`);
      const [, , named, type] = lines[i += 1]!.split(" ");
      assert.equal(named, name);
      families.set(name, { type: type!, labels: "" });
      continue;
    }
    const [, sample, suffix = "", labels = "", value] =
      /^([A-Za-z_]+?)(_bucket|_sum|_count)?(?:\{(.*)\})? (\S+)$/.exec(line)!;
    const family = families.get(name)!;
    assert.equal(family.type === "histogram" ? sample : `${sample}${suffix}`, name);
    const names = [...labels.matchAll(/(\w+)="/g)].map(([, label]) => label!).filter((label) =>
      label !== "le"
    );
    family.labels = names.join(",");
    const key = line.slice(0, line.lastIndexOf(" "));
    assert.ok(!values.has(key), `${key} comes once`);
    values.set(key, value!);
  }
  return { families, values };
}

async function scrape(etcd: EtcdProcess): Promise<Scrape> {
  const { status, body } = await httpGet(etcd.port, "/metrics");
  assert.equal(status, 200);
  return parse(body);
}

/** Families of etcd, and why those that this server leaves out are not there. */
function etcdFamilies(): { name: string; family: Family; absent: string | undefined }[] {
  const text = readFileSync(new URL("testdata/etcd_families.txt", import.meta.url), "utf8");
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).map((line) => {
    const [, name, type, labels, absent] = /^(\w+) (\w+) \{([\w,]*)\}(?: \((.+)\))?$/.exec(line)!;
    return { name: name!, family: { type: type!, labels: labels! }, absent };
  });
}

/** Puts, deletes, leases and watches, of which the counts are known. */
async function session(etcd: EtcdProcess): Promise<void> {
  const client = await GrpcClient.connect(etcd.port);
  const streams = await StreamClient.connect(etcd.port);
  try {
    const metadata = [["client-api-version", "3.7"]] as const;
    for (const key of ["a", "b"]) {
      await client.call(KV.method.put, { key: bytes(key), value: bytes("12") }, { metadata });
    }
    const watcher = streams.watch();
    watcher.create({ key: bytes("a"), rangeEnd: bytes("c"), startRevision: 2n });
    assert.equal((await watcher.next()).created, true);
    for (let events = 0; events < 2;) events += (await watcher.next()).events.length;
    for (const key of ["a", "a", "missing"]) {
      await client.call(KV.method.deleteRange, { key: bytes(key) }, { metadata });
    }
    assert.equal((await watcher.next()).events.length, 1);
    watcher.stream.cancel();
    await client.call(KV.method.range, { key: bytes("b") });
    await client.call(KV.method.range, { key: bytes("b"), revision: 99n });
    const request = { case: "requestRange", value: { key: bytes("b") } } as const;
    await client.call(KV.method.txn, { success: [{ request }, { request }] });
    await client.call(Lease.method.leaseGrant, { TTL: 100n });
    await client.call(Maintenance.method.hashKV, {});
    await client.call(KV.method.compact, { revision: 4n, physical: true });
  } finally {
    await streams.close();
    await client.close();
  }
}

/** What `session` comes to, and one read of /health before it, which told that the server was ready. */
const counted: Readonly<Record<string, string>> = {
  etcd_mvcc_put_total: "2",
  etcd_mvcc_delete_total: "3",
  etcd_mvcc_txn_total: "1",
  etcd_debugging_mvcc_keys_total: "1",
  etcd_debugging_mvcc_total_put_size_in_bytes: "6",
  etcd_debugging_mvcc_current_revision: "4",
  etcd_debugging_mvcc_compact_revision: "4",
  etcd_debugging_mvcc_db_compaction_keys_total: "1",
  etcd_debugging_mvcc_db_compaction_total_duration_milliseconds_count: "1",
  etcd_debugging_mvcc_watch_stream_total: "0",
  etcd_debugging_mvcc_watcher_total: "0",
  etcd_debugging_mvcc_slow_watcher_total: "0",
  etcd_debugging_mvcc_events_total: "3",
  etcd_debugging_mvcc_pending_events_total: "0",
  etcd_debugging_lease_granted_total: "1",
  'etcd_debugging_lease_ttl_total_bucket{le="64"}': "0",
  'etcd_debugging_lease_ttl_total_bucket{le="128"}': "1",
  etcd_debugging_lease_ttl_total_sum: "100",
  etcd_mvcc_hash_rev_duration_seconds_count: "1",
  etcd_server_has_leader: "1",
  etcd_server_proposals_pending: "0",
  etcd_server_proposals_failed_total: "0",
  etcd_server_quota_backend_bytes: "2.147483648e+09",
  'etcd_server_request_duration_seconds_count{success="true",type="Put"}': "2",
  'etcd_server_request_duration_seconds_count{success="true",type="Range"}': "2",
  'etcd_server_request_duration_seconds_count{success="false",type="Range"}': "1",
  'etcd_server_request_duration_seconds_count{success="true",type="ReadonlyTxn"}': "1",
  'etcd_server_apply_duration_seconds_count{op="DeleteRange",success="true",version="v3"}': "3",
  'etcd_server_range_duration_seconds_count{success="true"}': "2",
  'etcd_server_client_requests_total{client_api_version="3.7",type="unary"}': "5",
  'etcd_server_feature_enabled{name="LeaseCheckpoint",stage="ALPHA"}': "1",
  'promhttp_metric_handler_requests_total{code="200"}': "1",
  ...handled("KV", "Put", "unary", { OK: 2 }),
  ...handled("KV", "Range", "unary", { OK: 1, OutOfRange: 1 }),
  ...handled("KV", "DeleteRange", "unary", { OK: 3 }),
  ...handled("Watch", "Watch", "bidi_stream", { Canceled: 1 }),
  ...handled("Maintenance", "Snapshot", "server_stream", {}),
  ...sample("grpc_server_started_total", "Watch", "Watch", "bidi_stream", 1),
  ...sample("grpc_server_msg_received_total", "Watch", "Watch", "bidi_stream", 1),
  ...sample("grpc_server_handling_seconds_count", "KV", "Range", "unary", 2),
  ...sample("grpc_server_handling_seconds_count", "Watch", "Watch", "bidi_stream", 1),
  ...sample("grpc_server_handling_seconds_count", "Maintenance", "Snapshot", "server_stream", 0),
};

function sample(name: string, service: string, method: string, type: string, value: number) {
  const labels = `grpc_method="${method}",grpc_service="etcdserverpb.${service}",grpc_type="${type}"`;
  return { [`${name}{${labels}}`]: String(value) };
}

/** All codes of a method: those that are not named are 0. */
function handled(service: string, method: string, type: string, counts: Readonly<Record<string, number>>) {
  const labels = `grpc_method="${method}",grpc_service="etcdserverpb.${service}",grpc_type="${type}"`;
  return Object.fromEntries(
    codeNames.map((code) => [
      `grpc_server_handled_total{grpc_code="${code}",${labels}}`,
      String(counts[code] ?? 0),
    ]),
  );
}

test("/metrics has etcd's families, and counts what is done", async () => {
  const flags = ["--metrics=extensive", "--feature-gates=LeaseCheckpoint=true"];
  const etcd = await startEtcd({ flags });
  try {
    const fresh = await scrape(etcd);
    assert.equal(fresh.values.get("etcd_mvcc_put_total"), "0");
    assert.equal(fresh.values.get("etcd_debugging_mvcc_db_compaction_last"), "0");
    await session(etcd);
    const { families, values } = await scrape(etcd);
    const wrong = Object.entries(counted).filter(([key, value]) => values.get(key) !== value);
    assert.deepEqual(wrong.map(([key, value]) => [key, values.get(key), `not ${value}`]), []);
    for (const { name, family, absent } of etcdFamilies()) {
      if (absent === undefined) assert.deepEqual([name, families.get(name)], [name, family]);
      else assert.ok(!families.has(name), `${name} is listed as left out: ${absent}`);
    }
    // Ready, before the first scrape, was asked of /health.
    assert.ok(Number(values.get("etcd_server_health_success")) >= 1);
    assert.ok(Number(values.get("etcd_disk_wal_fsync_duration_seconds_count")) >= 6);
    assert.ok(Number(values.get("process_virtual_memory_bytes")) > 1e6);
  } finally {
    await etcd.stop();
  }
});

test("/metrics has no durations of calls unless they are asked for", async () => {
  const etcd = await startEtcd();
  try {
    const { families } = await scrape(etcd);
    assert.ok(!families.has("grpc_server_handling_seconds"));
    assert.ok(families.has("grpc_server_handled_total"));
  } finally {
    await etcd.stop();
  }
});
