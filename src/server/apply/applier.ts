import { deleteAlarm, putAlarm } from "../../backend/schema/alarm_table.ts";
import { putMember, writeClusterVersion } from "../../backend/schema/member_table.ts";
import { assert } from "../../base/assert.ts";
import { EMPTY_BYTES } from "../../base/bytes.ts";
import { EtcdError } from "../../base/errors.ts";
import type { Pending } from "../../base/pending.ts";
import { revisionFromWire } from "../../base/units.ts";
import type { PutRequest, TxnRequest } from "../../gen/etcdserverpb/kv_pb.ts";
import {
  type AlarmRequest,
  AlarmRequest_AlarmAction as AlarmAction,
  AlarmType,
} from "../../gen/etcdserverpb/maintenance_pb.ts";
import { decodeInternalRaftRequest } from "../../gen/codec/etcdserverpb/raft_internal_codec.ts";
import type { ClusterMemberAttrSetRequest } from "../../gen/membershippb/membership_pb.ts";
import type { Clock } from "../../ports/clock.ts";
import type { Lessor } from "../../lease/lessor.ts";
import type { Cluster } from "../../membership/cluster.ts";
import type { Store } from "../../mvcc/store.ts";
import { executeDeleteRange, executePut, executeTxn, type RevisionHeader } from "../../mvcc/txn_eval.ts";
import type { Alarm, Alarms } from "../alarms.ts";
import type { Proposal, RaftRequests, RequestKind } from "../proposals.ts";
import { LEASE_COST_BYTES, putCost, type Quota, txnCost } from "../quota.ts";

/** The parts of the state machine that requests change. */
export interface ApplyTarget {
  readonly store: Store;
  readonly lessor: Lessor;
  readonly cluster: Cluster;
  readonly alarms: Alarms;
  readonly quota: Quota;
  /** For metrics and the expiry of leases, never for a result. */
  readonly clock: Clock;
  /** `sinceProposedMs` is undefined for a request of another member, or of the log at a restart. */
  readonly onApplied: (
    kind: RequestKind,
    succeeded: boolean,
    tookMs: number,
    sinceProposedMs: number | undefined,
  ) => void;
  /** Raises the alarm of a full store; settled when it has been applied. */
  readonly onQuotaReached: () => Pending<unknown>;
  /** A compaction has been scheduled: its work is to be done. */
  readonly onCompactionScheduled: () => void;
  readonly onLeaseRevoked: (id: bigint) => void;
  readonly onClusterVersion: (version: string) => void;
}

export interface LeaseGrantOutcome {
  readonly header: RevisionHeader;
  readonly ID: bigint;
  /** Seconds. */
  readonly TTL: number;
}

/**
 * Applies requests of the log, each to its end in one turn. What a request comes to depends on the log
 * before it and on nothing else, so that every member comes to the same; an `EtcdError` is such a result.
 */
export class Applier {
  readonly #target: ApplyTarget;

  constructor(target: ApplyTarget) {
    this.#target = target;
  }

  /** Applies the request of a committed entry. `proposal` is set, and settled, on the member that proposed it. */
  apply(data: Uint8Array, proposal: Proposal | undefined): void {
    if (proposal === undefined) {
      const request = decodeRequest(data);
      if (request === undefined) return;
      try {
        this.#execute(request.kind, request.request, undefined);
      } catch (error) {
        if (!(error instanceof EtcdError)) throw error; // Whoever proposed it has been told.
      }
      return;
    }
    let result: unknown;
    try {
      result = this.#execute(proposal.kind, proposal.request, proposal.proposedMs);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      this.#fail(proposal, error);
      return;
    }
    proposal.resolve(result);
  }

  /** The quota may turn out to be reached only here: who is told so finds the alarm raised. */
  #fail(proposal: Proposal, error: EtcdError): void {
    const { alarms, onQuotaReached } = this.#target;
    if (error.code !== "noSpace" || alarms.noSpace) return proposal.reject(error);
    const reject = (): void => proposal.reject(error);
    onQuotaReached().observe({ onValue: reject, onError: reject });
  }

  #execute(
    kind: RequestKind,
    request: RaftRequests[RequestKind],
    proposedMs: number | undefined,
  ): unknown {
    const { clock, onApplied } = this.#target;
    // The end of the entry before it, whose answer is written meanwhile, or the beginning of the round.
    const startedMs = clock.recentMs;
    let succeeded = false;
    try {
      const result = this.#dispatch(kind, request, proposedMs !== undefined);
      succeeded = true;
      return result;
    } finally {
      const endedMs = clock.monotonicMs();
      const sinceProposedMs = proposedMs === undefined ? undefined : endedMs - proposedMs;
      onApplied(kind, succeeded, endedMs - startedMs, sinceProposedMs);
    }
  }

  /** Alarms take writes away, the quota takes them away at the last moment: etcd's order of checks. */
  #dispatch(kind: RequestKind, request: RaftRequests[RequestKind], isAwaited: boolean): unknown {
    const { store, alarms, quota } = this.#target;
    switch (kind) {
      case "put": {
        const put = request as PutRequest;
        if (alarms.raised) this.#checkAlarms(true);
        const outcome = executePut(store, put);
        if (quota.isExceededBy(putCost(put))) throw new EtcdError("noSpace");
        return outcome;
      }
      case "txn": {
        const txn = request as TxnRequest;
        const cost = txnCost(txn);
        if (alarms.raised) this.#checkAlarms(cost > 0);
        const outcome = executeTxn(store, txn, !isAwaited);
        if (cost > 0 && quota.isExceededBy(cost)) throw new EtcdError("noSpace");
        return outcome;
      }
      case "deleteRange":
        this.#checkAlarms(false);
        return executeDeleteRange(store, request as RaftRequests["deleteRange"]);
      case "compaction":
        this.#checkAlarms(false);
        return this.#compact(request as RaftRequests["compaction"]);
      case "leaseGrant":
        if (alarms.raised) this.#checkAlarms(true);
        return this.#grantLease(request as RaftRequests["leaseGrant"]);
      case "leaseRevoke":
        this.#checkAlarms(false);
        return this.#revokeLease((request as RaftRequests["leaseRevoke"]).ID);
      case "leaseCheckpoint":
        return this.#checkpointLeases(request as RaftRequests["leaseCheckpoint"]);
      case "alarm":
        return this.#alarm(request as AlarmRequest);
      case "clusterVersionSet":
        return this.#setClusterVersion((request as RaftRequests["clusterVersionSet"]).ver);
      case "clusterMemberAttrSet":
        return this.#publish(request as ClusterMemberAttrSetRequest);
    }
  }

  #checkAlarms(takesSpace: boolean): void {
    const { alarms } = this.#target;
    if (alarms.corrupt) throw new EtcdError("corrupt");
    if (alarms.noSpace && takesSpace) throw new EtcdError("noSpace");
  }

  #compact(request: RaftRequests["compaction"]): { readonly header: { readonly revision: number } } {
    const { store, onCompactionScheduled } = this.#target;
    store.scheduleCompaction(revisionFromWire(request.revision));
    onCompactionScheduled();
    return { header: { revision: store.currentRevision } };
  }

  #grantLease({ ID, TTL }: RaftRequests["leaseGrant"]): LeaseGrantOutcome {
    const { store, lessor, quota, clock } = this.#target;
    const isExceeded = quota.isExceededBy(LEASE_COST_BYTES);
    const lease = lessor.grant(ID, TTL, clock.monotonicMs());
    if (isExceeded) throw new EtcdError("noSpace");
    return { header: { revision: store.currentRevision }, ID, TTL: lease.ttlSeconds };
  }

  /** The lease and its keys go in one entry and the keys in one revision. */
  #revokeLease(id: bigint): { readonly header: RevisionHeader } {
    const { store, lessor, onLeaseRevoked } = this.#target;
    lessor.revoke(id, (keys) => {
      const txn = store.beginWrite();
      for (const key of keys) txn.deleteRange(key, EMPTY_BYTES);
      txn.end();
    });
    onLeaseRevoked(id);
    return { header: { revision: store.currentRevision } };
  }

  #checkpointLeases({ checkpoints }: RaftRequests["leaseCheckpoint"]): void {
    const { lessor, clock } = this.#target;
    const nowMs = clock.monotonicMs();
    for (const { ID, remainingTTL } of checkpoints) lessor.checkpoint(ID, remainingTTL, nowMs);
  }

  #alarm(request: AlarmRequest): Alarm[] {
    const { alarms, store } = this.#target;
    const alarm = { memberId: request.memberID, type: request.alarm };
    switch (request.action) {
      case AlarmAction.GET:
        return alarms.list(request.alarm);
      case AlarmAction.ACTIVATE:
        if (alarm.type === AlarmType.NONE || !alarms.raise(alarm)) return [];
        putAlarm(store.backend, alarm);
        return [alarm];
      case AlarmAction.DEACTIVATE:
        if (!alarms.clear(alarm)) return [];
        deleteAlarm(store.backend, alarm);
        return [alarm];
      default:
        return [];
    }
  }

  #setClusterVersion(version: string): void {
    const { cluster, store, onClusterVersion } = this.#target;
    cluster.version = version;
    writeClusterVersion(store.backend, version);
    onClusterVersion(version);
  }

  #publish(request: ClusterMemberAttrSetRequest): void {
    const { cluster, store } = this.#target;
    const { name = "", clientUrls = [] } = request.memberAttributes ?? {};
    const member = cluster.publish(request.memberID, name, clientUrls);
    if (member !== undefined) putMember(store.backend, member);
  }
}

/** The kinds this server applies, by the field they are in. */
const requestKinds: readonly RequestKind[] = [
  "put",
  "deleteRange",
  "txn",
  "compaction",
  "leaseGrant",
  "leaseRevoke",
  "alarm",
  "leaseCheckpoint",
  "clusterVersionSet",
  "clusterMemberAttrSet",
];

/** Reads an entry that was not proposed here. Undefined for requests that change nothing on this member. */
function decodeRequest(
  data: Uint8Array,
): { readonly kind: RequestKind; readonly request: RaftRequests[RequestKind] } | undefined {
  const message = decodeInternalRaftRequest(data, 0, data.length);
  for (const kind of requestKinds) {
    const request = message[kind];
    if (request !== undefined) return { kind, request };
  }
  assert(message.range === undefined, "A range in the log");
  return undefined;
}
