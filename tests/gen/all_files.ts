import type { DescFile } from "@bufbuild/protobuf";
import { file_authpb_auth } from "../../src/gen/authpb/auth_pb.ts";
import { file_etcdserverpb_auth } from "../../src/gen/etcdserverpb/auth_pb.ts";
import { file_etcdserverpb_cluster } from "../../src/gen/etcdserverpb/cluster_pb.ts";
import { file_etcdserverpb_header } from "../../src/gen/etcdserverpb/header_pb.ts";
import { file_etcdserverpb_kv } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { file_etcdserverpb_lease } from "../../src/gen/etcdserverpb/lease_pb.ts";
import { file_etcdserverpb_maintenance } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import { file_etcdserverpb_metadata } from "../../src/gen/etcdserverpb/metadata_pb.ts";
import { file_etcdserverpb_raft_internal } from "../../src/gen/etcdserverpb/raft_internal_pb.ts";
import { file_etcdserverpb_watch } from "../../src/gen/etcdserverpb/watch_pb.ts";
import { file_grpc_health_v1_health } from "../../src/gen/grpc/health/v1/health_pb.ts";
import { file_leasepb_lease } from "../../src/gen/leasepb/lease_pb.ts";
import { file_membershippb_membership } from "../../src/gen/membershippb/membership_pb.ts";
import { file_mvccpb_kv } from "../../src/gen/mvccpb/kv_pb.ts";
import { file_raftpb_raft } from "../../src/gen/raftpb/raft_pb.ts";
import { file_snappb_snap } from "../../src/gen/snappb/snap_pb.ts";
import { file_v3electionpb_v3election } from "../../src/gen/v3electionpb/v3election_pb.ts";
import { file_v3lockpb_v3lock } from "../../src/gen/v3lockpb/v3lock_pb.ts";
import { file_versionpb_version } from "../../src/gen/versionpb/version_pb.ts";
import { file_walpb_record } from "../../src/gen/walpb/record_pb.ts";

/** Every generated file descriptor. */
export const allFiles: readonly DescFile[] = [
  file_authpb_auth,
  file_etcdserverpb_auth,
  file_etcdserverpb_cluster,
  file_etcdserverpb_header,
  file_etcdserverpb_kv,
  file_etcdserverpb_lease,
  file_etcdserverpb_maintenance,
  file_etcdserverpb_metadata,
  file_etcdserverpb_raft_internal,
  file_etcdserverpb_watch,
  file_grpc_health_v1_health,
  file_leasepb_lease,
  file_membershippb_membership,
  file_mvccpb_kv,
  file_raftpb_raft,
  file_snappb_snap,
  file_v3electionpb_v3election,
  file_v3lockpb_v3lock,
  file_versionpb_version,
  file_walpb_record,
];
