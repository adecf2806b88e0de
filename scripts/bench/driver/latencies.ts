/** A sorted list's value at a share of its length, in the list's unit; NaN for an empty list. */
export function quantile(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Of the calls of several clients. Milliseconds. */
export interface Latencies {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** The 99th percentile of the client that fared worst. */
  readonly worstP99: number;
}

export function summarize(byClient: readonly (readonly number[])[]): Latencies {
  const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);
  const all = ascending(byClient.flat());
  return {
    p50: quantile(all, 0.5),
    p99: quantile(all, 0.99),
    max: quantile(all, 1),
    worstP99: Math.max(...byClient.map((list) => quantile(ascending(list), 0.99))),
  };
}
