/** A lease as it is stored. Times in seconds. */
export interface StoredLease {
  readonly id: bigint;
  readonly ttl: bigint;
  /** 0 when there was no checkpoint. */
  readonly remainingTtl: bigint;
}

/** Where leases are kept. What is written while an entry is applied becomes durable with that entry. */
export interface LeaseStore {
  list(): readonly StoredLease[];
  put(lease: StoredLease): void;
  delete(id: bigint): void;
}
