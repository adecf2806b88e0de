import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { Auth } from "../gen/etcdserverpb/auth_pb.ts";
import { Cluster } from "../gen/etcdserverpb/cluster_pb.ts";
import { KV } from "../gen/etcdserverpb/kv_pb.ts";
import { Lease } from "../gen/etcdserverpb/lease_pb.ts";
import { Maintenance } from "../gen/etcdserverpb/maintenance_pb.ts";
import { Watch } from "../gen/etcdserverpb/watch_pb.ts";
import { Election } from "../gen/v3electionpb/v3election_pb.ts";
import { Lock } from "../gen/v3lockpb/v3lock_pb.ts";

/** What of an etcd is reached by POST as JSON, by the path below "/v3": the paths are etcd's. */
const pathsOf: readonly (readonly [DescService, Readonly<Record<string, string>>])[] = [
  [KV, {
    "kv/range": "Range",
    "kv/put": "Put",
    "kv/deleterange": "DeleteRange",
    "kv/txn": "Txn",
    "kv/compaction": "Compact",
  }],
  [Watch, { "watch": "Watch" }],
  [Lease, {
    "lease/grant": "LeaseGrant",
    "lease/revoke": "LeaseRevoke",
    "lease/keepalive": "LeaseKeepAlive",
    "lease/timetolive": "LeaseTimeToLive",
    "lease/leases": "LeaseLeases",
    "kv/lease/revoke": "LeaseRevoke",
    "kv/lease/timetolive": "LeaseTimeToLive",
    "kv/lease/leases": "LeaseLeases",
  }],
  [Cluster, {
    "cluster/member/add": "MemberAdd",
    "cluster/member/remove": "MemberRemove",
    "cluster/member/update": "MemberUpdate",
    "cluster/member/list": "MemberList",
    "cluster/member/promote": "MemberPromote",
  }],
  [Maintenance, {
    "maintenance/alarm": "Alarm",
    "maintenance/status": "Status",
    "maintenance/defragment": "Defragment",
    "maintenance/hash": "Hash",
    "maintenance/hashkv": "HashKV",
    "maintenance/snapshot": "Snapshot",
    "maintenance/transfer-leadership": "MoveLeader",
    "maintenance/downgrade": "Downgrade",
  }],
  [Auth, {
    "auth/enable": "AuthEnable",
    "auth/disable": "AuthDisable",
    "auth/status": "AuthStatus",
    "auth/authenticate": "Authenticate",
    "auth/user/add": "UserAdd",
    "auth/user/get": "UserGet",
    "auth/user/list": "UserList",
    "auth/user/delete": "UserDelete",
    "auth/user/changepw": "UserChangePassword",
    "auth/user/grant": "UserGrantRole",
    "auth/user/revoke": "UserRevokeRole",
    "auth/role/add": "RoleAdd",
    "auth/role/get": "RoleGet",
    "auth/role/list": "RoleList",
    "auth/role/delete": "RoleDelete",
    "auth/role/grant": "RoleGrantPermission",
    "auth/role/revoke": "RoleRevokePermission",
  }],
  [Lock, { "lock/lock": "Lock", "lock/unlock": "Unlock" }],
  [Election, {
    "election/campaign": "Campaign",
    "election/proclaim": "Proclaim",
    "election/leader": "Leader",
    "election/observe": "Observe",
    "election/resign": "Resign",
  }],
];

/** The method behind each path of the gateway, "/v3/kv/range" and so on. */
export const gatewayBindings: ReadonlyMap<string, DescMethod> = new Map(
  pathsOf.flatMap(([service, paths]) =>
    Object.entries(paths).map(([path, name]): [string, DescMethod] => {
      const method = service.methods.find((candidate) => candidate.name === name);
      if (method === undefined) throw new Error(`${service.typeName} has no method ${name}`);
      return [`/v3/${path}`, method];
    })
  ),
);
