import { exponentialBounds, Histogram, HistogramTable } from "../base/histogram.ts";

/** What the server counts beside the totals of its parts. Read by `gateway/metrics.ts`. */
export class ServerMetrics {
  leaderChanges = 0;
  hasLeader = false;
  proposalsFailed = 0;
  slowApplies = 0;
  healthSuccesses = 0;
  healthFailures = 0;
  readonly healthChecks = new HealthChecks();
  /** Applied requests by operation; seconds. */
  readonly applies = new HistogramTable(exponentialBounds(0.0001, 2, 20));
  readonly walSync = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly backendCommit = new Histogram(exponentialBounds(0.001, 2, 14));
  readonly defrag = new Histogram(exponentialBounds(0.1, 2, 13));
  defragInflight = 0;

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
