import { Etcd } from "./src/embed/etcd.ts";
import { loadRuntime } from "./src/runtime/detect.ts";

const runtime = await loadRuntime();
const [dataDir = "default.etcd", port = "2379"] = runtime.process.args;
const line = (level: string) => (message: string, fields?: unknown) =>
  runtime.process.writeErr(
    JSON.stringify({ level, msg: message, ...(fields as object) }, (_, v) =>
      typeof v === "bigint" ? String(v) : v) + "\n",
  );
const etcd = await Etcd.start({
  runtime,
  log: { enabled: () => true, debug() {}, info: line("info"), warn: line("warn"), error: line("error") },
  onFatal: (error) => {
    runtime.process.writeErr(String((error as Error).stack ?? error) + "\n");
    runtime.process.exit(1);
  },
  config: {
    name: "default",
    dataDir,
    walDir: "",
    initialCluster: new Map([["default", ["http://localhost:2380"]]]),
    initialClusterToken: "etcd-cluster",
    advertiseClientUrls: [`http://localhost:${port}`],
    heartbeatMs: 100,
    electionMs: 1000,
    preVote: true,
    snapshotCount: 10000,
    maxWals: 5,
    maxTxnOps: 128,
    maxRequestBytes: 1572864,
    quotaBackendBytes: 0,
    backendBatchIntervalMs: 100,
    backendBatchLimit: 10000,
    compactionBatchLimit: 1000,
    compactionSleepMs: 10,
    autoCompaction: { mode: "off" },
    warningApplyMs: 100,
    warningUnaryRequestMs: 300,
    unsafeNoFsync: false,
    listenClientUrls: [`http://127.0.0.1:${port}`],
    listenPeerUrls: [],
    listenMetricsUrls: [],
    maxConcurrentStreams: 10000,
    grpcKeepaliveMinTimeMs: 5000,
    grpcKeepaliveIntervalMs: 7200000,
    grpcKeepaliveTimeoutMs: 20000,
    metrics: "basic",
  },
});
const stop = () => void etcd.close().then(() => runtime.process.exit(0));
runtime.process.onSignal("SIGTERM", stop);
runtime.process.onSignal("SIGINT", stop);
