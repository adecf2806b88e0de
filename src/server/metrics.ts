import { exponentialBounds, Histogram } from "../base/histogram.ts";

/** What the server counts beside the totals of its parts. Read by `gateway/metrics.ts`. */
export class ServerMetrics {
  leaderChanges = 0;
  hasLeader = false;
  proposalsFailed = 0;
  slowApplies = 0;
  readonly walSync = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly walWrite = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly backendCommit = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly defrag = new Histogram(exponentialBounds(0.1, 2, 13));

  /** The leader is known, changed or lost (0). */
  onLeader(leader: bigint): void {
    const hasLeader = leader !== 0n;
    if (hasLeader) this.leaderChanges += 1;
    this.hasLeader = hasLeader;
  }
}
