/** What the drivers, which are processes of their own, are told in their argument, and what they print as JSON lines. */

/** Requests in a closed loop, or at a pace. */
export interface RequestsSpec {
  readonly port: number;
  readonly kind: "put" | "range";
  readonly connections: number;
  /** Requests in flight on each. */
  readonly streams: number;
  readonly requests: number;
  /** They go to `prefix` and a number below this, as 6 digits, in a shuffled order. 1: all to the same key. */
  readonly keys: number;
  readonly prefix: string;
  readonly valueBytes: number;
  /** Milliseconds between the beginnings of one worker's requests; 0 for one after the other. */
  readonly intervalMs: number;
}

/**
 * To a driver that sends requests and goes on. Latencies count from the start, of requests that are due before `pause` or
 * after `record`; `report` asks for a report of those that counted since the last.
 */
export type RequestsCommand = "record" | "pause" | "report";

/** Times are those of `nowMs`; latencies milliseconds. */
export interface RequestsReport {
  /** How many were recorded. */
  readonly requests: number;
  readonly startedMs: number;
  readonly endedMs: number;
  readonly p50: number;
  readonly p99: number;
}

/** Which keys the watchers of a run watch: watcher n has the n-th range. */
export type Layout =
  /** Each the same key. */
  | "one key"
  /** Each a key of its own. */
  | "keys"
  /** 100 prefixes: everything, its tenths, and 89 of its hundredths. */
  | "prefixes"
  /** All keys. */
  | "all";

export interface WatchersSpec {
  readonly port: number;
  readonly connections: number;
  /** Watch calls on each connection. */
  readonly streams: number;
  /** Watchers of each call. */
  readonly watchers: number;
  readonly layout: Layout;
  /** 0: from now on. */
  readonly startRevision: number;
  /** Events after which the run is complete. */
  readonly events: number;
}

export interface CreatedReport {
  readonly created: number;
  readonly atMs: number;
}

export interface WatchersReport {
  readonly events: number;
  readonly responses: number;
  readonly firstMs: number;
  readonly lastMs: number;
  /** Processor seconds of the driver since the watchers were created. */
  readonly cpuSeconds: number;
}

/** Keys of every run begin so. */
export const PREFIX = "watched/";

/** The key with a number. */
export function keyOf(prefix: string, n: number): string {
  return prefix + String(n).padStart(6, "0");
}
