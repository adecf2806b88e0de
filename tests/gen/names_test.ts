import { test } from "node:test";
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { factsOfDeclarations, factsOfDescriptors, type ProtoFacts } from "../harness/proto_facts.ts";
import { emptyDeclarations, parseProto } from "../harness/proto_parser.ts";
import { allFiles } from "./all_files.ts";

// Every name, number and type of our protocol against .proto files that others ship: those of the npm package
// `etcd3` (of the time of etcd 3.5) and of Debian's package `golang-etcd-server-dev` (etcd 3.4). What is newer than
// both is listed here. With ETCD_PROTOS set to directories (separated by ":") that hold the complete sources of etcd
// and raft, the whole is checked against those too.

const ETCD3_DIRECTORY = "node_modules/etcd3/proto";
const DEBIAN_DIRECTORY = "/usr/share/gocode/src/go.etcd.io/etcd";

/** Newer than both sources: what it came with, the name, the fact. */
const newer: readonly (readonly [since: string, name: string, fact: string])[] = [
  ["etcd 3.5", "etcdserverpb.AuthUserAddRequest.hashedPassword", "4 string"],
  ["etcd 3.5", "etcdserverpb.AuthUserChangePasswordRequest.hashedPassword", "3 string"],
  ["etcd 3.5", "etcdserverpb.InternalRaftRequest.auth_status", "1013 etcdserverpb.AuthStatusRequest"],
  [
    "etcd 3.5",
    "etcdserverpb.InternalRaftRequest.cluster_version_set",
    "1300 membershippb.ClusterVersionSetRequest",
  ],
  [
    "etcd 3.5",
    "etcdserverpb.InternalRaftRequest.cluster_member_attr_set",
    "1301 membershippb.ClusterMemberAttrSetRequest",
  ],
  [
    "etcd 3.5",
    "etcdserverpb.InternalRaftRequest.downgrade_info_set",
    "1302 membershippb.DowngradeInfoSetRequest",
  ],
  ["etcd 3.5", "membershippb.RaftAttributes", "message"],
  ["etcd 3.5", "membershippb.RaftAttributes.peer_urls", "1 repeated string"],
  ["etcd 3.5", "membershippb.RaftAttributes.is_learner", "2 bool"],
  ["etcd 3.5", "membershippb.Attributes", "message"],
  ["etcd 3.5", "membershippb.Attributes.name", "1 string"],
  ["etcd 3.5", "membershippb.Attributes.client_urls", "2 repeated string"],
  ["etcd 3.5", "membershippb.Member", "message"],
  ["etcd 3.5", "membershippb.Member.ID", "1 uint64"],
  ["etcd 3.5", "membershippb.Member.raft_attributes", "2 membershippb.RaftAttributes"],
  ["etcd 3.5", "membershippb.Member.member_attributes", "3 membershippb.Attributes"],
  ["etcd 3.5", "membershippb.ClusterVersionSetRequest", "message"],
  ["etcd 3.5", "membershippb.ClusterVersionSetRequest.ver", "1 string"],
  ["etcd 3.5", "membershippb.ClusterMemberAttrSetRequest", "message"],
  ["etcd 3.5", "membershippb.ClusterMemberAttrSetRequest.member_ID", "1 uint64"],
  ["etcd 3.5", "membershippb.ClusterMemberAttrSetRequest.member_attributes", "2 membershippb.Attributes"],
  ["etcd 3.5", "membershippb.DowngradeInfoSetRequest", "message"],
  ["etcd 3.5", "membershippb.DowngradeInfoSetRequest.enabled", "1 bool"],
  ["etcd 3.5", "membershippb.DowngradeInfoSetRequest.ver", "2 string"],
  ["etcd 3.5", "walpb.Snapshot.conf_state", "3 raftpb.ConfState"],
  ["etcd 3.6", "etcdserverpb.StatusResponse.storageVersion", "11 string"],
  ["etcd 3.6", "etcdserverpb.StatusResponse.dbSizeQuota", "12 int64"],
  ["etcd 3.6", "etcdserverpb.StatusResponse.downgradeInfo", "13 etcdserverpb.DowngradeInfo"],
  ["etcd 3.6", "etcdserverpb.DowngradeInfo", "message"],
  ["etcd 3.6", "etcdserverpb.DowngradeInfo.enabled", "1 bool"],
  ["etcd 3.6", "etcdserverpb.DowngradeInfo.targetVersion", "2 string"],
  ["etcd 3.6", "etcdserverpb.HashKVResponse.hash_revision", "4 int64"],
  ["etcd 3.6", "etcdserverpb.SnapshotResponse.version", "4 string"],
  ["etcd 3.6", "etcdserverpb.DowngradeVersionTestRequest", "message"],
  ["etcd 3.6", "etcdserverpb.DowngradeVersionTestRequest.ver", "1 string"],
  [
    "etcd 3.6",
    "etcdserverpb.InternalRaftRequest.downgrade_version_test",
    "9900 etcdserverpb.DowngradeVersionTestRequest",
  ],
  ["etcd 3.6", "google.protobuf.MessageOptions.(etcd_version_msg)", "50000 string"],
  ["etcd 3.6", "google.protobuf.FieldOptions.(etcd_version_field)", "50001 string"],
  ["etcd 3.6", "google.protobuf.EnumOptions.(etcd_version_enum)", "50002 string"],
  ["etcd 3.6", "google.protobuf.EnumValueOptions.(etcd_version_enum_value)", "50003 string"],
  ["etcd 3.7", "etcdserverpb.RangeStreamResponse", "message"],
  ["etcd 3.7", "etcdserverpb.RangeStreamResponse.range_response", "1 etcdserverpb.RangeResponse"],
  [
    "etcd 3.7",
    "etcdserverpb.KV.RangeStream",
    "(etcdserverpb.RangeRequest) returns (stream etcdserverpb.RangeStreamResponse)",
  ],
  ["raft 3.6", "raftpb.Message.vote", "13 uint64"],
  ["raft 3.6", "raftpb.Message.responses", "14 repeated raftpb.Message"],
  ["raft 3.6", "raftpb.MessageType.MsgStorageAppend", "19"],
  ["raft 3.6", "raftpb.MessageType.MsgStorageAppendResp", "20"],
  ["raft 3.6", "raftpb.MessageType.MsgStorageApply", "21"],
  ["raft 3.6", "raftpb.MessageType.MsgStorageApplyResp", "22"],
  ["raft 3.6", "raftpb.MessageType.MsgForgetLeader", "23"],
  ["gRPC", "grpc.health.v1.HealthCheckRequest", "message"],
  ["gRPC", "grpc.health.v1.HealthCheckRequest.service", "1 string"],
  ["gRPC", "grpc.health.v1.HealthCheckResponse", "message"],
  ["gRPC", "grpc.health.v1.HealthCheckResponse.status", "1 grpc.health.v1.HealthCheckResponse.ServingStatus"],
  ["gRPC", "grpc.health.v1.HealthCheckResponse.ServingStatus", "enum"],
  ["gRPC", "grpc.health.v1.HealthCheckResponse.ServingStatus.UNKNOWN", "0"],
  ["gRPC", "grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING", "1"],
  ["gRPC", "grpc.health.v1.HealthCheckResponse.ServingStatus.NOT_SERVING", "2"],
  ["gRPC", "grpc.health.v1.HealthCheckResponse.ServingStatus.SERVICE_UNKNOWN", "3"],
  ["gRPC", "grpc.health.v1.HealthListRequest", "message"],
  ["gRPC", "grpc.health.v1.HealthListResponse", "message"],
  ["gRPC", "grpc.health.v1.HealthListResponse.statuses", "1 map<string,grpc.health.v1.HealthCheckResponse>"],
  ["gRPC", "grpc.health.v1.Health", "service"],
  [
    "gRPC",
    "grpc.health.v1.Health.Check",
    "(grpc.health.v1.HealthCheckRequest) returns (grpc.health.v1.HealthCheckResponse)",
  ],
  [
    "gRPC",
    "grpc.health.v1.Health.List",
    "(grpc.health.v1.HealthListRequest) returns (grpc.health.v1.HealthListResponse)",
  ],
  [
    "gRPC",
    "grpc.health.v1.Health.Watch",
    "(grpc.health.v1.HealthCheckRequest) returns (stream grpc.health.v1.HealthCheckResponse)",
  ],
];

/** In a source, and not in etcd 3.7: the v2 API, and its field in the log entry. */
const gone = /^etcdserverpb\.(Request(\.|$)|InternalRaftRequest\.v2$)/;

const ours = factsOfDescriptors(allFiles);
const etcd3 = factsUnder([ETCD3_DIRECTORY]);
const debian = factsUnder([DEBIAN_DIRECTORY]);
const complete = factsUnder(process.env["ETCD_PROTOS"]?.split(":") ?? []);

/** The facts of the .proto files in directories and below; undefined when there are none. */
function factsUnder(directories: readonly string[]): ProtoFacts | undefined {
  const declared = emptyDeclarations();
  for (const directory of directories.filter((path) => existsSync(path))) {
    for (const path of readdirSync(directory, { recursive: true, encoding: "utf8" })) {
      // Its functional tests have a protocol of their own.
      if (!path.endsWith(".proto") || path.startsWith("functional/")) continue;
      parseProto(readFileSync(`${directory}/${path}`, "utf8"), declared);
    }
  }
  return declared.messages.size === 0 ? undefined : factsOfDeclarations(declared);
}

/** What of `theirs` is different in `mine` or not there. */
function differences(theirs: ProtoFacts, mine: ProtoFacts): string[] {
  const found: string[] = [];
  for (const [name, fact] of theirs) {
    if (mine.get(name) !== fact && !gone.test(name)) found.push(`${name}: ${fact}, ours: ${mine.get(name)}`);
  }
  return found;
}

/** etcd3 writes the names of enum values its own way: NOT_EQUAL is NotEqual. */
function foldEnumValues(facts: ProtoFacts): ProtoFacts {
  const fold = (name: string) => {
    const dot = name.lastIndexOf(".");
    return name.slice(0, dot + 1) + name.slice(dot + 1).replaceAll("_", "").toUpperCase();
  };
  return new Map([...facts].map(([name, fact]) => [/^\d+$/.test(fact) ? fold(name) : name, fact]));
}

test("descriptors agree with every name, number and type in the npm package etcd3", {
  skip: etcd3 === undefined ? "the npm package etcd3 is not installed" : false,
}, () => {
  assert.ok(etcd3!.size > 400, `only ${etcd3!.size} facts were read`);
  assert.deepEqual(differences(foldEnumValues(etcd3!), foldEnumValues(ours)), []);
});

test("descriptors agree with every name, number and type in Debian's golang-etcd-server-dev", {
  skip: debian === undefined ? "golang-etcd-server-dev is not installed" : false,
}, () => {
  assert.ok(debian!.size > 500, `only ${debian!.size} facts were read`);
  assert.deepEqual(differences(debian!, ours), []);
});

test("descriptors hold nothing that no source knows, except what is listed as newer", {
  skip: etcd3 === undefined || debian === undefined ? "needs both etcd3 and golang-etcd-server-dev" : false,
}, () => {
  const folded = foldEnumValues(etcd3!);
  const listed = new Map(newer.map(([, name, fact]) => [name, fact]));
  const unknown: string[] = [];
  for (const [name, fact] of ours) {
    const inSource = debian!.has(name) || folded.has(name) ||
      folded.has([...foldEnumValues(new Map([[name, fact]])).keys()][0]!);
    if (inSource === listed.has(name)) {
      unknown.push(`${name}: ${inSource ? "listed as newer, yet in a source" : fact}`);
    }
  }
  assert.deepEqual(unknown, []);
});

test("descriptors hold what is listed as newer than the sources", () => {
  const wrong = newer.filter(([, name, fact]) => ours.get(name) !== fact);
  assert.deepEqual(wrong, []);
});

test("descriptors and the complete sources of etcd and raft are the same", {
  skip: complete === undefined ? "ETCD_PROTOS is not set" : false,
}, () => {
  assert.deepEqual(differences(complete!, ours), []);
  // The health service is gRPC's.
  const extra = [...ours.keys()].filter((name) =>
    !complete!.has(name) && !name.startsWith("grpc.health.v1.")
  );
  assert.deepEqual(extra, []);
});
