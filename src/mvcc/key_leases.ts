/** What the store asks of the leases: who holds a key. The lessor implements it. */
export interface KeyLeases {
  /** Whether a lease of this id is granted. */
  exists(leaseId: bigint): boolean;
  /** The lease that a key is attached to, 0 when none. On the path of every put to a key that exists. */
  leaseOf(key: Uint8Array): bigint;
  /** Attaches a key to a lease that `exists`; at start-up an unknown lease is passed over. Copies `key`. */
  attach(leaseId: bigint, key: Uint8Array): void;
  /** Detaches a key; passed over when it is not attached to this lease. */
  detach(leaseId: bigint, key: Uint8Array): void;
}

/** For a store whose keys never have a lease. */
export const noLeases: KeyLeases = {
  exists: () => false,
  leaseOf: () => 0n,
  attach: () => {},
  detach: () => {},
};
