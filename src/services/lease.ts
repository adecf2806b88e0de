import { ByteWriter } from "../base/byte_writer.ts";
import { EtcdError } from "../base/errors.ts";
import {
  decodeLeaseGrantRequest,
  decodeLeaseKeepAliveRequest,
  decodeLeaseLeasesRequest,
  decodeLeaseRevokeRequest,
  decodeLeaseTimeToLiveRequest,
  encodeLeaseGrantRequest,
  encodeLeaseGrantResponse,
  encodeLeaseKeepAliveResponse,
  encodeLeaseLeasesResponse,
  encodeLeaseRevokeRequest,
  encodeLeaseRevokeResponse,
  encodeLeaseTimeToLiveResponse,
  type LeaseLeasesResponseInit,
  type LeaseTimeToLiveResponseInit,
} from "../gen/codec/etcdserverpb/lease_codec.ts";
import {
  Lease,
  type LeaseGrantRequest,
  type LeaseRevokeRequest,
  type LeaseTimeToLiveRequest,
} from "../gen/etcdserverpb/lease_pb.ts";
import type { CallContext, Method } from "../grpc/method.ts";
import type { RevisionHeader } from "../mvcc/txn_eval.ts";
import type { LeaseGrantOutcome } from "../server/apply/applier.ts";
import { LEASE_COST_BYTES } from "../server/quota.ts";
import type { EtcdServer } from "../server/server.ts";
import type { HeaderEncoder } from "./header.ts";
import { KeepAliveStream } from "./keep_alive_stream.ts";
import { streaming, unary } from "./methods.ts";

/** etcdserverpb.Lease. */
export function leaseMethods(server: EtcdServer, headers: HeaderEncoder): Method[] {
  const header = (revision: number): Uint8Array => headers.encode(revision, server.term);
  const currentHeader = (): Uint8Array => header(server.store.currentRevision);
  const { leaseGrant, leaseRevoke, leaseKeepAlive, leaseTimeToLive, leaseLeases } = Lease.method;
  return [
    unary(leaseGrant, {
      decode: decodeLeaseGrantRequest,
      encode: (out, { header: { revision }, ID, TTL }: LeaseGrantOutcome) =>
        encodeLeaseGrantResponse(out, { header: header(revision), ID, TTL }),
    }, (request, context) => grant(server, request, context)),
    unary(leaseRevoke, {
      decode: decodeLeaseRevokeRequest,
      encode: (out, reply: { readonly header: RevisionHeader }) =>
        encodeLeaseRevokeResponse(out, { header: header(reply.header.revision) }),
    }, (request, context) => revoke(server, request, context)),
    streaming(leaseKeepAlive, {
      decode: decodeLeaseKeepAliveRequest,
      encode: encodeLeaseKeepAliveResponse,
    }, (call) => new KeepAliveStream(server.leases, call, currentHeader)),
    unary(leaseTimeToLive, {
      decode: decodeLeaseTimeToLiveRequest,
      encode: encodeLeaseTimeToLiveResponse,
    }, async (request) => ({ ...await timeToLive(server, request), header: currentHeader() })),
    unary(leaseLeases, {
      decode: decodeLeaseLeasesRequest,
      encode: encodeLeaseLeasesResponse,
    }, (): LeaseLeasesResponseInit => ({
      header: currentHeader(),
      leases: server.lessor.list().map(({ id }) => ({ ID: id })),
    })),
  ];
}

function grant(server: EtcdServer, request: LeaseGrantRequest, context: CallContext) {
  const refusal = server.checkQuota(LEASE_COST_BYTES);
  if (refusal !== undefined) return refusal;
  if (request.ID !== 0n && context.requestBytes !== undefined) {
    return server.propose<"leaseGrant", LeaseGrantOutcome>("leaseGrant", request, context.requestBytes);
  }
  if (request.ID === 0n) request.ID = server.newLeaseId();
  const out = new ByteWriter();
  encodeLeaseGrantRequest(out, request);
  return server.propose<"leaseGrant", LeaseGrantOutcome>("leaseGrant", request, out.toBytes());
}

function revoke(server: EtcdServer, request: LeaseRevokeRequest, context: CallContext) {
  let bytes = context.requestBytes;
  if (bytes === undefined) {
    const out = new ByteWriter();
    encodeLeaseRevokeRequest(out, request);
    bytes = out.toBytes();
  }
  return server.propose<"leaseRevoke", { readonly header: RevisionHeader }>("leaseRevoke", request, bytes);
}

/** What is left of a lease, by the leader's clock; TTL -1 when there is no such lease. */
async function timeToLive(
  server: EtcdServer,
  { ID, keys }: LeaseTimeToLiveRequest,
): Promise<LeaseTimeToLiveResponseInit> {
  if (!server.canReadNow) await server.readBarrier();
  const { lessor } = server;
  const lease = lessor.get(ID);
  if (lease === undefined) return { ID, TTL: -1 };
  if (!lessor.isPrimary) throw new EtcdError("leaderChanged");
  return {
    ID,
    TTL: server.leases.remainingSeconds(lease),
    grantedTTL: lease.ttlSeconds,
    keys: keys ? lessor.keysOf(lease) : [],
  };
}
