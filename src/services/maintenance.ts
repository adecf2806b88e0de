import { create } from "@bufbuild/protobuf";
import { EtcdError } from "../base/errors.ts";
import { revisionFromWire } from "../base/units.ts";
import {
  AlarmMemberSchema,
  AlarmRequest_AlarmAction as AlarmAction,
  AlarmResponseSchema,
  AlarmType,
  DefragmentResponseSchema,
  HashKVResponseSchema,
  HashResponseSchema,
  Maintenance,
  MoveLeaderResponseSchema,
  StatusResponseSchema,
} from "../gen/etcdserverpb/maintenance_pb.ts";
import { encodeSnapshotResponse } from "../gen/codec/etcdserverpb/maintenance_codec.ts";
import type { Method } from "../grpc/method.ts";
import type { Alarm } from "../server/alarms.ts";
import type { EtcdServer } from "../server/server.ts";
import { SERVER_VERSION, STORAGE_VERSION } from "../server/version.ts";
import { messageHeader } from "./header.ts";
import { messageCodec, streaming, unary } from "./methods.ts";
import { SnapshotStream } from "./snapshot_stream.ts";

/** etcdserverpb.Maintenance: the care of one member. */
export function maintenanceMethods(server: EtcdServer): Method[] {
  const { alarm, status, hash, hashKV, snapshot, defragment, moveLeader } = Maintenance.method;
  return [
    unary(alarm, messageCodec(alarm), async (request) => {
      const alarms = request.action === AlarmAction.GET
        ? server.alarms.list(request.alarm)
        : await server.proposeAlarm(request);
      return create(AlarmResponseSchema, { header: messageHeader(server), alarms: alarms.map(wireAlarm) });
    }),
    unary(status, messageCodec(status), () => statusResponse(server)),
    unary(hash, messageCodec(hash), async () => {
      const value = await server.hashBackend();
      return create(HashResponseSchema, { header: messageHeader(server), hash: value });
    }),
    unary(hashKV, messageCodec(hashKV), async (request) => {
      const { hash, compactRevision, revision } = await server.hashKv(revisionFromWire(request.revision));
      return create(HashKVResponseSchema, {
        header: messageHeader(server),
        hash,
        compactRevision: BigInt(compactRevision),
        hashRevision: request.revision < 0n ? request.revision : BigInt(revision), // As etcd: it comes back.
      });
    }),
    streaming(
      snapshot,
      { decode: messageCodec(snapshot).decode, encode: encodeSnapshotResponse },
      (call) => new SnapshotStream(server, call),
      0,
    ),
    unary(defragment, messageCodec(defragment), async () => {
      await server.defragment();
      return create(DefragmentResponseSchema); // etcd sends no header here.
    }),
    unary(moveLeader, messageCodec(moveLeader), ({ targetID }) => {
      const { leader, cluster: { localId } } = server;
      if (leader !== localId) throw new EtcdError("notLeader");
      // The only member there is leads already.
      if (targetID !== localId) throw new EtcdError("badLeaderTransferee");
      return create(MoveLeaderResponseSchema); // Without a header, as etcd's.
    }),
  ];
}

function statusResponse(server: EtcdServer) {
  const errors = server.alarms.list(AlarmType.NONE).map(alarmText);
  if (server.leader === 0n) errors.unshift(new EtcdError("noLeader", "etcdserver: no leader").message);
  return create(StatusResponseSchema, {
    header: messageHeader(server),
    version: SERVER_VERSION,
    dbSize: BigInt(server.backend.sizeBytes),
    leader: server.leader,
    raftIndex: BigInt(server.committedIndex),
    raftTerm: BigInt(server.term),
    raftAppliedIndex: BigInt(server.appliedIndex),
    errors,
    dbSizeInUse: BigInt(server.backend.inUseBytes),
    isLearner: server.cluster.local?.isLearner ?? false,
    storageVersion: server.cluster.version === undefined ? "" : STORAGE_VERSION,
    dbSizeQuota: Number.isFinite(server.quota.bytes) ? BigInt(server.quota.bytes) : 0n,
    downgradeInfo: { enabled: false },
  });
}

/** An alarm as protobuf's text format prints it: what etcd puts among the errors of a status. */
function alarmText({ memberId, type }: Alarm): string {
  return `memberID:${memberId} alarm:${AlarmType.NOSPACE === type ? "NOSPACE" : "CORRUPT"}`;
}

function wireAlarm({ memberId, type }: Alarm) {
  return create(AlarmMemberSchema, { memberID: memberId, alarm: type });
}
