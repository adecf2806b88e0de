#!/usr/bin/env node
import { loadRuntime } from "./src/runtime/detect.ts";

export { startEtcd, type StartEtcdOptions } from "./src/embed/start_etcd.ts";
export type { Etcd } from "./src/embed/etcd.ts";
export { KV } from "./src/gen/etcdserverpb/kv_pb.ts";
export { Watch } from "./src/gen/etcdserverpb/watch_pb.ts";
export { Lease } from "./src/gen/etcdserverpb/lease_pb.ts";
export { Cluster } from "./src/gen/etcdserverpb/cluster_pb.ts";
export { Maintenance } from "./src/gen/etcdserverpb/maintenance_pb.ts";
export { Lock } from "./src/gen/v3lockpb/v3lock_pb.ts";
export { Election } from "./src/gen/v3electionpb/v3election_pb.ts";
export { ConfigError } from "./src/embed/config_error.ts";
export { type ErrorCode, EtcdError } from "./src/base/errors.ts";
export type { Log, LogField, LogFields, LogLevel } from "./src/ports/log.ts";

if (import.meta.main) {
  const { runEtcd } = await import("./src/cli/etcd/main.ts");
  await runEtcd(await loadRuntime());
}
