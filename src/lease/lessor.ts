import { binaryString, bytesOfBinaryString } from "../base/binary_string.ts";
import { EtcdError } from "../base/errors.ts";
import { exponentialBounds, Histogram } from "../base/histogram.ts";
import { ExpiryQueue } from "./expiry_queue.ts";
import { spreadExpiries } from "./expiry_spread.ts";
import { Lease } from "./lease.ts";
import type { LeaseStore } from "./lease_store.ts";

/** Seconds: etcd's limit, about 285 years. */
const TTL_MAX_SECONDS = 9_000_000_000n;
/** Leases that end in a second, by etcd's design; the spreading after an election leaves a quarter free. */
export const EXPIRIES_PER_SECOND = 1_000;
const SPREAD_PER_SECOND = (EXPIRIES_PER_SECOND * 3) / 4;
/** The lease id that means "none". */
const NO_LEASE = 0n;

export interface LessorOptions {
  readonly store: LeaseStore;
  /** A shorter TTL is raised to this. */
  readonly ttlMinSeconds: number;
  /** How often the time that is left of a long lease is noted in the log; undefined for never. Above 0. */
  readonly checkpointIntervalMs?: number | undefined;
}

/** What is left of a lease, in seconds. */
export interface Checkpoint {
  readonly id: bigint;
  readonly remainingSeconds: number;
}

/**
 * The leases. What a grant, a revoke or a checkpoint does to them is the same on every member, since it
 * comes from the log. Time is the leader's alone: it says when a lease has expired, and then a revoke goes
 * through the log like any other. `nowMs` is the monotonic clock.
 */
export class Lessor {
  /** Totals since start, for metrics. `expired` counts those that were revoked for their age. */
  granted = 0;
  revoked = 0;
  renewed = 0;
  expired = 0;
  readonly ttls = new Histogram(exponentialBounds(1, 2, 24));

  readonly #store: LeaseStore;
  readonly #ttlMinSeconds: number;
  readonly #checkpointIntervalMs: number | undefined;
  readonly #leases = new Map<bigint, Lease>();
  readonly #leaseOfKey = new Map<string, Lease>();
  readonly #queue = new ExpiryQueue();
  /** Leases and when their next checkpoint is due: in that order, since the interval is the same for all. */
  readonly #checkpointsDue = new Map<Lease, number>();
  #isPrimary = false;

  constructor(options: LessorOptions) {
    this.#store = options.store;
    this.#ttlMinSeconds = options.ttlMinSeconds;
    this.#checkpointIntervalMs = options.checkpointIntervalMs;
  }

  /** Reads the stored leases. BEFORE the store of keys is restored, which attaches the keys. */
  restore(): void {
    for (const { id, ttl, remainingTtl } of this.#store.list()) {
      this.#leases.set(id, new Lease(id, this.#ttlSeconds(ttl), Number(remainingTtl)));
    }
  }

  get size(): number {
    return this.#leases.size;
  }

  /** Whether this member's clock is the one that counts. */
  get isPrimary(): boolean {
    return this.#isPrimary;
  }

  get(id: bigint): Lease | undefined {
    return this.#leases.get(id);
  }

  /** All leases, those that end first in front. */
  list(): Lease[] {
    return [...this.#leases.values()].sort(byExpiry);
  }

  /** The keys attached to a lease, sorted. */
  keysOf(lease: Lease): Uint8Array[] {
    return lease.keys === undefined ? [] : [...lease.keys].sort().map(bytesOfBinaryString);
  }

  // What the store of keys asks.

  exists(id: bigint): boolean {
    return this.#leases.has(id);
  }

  leaseOf(key: Uint8Array): bigint {
    if (this.#leaseOfKey.size === 0) return NO_LEASE;
    return this.#leaseOfKey.get(binaryString(key))?.id ?? NO_LEASE;
  }

  attach(id: bigint, key: Uint8Array): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    const text = binaryString(key);
    lease.keys ??= new Set();
    lease.keys.add(text);
    this.#leaseOfKey.set(text, lease);
  }

  detach(id: bigint, key: Uint8Array): void {
    const text = binaryString(key);
    const lease = this.#leaseOfKey.get(text);
    if (lease === undefined || lease.id !== id) return;
    this.#leaseOfKey.delete(text);
    lease.keys!.delete(text);
    if (lease.keys!.size === 0) lease.keys = undefined;
  }

  // Entries of the log.

  /** Throws `leaseNotFound` for the id 0, `leaseTtlTooLarge` and `leaseExists`. */
  grant(id: bigint, ttl: bigint, nowMs: number): Lease {
    if (id === NO_LEASE) throw new EtcdError("leaseNotFound");
    if (ttl > TTL_MAX_SECONDS) throw new EtcdError("leaseTtlTooLarge");
    if (this.#leases.has(id)) throw new EtcdError("leaseExists");
    const lease = new Lease(id, this.#ttlSeconds(ttl));
    this.#leases.set(id, lease);
    this.#persist(lease);
    this.granted += 1;
    this.ttls.observe(lease.ttlSeconds);
    if (this.#isPrimary) {
      this.#refresh(lease, nowMs + lease.ttlSeconds * 1_000);
      this.#scheduleCheckpoint(lease, nowMs);
    }
    return lease;
  }

  /**
   * Ends a lease. `deleteKeys` gets its keys, sorted, and deletes them in one revision; at that moment the
   * lease is gone already. Throws `leaseNotFound`.
   */
  revoke(id: bigint, deleteKeys: (keys: readonly Uint8Array[]) => void): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) throw new EtcdError("leaseNotFound");
    const keys = this.keysOf(lease);
    for (const text of lease.keys ?? []) this.#leaseOfKey.delete(text);
    this.#leases.delete(id);
    this.#queue.remove(lease);
    this.#checkpointsDue.delete(lease);
    this.#store.delete(id);
    this.revoked += 1;
    if (keys.length > 0) deleteKeys(keys);
  }

  /** Notes what is left of a lease; 0 says that it was renewed. Passed over when the lease is gone. */
  checkpoint(id: bigint, remainingTtl: bigint, nowMs: number): void {
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    lease.remainingSeconds = Number(remainingTtl);
    this.#persist(lease);
    if (this.#isPrimary) this.#scheduleCheckpoint(lease, nowMs);
  }

  // The leader's clock.

  /**
   * This member leads from now on. Every lease gets its TTL (what was left of it at the last checkpoint) and
   * `extendMs`, the time that may have passed without a leader, since nobody knows when it was renewed last.
   */
  promote(extendMs: number, nowMs: number): void {
    this.#isPrimary = true;
    for (const lease of this.#leases.values()) {
      lease.expiryMs = nowMs + extendMs + lease.promisedSeconds * 1_000;
    }
    const leases = this.list();
    if (leases.length >= EXPIRIES_PER_SECOND) spreadExpiries(leases, SPREAD_PER_SECOND);
    for (const lease of leases) {
      this.#queue.schedule(lease, lease.expiryMs);
      this.#scheduleCheckpoint(lease, nowMs);
    }
  }

  /** Another member leads, or none: no lease expires by this member's clock. */
  demote(): void {
    this.#isPrimary = false;
    this.#queue.clear();
    this.#checkpointsDue.clear();
    for (const lease of this.#leases.values()) lease.expiryMs = Infinity;
  }

  /** Gives a lease its whole TTL again. Only on the primary, for a lease that has not expired. */
  renew(lease: Lease, nowMs: number): void {
    this.renewed += 1;
    this.#refresh(lease, nowMs + lease.ttlSeconds * 1_000);
  }

  /**
   * At most `max` leases that have expired and are to be revoked. They come again after `retryMs`, for the
   * case that the revoke failed.
   */
  takeExpired(nowMs: number, max: number, retryMs: number): Lease[] {
    const expired: Lease[] = [];
    while (expired.length < max) {
      const lease = this.#queue.first;
      if (lease === undefined || lease.dueMs > nowMs) break;
      if (lease.hasExpired(nowMs)) {
        expired.push(lease);
        this.#queue.schedule(lease, nowMs + retryMs);
      } else this.#queue.schedule(lease, lease.expiryMs); // It was renewed meanwhile.
    }
    return expired;
  }

  /** At most `max` checkpoints that are due, to be put into the log. */
  takeCheckpoints(nowMs: number, max: number): Checkpoint[] {
    const checkpoints: Checkpoint[] = [];
    for (const [lease, dueMs] of this.#checkpointsDue) {
      if (dueMs > nowMs || checkpoints.length === max) break;
      this.#checkpointsDue.delete(lease);
      if (lease.hasExpired(nowMs)) continue;
      this.#scheduleCheckpoint(lease, nowMs);
      const remainingSeconds = Math.ceil((lease.expiryMs - nowMs) / 1_000);
      if (remainingSeconds < lease.ttlSeconds) checkpoints.push({ id: lease.id, remainingSeconds });
    }
    return checkpoints;
  }

  #refresh(lease: Lease, expiryMs: number): void {
    lease.expiryMs = expiryMs;
    // A renewal can end earlier than what the lease was given by `promote`.
    if (lease.queueSlot < 0 || expiryMs < lease.dueMs) this.#queue.schedule(lease, expiryMs);
  }

  #scheduleCheckpoint(lease: Lease, nowMs: number): void {
    const intervalMs = this.#checkpointIntervalMs;
    if (intervalMs === undefined) return;
    this.#checkpointsDue.delete(lease);
    if (lease.promisedSeconds * 1_000 > intervalMs) this.#checkpointsDue.set(lease, nowMs + intervalMs);
  }

  #persist({ id, ttlSeconds, remainingSeconds }: Lease): void {
    this.#store.put({ id, ttl: BigInt(ttlSeconds), remainingTtl: BigInt(remainingSeconds) });
  }

  #ttlSeconds(ttl: bigint): number {
    return Math.max(Number(ttl), this.#ttlMinSeconds);
  }
}

function byExpiry(a: Lease, b: Lease): number {
  return a.expiryMs < b.expiryMs ? -1 : a.expiryMs > b.expiryMs ? 1 : 0;
}
