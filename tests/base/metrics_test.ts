import assert from "node:assert/strict";
import { test } from "node:test";
import { Histogram } from "../../src/base/histogram.ts";
import { counter, gauge, histogram, labelled, renderMetrics } from "../../src/base/metrics.ts";

test("renderMetrics() prints families and samples in the order of Go's client", () => {
  const latency = new Histogram(Float64Array.of(0.5, 2));
  for (const value of [0.25, 0.5, 1, 8]) latency.observe(value);
  const text = renderMetrics([
    labelled("counter", "zoo_total", "By kind.", () => [
      { labels: { name: "b", kind: "2" }, value: 1 },
      { labels: { name: "a", kind: "2" }, value: 2 },
      { labels: { name: "z", kind: "1" }, value: 3 },
    ]),
    histogram("latency", "Seconds.", () => latency),
    labelled("gauge", "nothing", "Has no samples.", () => []),
    labelled("histogram", "by_method", "Seconds.", () => [{ labels: { method: "Put" }, value: latency }]),
    gauge("Upper", "Capitals come first.", () => 1),
  ]);
  assert.equal(
    text,
    `# HELP Upper Capitals come first.
# TYPE Upper gauge
Upper 1
# HELP by_method Seconds.
# TYPE by_method histogram
by_method_bucket{method="Put",le="0.5"} 2
by_method_bucket{method="Put",le="2"} 3
by_method_bucket{method="Put",le="+Inf"} 4
by_method_sum{method="Put"} 9.75
by_method_count{method="Put"} 4
# HELP latency Seconds.
# TYPE latency histogram
latency_bucket{le="0.5"} 2
latency_bucket{le="2"} 3
latency_bucket{le="+Inf"} 4
latency_sum 9.75
latency_count 4
# HELP zoo_total By kind.
# TYPE zoo_total counter
zoo_total{kind="1",name="z"} 3
zoo_total{kind="2",name="a"} 2
zoo_total{kind="2",name="b"} 1
`,
  );
});

test("renderMetrics() escapes help texts and label values", () => {
  const text = renderMetrics([
    labelled("gauge", "odd", 'a\\b\n"c"', () => [{ labels: { value: 'a\\b\n"c"' }, value: 0 }]),
  ]);
  assert.equal(text, '# HELP odd a\\\\b\\n"c"\n# TYPE odd gauge\nodd{value="a\\\\b\\n\\"c\\""} 0\n');
});

/** What Go's strconv.FormatFloat(value, 'g', -1, 64) gives. */
const numbers: readonly (readonly [number, string])[] = [
  [0, "0"],
  [-0, "0"],
  [1, "1"],
  [-1, "-1"],
  [0.1 + 0.2, "0.30000000000000004"],
  [999_999, "999999"],
  [1_000_000, "1e+06"],
  [1_048_576, "1.048576e+06"],
  [-2_147_483_648, "-2.147483648e+09"],
  [0.0001, "0.0001"],
  [0.00012345, "0.00012345"],
  [0.000099, "9.9e-05"],
  [1e21, "1e+21"],
  [2 ** 64, "1.8446744073709552e+19"],
  [1e100, "1e+100"],
  [5e-324, "5e-324"],
  [NaN, "NaN"],
  [Infinity, "+Inf"],
  [-Infinity, "-Inf"],
];

test("renderMetrics() prints numbers as Go does", () => {
  for (const [value, expected] of numbers) {
    assert.equal(renderMetrics([counter("n", "", () => value)]).split("\n")[2], `n ${expected}`);
  }
});
