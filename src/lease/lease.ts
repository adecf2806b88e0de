/** A lease: keys attached to it live as long as it does. Times are of the monotonic clock of this member. */
export class Lease {
  readonly id: bigint;
  /** The time to live that was granted, in seconds; a renewal brings it back. */
  readonly ttlSeconds: number;
  /** What was left at the last checkpoint, in seconds; 0 without one. The same on every member. */
  remainingSeconds: number;
  /** When it ends; Infinity on a member that does not lead, where no lease ever ends by itself. */
  expiryMs = Infinity;
  /** When the queue wants to see it. Invariant: not after `expiryMs` unless it is being revoked. */
  dueMs = Infinity;
  /** Where it is in the queue, -1 when it is not. */
  queueSlot = -1;
  /** Keys as binary strings; most leases have one or none, so the set comes with the first key. */
  keys: Set<string> | undefined = undefined;

  constructor(id: bigint, ttlSeconds: number, remainingSeconds = 0) {
    this.id = id;
    this.ttlSeconds = ttlSeconds;
    this.remainingSeconds = remainingSeconds;
  }

  /** How long it lives when this member begins to lead. */
  get promisedSeconds(): number {
    return this.remainingSeconds > 0 ? this.remainingSeconds : this.ttlSeconds;
  }

  hasExpired(nowMs: number): boolean {
    return this.expiryMs <= nowMs;
  }
}
