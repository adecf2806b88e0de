import { hexId } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import { Pending } from "../base/pending.ts";
import type { Lease } from "../lease/lease.ts";
import { type Checkpoint, EXPIRIES_PER_SECOND, type Lessor } from "../lease/lessor.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { Log } from "../ports/log.ts";

const SWEEP_MS = 500;
/** Expired leases taken up, and checkpoints proposed, by one sweep. */
const SWEEP_LEASES_MAX = (EXPIRIES_PER_SECOND * SWEEP_MS) / 1_000;
/** Revokes of expired leases that may be in the log unapplied: clients' requests share it. */
const REVOKES_IN_FLIGHT_MAX = 16;
/** An expired lease whose revoke has failed is tried again after this. */
const RETRY_MS = 3_000;
/** Renewals that wait for a revoke, over all leases. */
const WAITING_RENEWALS_MAX = 100_000;

/** What leases need of the server. */
export interface LeaseRaft {
  /** Whether this member leads, as far as it knows. */
  readonly isLeader: boolean;
  /** Whether it leads for certain, and has applied all that is committed. */
  readonly canReadNow: boolean;
  /** Settled when the same is certain. */
  readBarrier(): Pending<void>;
  /** Both settle when the entry has been applied. They throw when it cannot be proposed. */
  proposeRevoke(id: bigint): Pending<unknown>;
  proposeCheckpoints(checkpoints: readonly Checkpoint[]): Pending<unknown>;
}

export interface LeaseKeeperOptions {
  readonly lessor: Lessor;
  readonly raft: LeaseRaft;
  readonly clock: Clock;
  readonly log: Log;
  readonly electionMs: number;
}

/**
 * The leader's part in the life of leases: renews them, without the log, and puts revokes of the expired
 * ones into the log. Before either it makes sure that it still leads: a member that was paused must not
 * renew or end what is another's by now (etcd issues 12528 and 15247).
 */
export class LeaseKeeper {
  readonly #lessor: Lessor;
  readonly #raft: LeaseRaft;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #electionMs: number;
  #sweeper: Timer | undefined;
  /** Expired leases whose revoke is to be proposed. */
  #expired: Lease[] = [];
  /** Ids of these and of those whose revoke is under way: a second revoke might meet a new lease of that id. */
  readonly #revoking = new Set<bigint>();
  #inFlight = 0;
  #confirming = false;
  #revokeScheduled = false;
  #checkpointing = false;
  /** Renewals that came too late, by lease: answered when it is revoked. */
  readonly #late = new Map<bigint, Pending<number>[]>();
  #lateCount = 0;

  constructor({ lessor, raft, clock, log, electionMs }: LeaseKeeperOptions) {
    this.#lessor = lessor;
    this.#raft = raft;
    this.#clock = clock;
    this.#log = log;
    this.#electionMs = electionMs;
  }

  start(): void {
    this.#sweeper = this.#clock.every(SWEEP_MS, () => this.#sweep());
  }

  stop(): void {
    this.#sweeper?.cancel();
    this.#expired = [];
    this.#failLate(new EtcdError("stopped"));
  }

  /** This member leads and has applied all that was committed before. */
  onLeading(): void {
    this.#lessor.promote(this.#electionMs, this.#clock.monotonicMs());
  }

  onFollowing(): void {
    if (!this.#lessor.isPrimary) return;
    this.#lessor.demote();
    this.#failLate(new EtcdError("notPrimaryLessor"));
  }

  /** Whole seconds that are left of a lease; 0 and below when it is about to be revoked. */
  remainingSeconds(lease: Lease): number {
    return Math.trunc((lease.expiryMs - this.#clock.monotonicMs()) / 1_000);
  }

  /** A revoke of the lease has been applied. */
  onRevoked(id: bigint): void {
    const late = this.#late.get(id);
    if (late === undefined) return;
    this.#late.delete(id);
    this.#lateCount -= late.length;
    for (const renewal of late) renewal.resolve(0);
  }

  /**
   * Renews a lease; gives its TTL in seconds, 0 when there is no such lease. A renewal that comes after the
   * expiry waits for the revoke. Fails with `notPrimaryLessor` when this member does not lead for certain.
   */
  renew(id: bigint): number | Pending<number> {
    if (!this.#raft.isLeader) throw new EtcdError("notPrimaryLessor");
    if (this.#raft.canReadNow) return this.#renewAsLeader(id);
    const renewal = new Pending<number>();
    this.#raft.readBarrier().observe({
      onValue: () => settle(renewal, () => this.#renewAsLeader(id)),
      onError: () => renewal.reject(new EtcdError("notPrimaryLessor")),
    });
    return renewal;
  }

  #renewAsLeader(id: bigint): number | Pending<number> {
    const lessor = this.#lessor;
    if (!lessor.isPrimary) throw new EtcdError("notPrimaryLessor");
    const lease = lessor.get(id);
    if (lease === undefined) return 0;
    const nowMs = this.#clock.monotonicMs();
    if (lease.hasExpired(nowMs)) return this.#renewLate(id);
    if (lease.remainingSeconds > 0) return this.#renewCheckpointed(lease);
    lessor.renew(lease, nowMs);
    return lease.ttlSeconds;
  }

  #renewLate(id: bigint): Pending<number> {
    if (this.#lateCount >= WAITING_RENEWALS_MAX) throw new EtcdError("tooManyRequests");
    const renewal = new Pending<number>();
    const late = this.#late.get(id);
    if (late === undefined) this.#late.set(id, [renewal]);
    else late.push(renewal);
    this.#lateCount += 1;
    return renewal;
  }

  /** What the log says is left of the lease must go first, or the next leader would end it early. */
  #renewCheckpointed({ id }: Lease): Pending<number> {
    const renewal = new Pending<number>();
    this.#raft.proposeCheckpoints([{ id, remainingSeconds: 0 }]).observe({
      onValue: () => settle(renewal, () => this.#renewAsLeader(id)),
      onError: (error) => renewal.reject(error),
    });
    return renewal;
  }

  #failLate(error: EtcdError): void {
    const late = [...this.#late.values()];
    this.#late.clear();
    this.#lateCount = 0;
    for (const renewals of late) for (const renewal of renewals) renewal.reject(error);
  }

  #sweep(): void {
    if (!this.#lessor.isPrimary || !this.#raft.isLeader) return;
    if (this.#expired.length === 0 && !this.#confirming) this.#takeExpired();
    if (!this.#checkpointing) this.#checkpoint();
  }

  #takeExpired(): void {
    const nowMs = this.#clock.monotonicMs();
    const expired = this.#lessor.takeExpired(nowMs, SWEEP_LEASES_MAX, RETRY_MS)
      .filter(({ id }) => !this.#revoking.has(id));
    if (expired.length === 0) return;
    this.#confirming = true;
    this.#asLeader(() => {
      this.#confirming = false;
      this.#expired = expired.reverse(); // Taken from the end.
      for (const { id } of expired) this.#revoking.add(id);
      this.#revokeNext();
    }, (error) => {
      this.#confirming = false;
      this.#log.warn("Ignore the lease revoking request because current member isn't a leader", {
        error: String(error),
      });
    });
  }

  /** Calls `run` once it is certain that this member leads. */
  #asLeader(run: () => void, onError: (error: unknown) => void): void {
    if (this.#raft.canReadNow) return run();
    try {
      this.#raft.readBarrier().observe({ onValue: run, onError });
    } catch (error) {
      onError(error);
    }
  }

  /** A reply to a revoke comes in the midst of applying: the next ones are proposed after that. */
  #revokeSoon(): void {
    if (this.#revokeScheduled || this.#expired.length === 0) return;
    this.#revokeScheduled = true;
    this.#clock.soon(() => {
      this.#revokeScheduled = false;
      this.#revokeNext();
    });
  }

  #revokeNext(): void {
    const nowMs = this.#clock.monotonicMs();
    while (this.#inFlight < REVOKES_IN_FLIGHT_MAX) {
      const lease = this.#expired.pop();
      if (lease === undefined) return;
      // It may be gone by now and another of the same id be there, or it was given new time by an election.
      const isDue = lease.hasExpired(nowMs) && this.#lessor.get(lease.id) === lease;
      if (isDue && this.#raft.isLeader) this.#revoke(lease.id);
      else this.#revoking.delete(lease.id);
    }
  }

  #revoke(id: bigint): void {
    const failed = (error: unknown): void => {
      this.#revoking.delete(id);
      if (error instanceof EtcdError && error.code === "leaseNotFound") return; // A client was faster.
      this.#log.warn("failed to revoke lease", { "lease-id": hexId(id), error: String(error) });
    };
    try {
      this.#inFlight += 1;
      this.#raft.proposeRevoke(id).observe({
        onValue: () => {
          this.#inFlight -= 1;
          this.#revoking.delete(id);
          this.#lessor.expired += 1;
          this.#revokeSoon();
        },
        onError: (error) => {
          this.#inFlight -= 1;
          failed(error);
          this.#revokeSoon();
        },
      });
    } catch (error) {
      this.#inFlight -= 1;
      failed(error);
    }
  }

  #checkpoint(): void {
    const checkpoints = this.#lessor.takeCheckpoints(this.#clock.monotonicMs(), SWEEP_LEASES_MAX);
    if (checkpoints.length === 0) return;
    this.#checkpointing = true;
    const done = (): void => void (this.#checkpointing = false);
    const failed = (error: unknown): void => {
      done();
      this.#log.warn("failed to checkpoint leases", { error: String(error) });
    };
    this.#asLeader(() => {
      try {
        this.#raft.proposeCheckpoints(checkpoints).observe({ onValue: done, onError: failed });
      } catch (error) {
        failed(error);
      }
    }, failed);
  }
}

/** Settles with what `run` gives, now or later, or with what it throws. */
function settle<T>(pending: Pending<T>, run: () => T | Pending<T>): void {
  try {
    const value = run();
    if (!(value instanceof Pending)) return pending.resolve(value);
    value.observe({ onValue: (v) => pending.resolve(v), onError: (e) => pending.reject(e) });
  } catch (error) {
    pending.reject(error);
  }
}
