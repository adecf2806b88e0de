import { measureLatencies, measureRate } from "./h2load.ts";
import type { RunningSubject, Subject } from "./subject.ts";
import type { Workload } from "./workloads.ts";

/** Figures of one subject in one round for one row. Times are milliseconds unless they say otherwise. */
export interface Figures {
  readonly value: number;
  readonly p50?: number;
  readonly p99?: number;
  /** Processor seconds of the server. */
  readonly cpuSeconds?: number;
  /** Peak resident memory of the server. */
  readonly peakMib?: number;
}

/** What a suite may ask of the run that it is part of, and where its figures go. */
export interface Recorder {
  /** Keys, revisions or watchers of the rows about many of them, a multiple of 1000; 0 leaves these rows out. */
  readonly keys: number;
  /** Whether a row was chosen by `--only`. Rows that follow from another are recorded with it. */
  wants(row: string): boolean;
  /** `goal` is what the row is to reach on Bun as a ratio to etcd, or "–". */
  record(row: string, figures: Figures, goal: string): void;
}

/**
 * Rows measured together. A suite starts the subject itself, as often as its rows need a fresh one, and returns
 * at once when the recorder wants none of its rows.
 */
export type Suite = (subject: Subject, recorder: Recorder) => Promise<void>;

/** Requests for which a row about a rate takes latencies as well, after the rate. */
export const LATENCY_SHARE = 1 / 4;

/** Drives one workload of h2load and records its row. */
export function measureLoad(server: RunningSubject, workload: Workload, recorder: Recorder): void {
  const load = { ...workload, port: server.port };
  const isRate = workload.figure === "perSecond";
  const cpuBefore = server.cpuSeconds();
  const perSecond = isRate ? measureRate(load) : undefined;
  const rateCpuSeconds = server.cpuSeconds() - cpuBefore;
  const { p50, p99 } = measureLatencies(isRate ? { ...load, requests: load.requests * LATENCY_SHARE } : load);
  const cpuSeconds = isRate ? rateCpuSeconds : server.cpuSeconds() - cpuBefore;
  recorder.record(
    isRate ? `${workload.name}, requests/s` : `${workload.name}, median ms`,
    { value: perSecond ?? p50, p50, p99, cpuSeconds, peakMib: server.memoryMib().peak },
    workload.goal,
  );
  const { p99Goal } = workload;
  if (p99Goal !== undefined) recorder.record(`${workload.name}, p99 ms`, { value: p99 }, p99Goal);
}
