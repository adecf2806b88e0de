import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Lease, LeaseSchema } from "../../gen/leasepb/lease_pb.ts";
import type { LeaseStore, StoredLease } from "../../lease/lease_store.ts";
import type { Backend } from "../../mvcc/backend.ts";

/** A row of bucket "lease": key 8 bytes of the id, big endian; value `leasepb.Lease`. Times in seconds. */
export type LeaseRow = StoredLease;

/** The bucket as the lessor wants it. */
export function leaseStore(backend: Backend): LeaseStore {
  return {
    list: () => listLeases(backend),
    put: (lease) => putLease(backend, lease),
    delete: (id) => deleteLease(backend, id),
  };
}

export function putLease(backend: Backend, row: LeaseRow): void {
  const lease = create(LeaseSchema, { ID: row.id, TTL: row.ttl, RemainingTTL: row.remainingTtl });
  backend.put("lease", leaseKey(row.id), toBinary(LeaseSchema, lease));
}

export function deleteLease(backend: Backend, id: bigint): void {
  backend.delete("lease", leaseKey(id));
}

export function getLease(backend: Backend, id: bigint): LeaseRow | undefined {
  const value = backend.get("lease", leaseKey(id));
  return value === undefined ? undefined : rowOf(fromBinary(LeaseSchema, value));
}

/** All leases, in the order of their ids read as unsigned numbers. */
export function listLeases(backend: Backend): LeaseRow[] {
  return backend.list("lease").map(({ value }) => rowOf(fromBinary(LeaseSchema, value)));
}

function rowOf(lease: Lease): LeaseRow {
  return { id: lease.ID, ttl: lease.TTL, remainingTtl: lease.RemainingTTL };
}

function leaseKey(id: bigint): Uint8Array {
  const key = new Uint8Array(8);
  new DataView(key.buffer).setBigInt64(0, id);
  return key;
}
