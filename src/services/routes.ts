import type { DescService } from "@bufbuild/protobuf";
import { Cluster } from "../gen/etcdserverpb/cluster_pb.ts";
import { KV } from "../gen/etcdserverpb/kv_pb.ts";
import { Lease } from "../gen/etcdserverpb/lease_pb.ts";
import { Maintenance } from "../gen/etcdserverpb/maintenance_pb.ts";
import { Watch } from "../gen/etcdserverpb/watch_pb.ts";
import { BrowserService } from "../gen/etcdts/v1/browser_pb.ts";
import { Election } from "../gen/v3electionpb/v3election_pb.ts";
import { Lock } from "../gen/v3lockpb/v3lock_pb.ts";
import { Health } from "../gen/grpc/health/v1/health_pb.ts";
import type { Method } from "../grpc/method.ts";
import type { EtcdServer } from "../server/server.ts";
import { browserMethods } from "./browser.ts";
import { clusterMethods } from "./cluster.ts";
import { electionMethods } from "./election.ts";
import { HeaderEncoder } from "./header.ts";
import { healthMethods } from "./health.ts";
import { kvMethods } from "./kv.ts";
import { leaseMethods } from "./lease.ts";
import { lockMethods } from "./lock.ts";
import { maintenanceMethods } from "./maintenance.ts";
import { watchMethods } from "./watch.ts";

/** Every method this server has: the one handler set that all protocols reach. */
export function etcdMethods(server: EtcdServer): Method[] {
  const headers = new HeaderEncoder(server.cluster.id, server.cluster.localId);
  const methods = [
    ...kvMethods(server, headers),
    ...watchMethods(server, headers),
    ...leaseMethods(server, headers),
    ...clusterMethods(server),
    ...maintenanceMethods(server),
    ...lockMethods(server),
    ...electionMethods(server),
    ...healthMethods(),
  ];
  return [...methods, ...browserMethods(methods)];
}

/** The services that have methods here, for protocols that are generated from their descriptors. */
export const etcdServices: readonly DescService[] = [
  KV,
  Watch,
  Lease,
  Cluster,
  Maintenance,
  Lock,
  Election,
  Health,
  BrowserService,
];
