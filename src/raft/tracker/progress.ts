import { assert } from "../../base/assert.ts";
import type { RaftIndex } from "../../base/units.ts";
import { Inflights } from "./inflights.ts";

/**
 * How the leader sends to a follower. "probe": one message per round trip, to find where the logs agree;
 * "replicate": a stream of messages, as far as the window goes; "snapshot": nothing until it has arrived.
 */
export type ProgressState = "probe" | "replicate" | "snapshot";

/** What the leader knows of one member, itself included. Invariant: match < next. */
export class Progress {
  state: ProgressState = "probe";
  /** Durable there up to here. */
  match: RaftIndex = 0;
  /** The next entry to send. */
  next: RaftIndex;
  /** The highest commit index that was sent; sinks when entries must be sent again. */
  sentCommit: RaftIndex = 0;
  /** In state "snapshot": the index it brings. */
  pendingSnapshot: RaftIndex = 0;
  /** Heard of since the last check of the quorum. */
  recentlyActive = false;
  /** A probe is under way, or the window is full: wait for an answer or a heartbeat's. */
  paused = false;
  readonly inflights: Inflights;

  constructor(next: RaftIndex, limits: { readonly countMax: number; readonly bytesMax: number }) {
    this.next = next;
    this.inflights = new Inflights(limits);
  }

  /** As if nothing were known: the leader has changed. */
  reset(next: RaftIndex): void {
    this.#enter("probe");
    this.match = 0;
    this.next = next;
    this.sentCommit = 0;
    this.recentlyActive = false;
  }

  becomeProbe(): void {
    // A snapshot that was sent has arrived or failed; `abortSnapshot` has told apart which.
    const next = Math.max(this.match, this.state === "snapshot" ? this.pendingSnapshot : 0) + 1;
    this.#enter("probe");
    this.next = next;
    this.sentCommit = Math.min(this.sentCommit, next - 1);
  }

  becomeReplicate(): void {
    this.#enter("replicate");
    this.next = this.match + 1;
  }

  becomeSnapshot(index: RaftIndex): void {
    this.#enter("snapshot");
    this.pendingSnapshot = index;
    this.next = index + 1;
    this.sentCommit = index;
  }

  /** The snapshot did not arrive: probing goes on where it was. */
  abortSnapshot(): void {
    this.pendingSnapshot = 0;
    this.becomeProbe();
  }

  get mayNotSend(): boolean {
    return this.state === "snapshot" || this.paused;
  }

  /** `count` entries from `next` on were sent. */
  sent(count: number, bytes: number): void {
    assert(this.state !== "snapshot", "entries sent to a member that waits for a snapshot");
    if (this.state === "probe") {
      if (count > 0) this.paused = true;
      return;
    }
    if (count > 0) {
      this.next += count;
      this.inflights.add(this.next - 1, bytes);
    }
    this.paused = this.inflights.full;
  }

  /** Whether a message with `commit` would tell the member news that it can use. */
  wantsCommit(commit: RaftIndex): boolean {
    return commit > this.sentCommit && this.sentCommit < this.next - 1;
  }

  /** The member has everything up to `index`. False when that was known. */
  acknowledged(index: RaftIndex): boolean {
    if (index <= this.match) return false;
    this.match = index;
    this.next = Math.max(this.next, index + 1);
    this.paused = false;
    return true;
  }

  /** The member refused entries after `rejected`, and may match at `hint`. False when the answer is stale. */
  rejected(rejected: RaftIndex, hint: RaftIndex): boolean {
    if (this.state === "replicate") {
      // A stream may have overtaken the answer: what is known to match stays.
      if (rejected <= this.match) return false;
      this.next = this.match + 1;
    } else {
      // A probe is for the entry before `next`; any other answer is of an earlier one.
      if (this.next - 1 !== rejected) return false;
      this.next = Math.max(Math.min(rejected, hint + 1), this.match + 1);
      this.paused = false;
    }
    this.sentCommit = Math.min(this.sentCommit, this.next - 1);
    return true;
  }

  #enter(state: ProgressState): void {
    this.state = state;
    this.paused = false;
    this.pendingSnapshot = 0;
    this.inflights.clear();
  }
}
