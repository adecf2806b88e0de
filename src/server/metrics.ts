import { exponentialBounds, Histogram, HistogramTable } from "../base/histogram.ts";

/** What the server counts beside the totals of its parts. Read by `gateway/metrics.ts`. */
export class ServerMetrics {
  leaderChanges = 0;
  hasLeader = false;
  slowReadIndexes = 0;
  failedReadIndexes = 0;
  slowApplies = 0;
  healthSuccesses = 0;
  healthFailures = 0;
  readonly healthChecks = new HealthChecks();
  /** Applied requests by operation; seconds. */
  readonly applies = new HistogramTable(exponentialBounds(0.0001, 2, 20));
  /** Requests of this member from when they came in until they were applied or read, by type; seconds. */
  readonly requests = new HistogramTable(exponentialBounds(0.001, 2, 14));
  /** Reading of ranges by itself; seconds. */
  readonly ranges = new HistogramTable(exponentialBounds(0.0001, 2, 20));
  readonly walWrite = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly walSync = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly backendCommit = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly defrag = new Histogram(exponentialBounds(0.1, 2, 13));
  defragInflight = 0;
  readonly snapshotTransfer = new Histogram(exponentialBounds(0.01, 2, 17));
  readonly hash = new Histogram(exponentialBounds(0.01, 2, 15));
  readonly hashRevision = new Histogram(exponentialBounds(0.01, 2, 15));
  /** What compaction keeps the rest waiting for, step by step, and how long it takes as a whole; milliseconds. */
  readonly indexCompactionPauses = new Histogram(exponentialBounds(0.5, 2, 14));
  readonly compactionPauses = new Histogram(exponentialBounds(1, 2, 13));
  readonly compactions = new Histogram(exponentialBounds(100, 2, 14));
  compactedRevisions = 0;
  /** Seconds since 1970; 0 before the first compaction. */
  lastCompactionSeconds = 0;

  onCompactionStep(isIndexing: boolean, tookMs: number): void {
    (isIndexing ? this.indexCompactionPauses : this.compactionPauses).observe(tookMs);
  }

  onCompacted(removed: number, tookMs: number, wallMs: number): void {
    this.compactions.observe(tookMs);
    this.compactedRevisions += removed;
    this.lastCompactionSeconds = Math.floor(wallMs / 1000);
  }

  /** A range is read, or was refused: how long since it came in, and since its reading began. */
  onRange(succeeded: boolean, tookMs: number, readMs: number): void {
    this.requests.observe("Range", succeeded, tookMs / 1000);
    this.ranges.observe("Range", succeeded, readMs / 1000);
  }

  /** The leader is known, changed or lost (0). */
  onLeader(leader: bigint): void {
    const hasLeader = leader !== 0n;
    if (hasLeader) this.leaderChanges += 1;
    this.hasLeader = hasLeader;
  }
}

/** Outcomes of the /livez and /readyz checks. Bounded: the names are our own. */
export class HealthChecks {
  readonly #outcomes = new Map<string, HealthOutcome>();

  record(type: string, name: string, status: "success" | "error"): void {
    const key = `${type}/${name}`;
    const outcome = this.#outcomes.get(key) ?? { type, name, success: 0, error: 0, last: status };
    outcome[status] += 1;
    outcome.last = status;
    this.#outcomes.set(key, outcome);
  }

  list(): readonly HealthOutcome[] {
    return [...this.#outcomes.values()];
  }
}

export interface HealthOutcome {
  readonly type: string;
  readonly name: string;
  success: number;
  error: number;
  last: "success" | "error";
}
