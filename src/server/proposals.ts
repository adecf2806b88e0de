import { ByteWriter } from "../base/byte_writer.ts";
import { Pending } from "../base/pending.ts";
import { EtcdError } from "../base/errors.ts";
import type { CompactionRequest, DeleteRangeRequest, PutRequest, TxnRequest } from "../gen/etcdserverpb/kv_pb.ts";
import type { AlarmRequest } from "../gen/etcdserverpb/maintenance_pb.ts";
import type { ClusterMemberAttrSetRequest, ClusterVersionSetRequest } from "../gen/membershippb/membership_pb.ts";
import type { RequestIds } from "./request_ids.ts";

/** The requests that go through the log, by their field in `InternalRaftRequest`. */
export interface RaftRequests {
  readonly put: PutRequest;
  readonly deleteRange: DeleteRangeRequest;
  readonly txn: TxnRequest;
  readonly compaction: CompactionRequest;
  readonly alarm: AlarmRequest;
  readonly clusterVersionSet: ClusterVersionSetRequest;
  readonly clusterMemberAttrSet: ClusterMemberAttrSetRequest;
}

export type RequestKind = keyof RaftRequests;

/** Field numbers in etcdserverpb.InternalRaftRequest. */
const requestFields: Record<RequestKind, number> = {
  put: 4,
  deleteRange: 5,
  txn: 6,
  compaction: 7,
  alarm: 10,
  clusterVersionSet: 1300,
  clusterMemberAttrSet: 1301,
};

const HEADER_FIELD = 100;
const HEADER_ID_TAG = 0x08;
const LENGTH_DELIMITED = 2;

/**
 * A request on its way through the log, and its result. It travels on the in-memory entry, so that the
 * member that proposed it applies the decoded request and settles the caller without any look-up.
 */
export class Proposal<T = unknown> extends Pending<T> {
  readonly kind: RequestKind;
  readonly request: RaftRequests[RequestKind];
  readonly proposedMs: number;

  constructor(kind: RequestKind, request: RaftRequests[RequestKind], proposedMs: number) {
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
    if (this.#slab.length + roomNeeded > SLAB_BYTES) this.#slab = new ByteWriter(Math.max(SLAB_BYTES, roomNeeded));
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

/** Requests in flight in the order proposed, so that those raft does not settle in time are failed. */
export class ProposalQueue {
  #queue: Proposal[] = [];
  #head = 0;

  push(proposal: Proposal): void {
    this.#queue.push(proposal);
  }

  get length(): number {
    return this.#queue.length - this.#head;
  }

  /** Fails proposals made before `deadlineMs` and forgets settled ones at the head. */
  expire(deadlineMs: number, error: EtcdError): void {
    while (this.#head < this.#queue.length) {
      const proposal = this.#queue[this.#head]!;
      if (!proposal.settled && proposal.proposedMs > deadlineMs) break;
      proposal.reject(error);
      this.#head += 1;
    }
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
  }

  failAll(error: EtcdError): void {
    this.expire(Infinity, error);
  }
}
