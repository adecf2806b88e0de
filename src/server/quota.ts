import type { PutRequest, RequestOp, TxnRequest } from "../gen/etcdserverpb/kv_pb.ts";

/** What a key costs beside its key and value bytes: etcd's estimate. */
const KEY_OVERHEAD_BYTES = 256;
export const LEASE_COST_BYTES = 64;

/** Bytes a request may add to the store, as etcd reckons them against the quota. */
export function putCost(put: PutRequest): number {
  return KEY_OVERHEAD_BYTES + put.key.length + put.value.length;
}

/** The dearer of the two branches, nested transactions included. */
export function txnCost(txn: TxnRequest): number {
  return Math.max(opsCost(txn.success), opsCost(txn.failure));
}

function opsCost(ops: readonly RequestOp[]): number {
  let cost = 0;
  for (const { request } of ops) {
    if (request.case === "requestPut") cost += putCost(request.value);
    else if (request.case === "requestTxn") cost += txnCost(request.value);
  }
  return cost;
}

/** The share of the backend that clients may fill. */
export class Quota {
  /** Bytes; Infinity for no quota. */
  readonly bytes: number;
  readonly #usedBytes: () => number;

  constructor(bytes: number, usedBytes: () => number) {
    this.bytes = bytes;
    this.#usedBytes = usedBytes;
  }

  /** Whether the store would reach the quota. What it has in use counts, not the size of its file. */
  isExceededBy(cost: number): boolean {
    return this.#usedBytes() + cost >= this.bytes;
  }
}
