/**
 * Counts of observations by upper bound, as Prometheus histograms report them. Observing allocates
 * nothing; buckets are cumulated only when they are read.
 */
export class Histogram {
  /** Upper bounds in ascending order; the bucket of +Inf is implied. */
  readonly bounds: Float64Array;
  readonly #counts: Float64Array;
  sum = 0;

  constructor(bounds: Float64Array) {
    this.bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    this.sum += value;
    let bucket = 0;
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket += 1;
    this.#counts[bucket]! += 1;
  }

  /** Observations at or below each bound, then all of them. */
  cumulated(): Float64Array {
    const cumulated = new Float64Array(this.#counts.length);
    let total = 0;
    this.#counts.forEach((count, bucket) => cumulated[bucket] = total += count);
    return cumulated;
  }
}

/** `count` bounds that start at `start` and grow by `factor`: Prometheus's ExponentialBuckets. */
export function exponentialBounds(start: number, factor: number, count: number): Float64Array {
  return Float64Array.from({ length: count }, (_, i) => start * factor ** i);
}

/** Histograms by the values of two labels. The caller chooses among few values of its own: nothing bounds them here. */
export class HistogramTable {
  readonly #bounds: Float64Array;
  readonly #byOperation = new Map<string, { readonly success: Histogram; readonly failure: Histogram }>();

  constructor(bounds: Float64Array) {
    this.#bounds = bounds;
  }

  observe(operation: string, success: boolean, value: number): void {
    let pair = this.#byOperation.get(operation);
    if (pair === undefined) {
      pair = { success: new Histogram(this.#bounds), failure: new Histogram(this.#bounds) };
      this.#byOperation.set(operation, pair);
    }
    (success ? pair.success : pair.failure).observe(value);
  }

  /** Those that have observed something. */
  list(): { readonly operation: string; readonly success: boolean; readonly histogram: Histogram }[] {
    return [...this.#byOperation].flatMap(([operation, { success, failure }]) =>
      [{ operation, success: true, histogram: success }, { operation, success: false, histogram: failure }]
        .filter(({ histogram }) => histogram.sum > 0 || histogram.cumulated().at(-1)! > 0)
    );
  }
}
