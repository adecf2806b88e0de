import { ByteWriter } from "../base/byte_writer.ts";
import { Pending } from "../base/pending.ts";
import { type ErrorCode, EtcdError } from "../base/errors.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { RaftIndex } from "../base/units.ts";
import type {
  CompactionRequest,
  DeleteRangeRequest,
  PutRequest,
  TxnRequest,
} from "../gen/etcdserverpb/kv_pb.ts";
import type {
  LeaseCheckpointRequest,
  LeaseGrantRequest,
  LeaseRevokeRequest,
} from "../gen/etcdserverpb/lease_pb.ts";
import type { AlarmRequest } from "../gen/etcdserverpb/maintenance_pb.ts";
import type {
  ClusterMemberAttrSetRequest,
  ClusterVersionSetRequest,
} from "../gen/membershippb/membership_pb.ts";
import type { RequestIds } from "./request_ids.ts";

/** The requests that go through the log, by their field in `InternalRaftRequest`. */
export interface RaftRequests {
  readonly put: PutRequest;
  readonly deleteRange: DeleteRangeRequest;
  readonly txn: TxnRequest;
  readonly compaction: CompactionRequest;
  readonly leaseGrant: LeaseGrantRequest;
  readonly leaseRevoke: LeaseRevokeRequest;
  readonly alarm: AlarmRequest;
  readonly leaseCheckpoint: LeaseCheckpointRequest;
  readonly clusterVersionSet: ClusterVersionSetRequest;
  readonly clusterMemberAttrSet: ClusterMemberAttrSetRequest;
}

export type RequestKind = keyof RaftRequests;

/** What metrics and log lines call the requests: etcd's names. */
export const operationNames: Record<RequestKind, string> = {
  put: "Put",
  deleteRange: "DeleteRange",
  txn: "Txn",
  compaction: "Compaction",
  leaseGrant: "LeaseGrant",
  leaseRevoke: "LeaseRevoke",
  alarm: "Alarm",
  leaseCheckpoint: "LeaseCheckpoint",
  clusterVersionSet: "ClusterVersionSet",
  clusterMemberAttrSet: "ClusterMemberAttrSet",
};

/** Field numbers in etcdserverpb.InternalRaftRequest. */
const requestFields: Record<RequestKind, number> = {
  put: 4,
  deleteRange: 5,
  txn: 6,
  compaction: 7,
  leaseGrant: 8,
  leaseRevoke: 9,
  alarm: 10,
  leaseCheckpoint: 11,
  clusterVersionSet: 1300,
  clusterMemberAttrSet: 1301,
};

const HEADER_FIELD = 100;
const HEADER_ID_TAG = 0x08;
const LENGTH_DELIMITED = 2;

/** A request on its way through the log: settled with the result when its entry has been applied. */
export class Proposal<K extends RequestKind = RequestKind, T = unknown> extends Pending<T> {
  readonly kind: K;
  readonly request: RaftRequests[K];
  readonly proposedMs: number;
  /** The entry proposed: this data, applied at this index. */
  data: Uint8Array = EMPTY_BYTES;
  index: RaftIndex = 0;

  constructor(kind: K, request: RaftRequests[K], proposedMs: number) {
    super();
    this.kind = kind;
    this.request = request;
    this.proposedMs = proposedMs;
  }
}

const SLAB_BYTES = 256 * 1024;

/**
 * Wraps encoded requests into entries: `InternalRaftRequest{<field>: request, header: {ID}}`. Entries of
 * ordinary size are cut from slabs that are never reused, so that an entry costs no buffer of its own.
 */
export class RequestEncoder {
  readonly #ids: RequestIds;
  #slab = new ByteWriter(SLAB_BYTES);

  constructor(ids: RequestIds) {
    this.#ids = ids;
  }

  encode(kind: RequestKind, request: Uint8Array): Uint8Array {
    const roomNeeded = request.length + 64;
    if (this.#slab.length + roomNeeded > SLAB_BYTES) {
      this.#slab = new ByteWriter(Math.max(SLAB_BYTES, roomNeeded));
    }
    const out = this.#slab;
    const start = out.length;
    out.varint((requestFields[kind] << 3) | LENGTH_DELIMITED);
    out.varint(request.length);
    out.write(request);
    this.#writeHeader(out);
    return out.bytes.subarray(start, out.length);
  }

  /** Field 100, or for the fields past 100 still after them: the order of fields carries no meaning. */
  #writeHeader(out: ByteWriter): void {
    this.#ids.advance();
    out.varint((HEADER_FIELD << 3) | LENGTH_DELIMITED);
    const lengthAt = out.length;
    out.byte(0);
    out.byte(HEADER_ID_TAG);
    this.#ids.writeVarint(out);
    out.bytes[lengthAt] = out.length - lengthAt - 1;
  }
}

/**
 * Proposals of this leader in flight, in log order. Since indices only grow, the one that an applied entry
 * belongs to is at the head: no table is needed, and what an entry overtook has been lost.
 */
export class ProposalQueue {
  /** Proposals that it failed, since start. */
  failed = 0;
  #queue: Proposal[] = [];
  #head = 0;

  push(proposal: Proposal): void {
    this.#queue.push(proposal);
  }

  get length(): number {
    return this.#queue.length - this.#head;
  }

  /** The proposal of the entry applied at `index`, if it is of this member; those it overtook fail. */
  take(index: RaftIndex, data: Uint8Array): Proposal | undefined {
    while (this.#head < this.#queue.length) {
      const proposal = this.#queue[this.#head]!;
      if (proposal.index > index) return undefined;
      this.#drop();
      if (proposal.index === index && proposal.data === data) return proposal;
      this.#fail(proposal, "leaderChanged");
    }
    return undefined;
  }

  /** Fails proposals made before `deadlineMs`; their entries may still be applied. */
  expire(deadlineMs: number, code: ErrorCode): void {
    for (let at = this.#head; at < this.#queue.length; at += 1) {
      const proposal = this.#queue[at]!;
      if (proposal.proposedMs > deadlineMs) return;
      this.#fail(proposal, code);
    }
  }

  #fail(proposal: Proposal, code: ErrorCode): void {
    if (proposal.settled) return;
    this.failed += 1;
    proposal.reject(new EtcdError(code));
  }

  #drop(): void {
    this.#head += 1;
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#queue.length) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
  }
}
