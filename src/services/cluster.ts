import { create } from "@bufbuild/protobuf";
import {
  Cluster,
  type Member as WireMember,
  MemberListResponseSchema,
  MemberSchema,
} from "../gen/etcdserverpb/cluster_pb.ts";
import type { Method } from "../grpc/method.ts";
import type { Member } from "../membership/member.ts";
import type { EtcdServer } from "../server/server.ts";
import { clusterHeader } from "./header.ts";
import { messageCodec, unary } from "./methods.ts";

/** etcdserverpb.Cluster: who the members are. */
export function clusterMethods(server: EtcdServer): Method[] {
  const list = Cluster.method.memberList;
  return [
    unary(list, messageCodec(list), async (request) => {
      if (request.linearizable) await server.readBarrier();
      const members = server.cluster.list().map(wireMember);
      return create(MemberListResponseSchema, { header: clusterHeader(server), members });
    }),
  ];
}

function wireMember(member: Member): WireMember {
  return create(MemberSchema, {
    ID: member.id,
    name: member.name,
    peerURLs: [...member.peerUrls],
    clientURLs: [...member.clientUrls],
    isLearner: member.isLearner,
  });
}
