/** Leases as plainly as they can be said, to compare the lessor with; and a store of leases in memory. */
import type { LeaseStore, StoredLease } from "../../src/lease/lease_store.ts";

export class MemoryLeaseStore implements LeaseStore {
  readonly rows = new Map<bigint, StoredLease>();

  list(): readonly StoredLease[] {
    return [...this.rows.values()];
  }

  put(lease: StoredLease): void {
    this.rows.set(lease.id, lease);
  }

  delete(id: bigint): void {
    this.rows.delete(id);
  }
}

export interface ModelLease {
  readonly id: bigint;
  readonly ttl: number;
  remaining: number;
  /** Undefined while this member does not lead. */
  expiryMs: number | undefined;
  keys: Set<string>;
}

/** No queue and no index: everything is looked for. */
export class ModelLessor {
  readonly leases: ModelLease[] = [];
  readonly #ttlMin: number;
  leads = false;

  constructor(ttlMin: number) {
    this.#ttlMin = ttlMin;
  }

  find(id: bigint): ModelLease | undefined {
    return this.leases.find((lease) => lease.id === id);
  }

  holderOf(key: string): ModelLease | undefined {
    return this.leases.find(({ keys }) => keys.has(key));
  }

  grant(id: bigint, ttl: number, nowMs: number): string {
    if (id === 0n) return "leaseNotFound";
    if (ttl > 9e9) return "leaseTtlTooLarge";
    if (this.find(id) !== undefined) return "leaseExists";
    const granted = ttl < this.#ttlMin ? this.#ttlMin : ttl;
    const expiryMs = this.leads ? nowMs + granted * 1_000 : undefined;
    this.leases.push({ id, ttl: granted, remaining: 0, expiryMs, keys: new Set() });
    return `ttl ${granted}`;
  }

  revoke(id: bigint): string {
    const lease = this.find(id);
    if (lease === undefined) return "leaseNotFound";
    this.leases.splice(this.leases.indexOf(lease), 1);
    return [...lease.keys].sort().join(" ");
  }

  put(key: string, id: bigint): void {
    this.holderOf(key)?.keys.delete(key);
    this.find(id)?.keys.add(key);
  }

  checkpoint(id: bigint, remaining: number): void {
    const lease = this.find(id);
    if (lease !== undefined) lease.remaining = remaining;
  }

  promote(extendMs: number, nowMs: number): void {
    this.leads = true;
    for (const lease of this.leases) {
      lease.expiryMs = nowMs + extendMs + (lease.remaining > 0 ? lease.remaining : lease.ttl) * 1_000;
    }
  }

  demote(): void {
    this.leads = false;
    for (const lease of this.leases) lease.expiryMs = undefined;
  }

  expired(nowMs: number): bigint[] {
    return this.leases.filter(({ expiryMs = Infinity }) => expiryMs <= nowMs).map(({ id }) => id).sort();
  }
}
