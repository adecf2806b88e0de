import type { Histogram } from "./histogram.ts";

/** A number with its labels, or a histogram. Values are read when metrics are asked for, not before. */
export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number | Histogram;
}

/** A metric family of the Prometheus text format. */
export interface MetricFamily {
  readonly name: string;
  readonly help: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly samples: () => readonly Sample[];
}

type ReadValue = () => number | Histogram;

/** Families of one sample without labels. */
export function counter(name: string, help: string, read: ReadValue): MetricFamily {
  return { name, help, type: "counter", samples: () => [{ value: read() }] };
}

export function gauge(name: string, help: string, read: ReadValue): MetricFamily {
  return { name, help, type: "gauge", samples: () => [{ value: read() }] };
}

export function histogram(name: string, help: string, read: () => Histogram): MetricFamily {
  return { name, help, type: "histogram", samples: () => [{ value: read() }] };
}

/** A family of samples with labels. Without samples it is not rendered. */
export function labelled(
  type: MetricFamily["type"],
  name: string,
  help: string,
  samples: () => readonly Sample[],
): MetricFamily {
  return { name, help, type, samples };
}

/**
 * Prometheus text exposition format 0.0.4. Families are sorted by name and their samples by the values of their
 * labels, as Go's client prints them.
 */
export function renderMetrics(families: readonly MetricFamily[]): string {
  const sorted = [...families].sort((a, b) => compare(a.name, b.name));
  let text = "";
  for (const { name, help, type, samples } of sorted) {
    const rows = samples().map((sample) => ({ sample, labels: sortedLabels(sample.labels ?? {}) }));
    if (rows.length === 0) continue;
    rows.sort((a, b) => compareLabels(a.labels, b.labels));
    text += `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`;
    for (const { sample, labels } of rows) text += renderSample(name, labels, sample.value);
  }
  return text;
}

type Labels = readonly (readonly [name: string, value: string])[];

function sortedLabels(labels: Readonly<Record<string, string>>): Labels {
  return Object.entries(labels).sort(([a], [b]) => compare(a, b));
}

function compareLabels(a: Labels, b: Labels): number {
  for (let i = 0; i < a.length && i < b.length; i += 1) {
    const order = compare(a[i]![1], b[i]![1]);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The label `le` of a histogram's buckets comes after all others, as in Go's client. */
function renderSample(name: string, labels: Labels, value: number | Histogram): string {
  if (typeof value === "number") return `${name}${renderLabels(labels)} ${renderNumber(value)}\n`;
  let text = "";
  const cumulated = value.cumulated();
  cumulated.forEach((count, bucket) => {
    const le = bucket < value.bounds.length ? renderNumber(value.bounds[bucket]!) : "+Inf";
    text += `${name}_bucket${renderLabels([...labels, ["le", le]])} ${renderNumber(count)}\n`;
  });
  text += `${name}_sum${renderLabels(labels)} ${renderNumber(value.sum)}\n`;
  text += `${name}_count${renderLabels(labels)} ${renderNumber(cumulated.at(-1)!)}\n`;
  return text;
}

function renderLabels(labels: Labels): string {
  if (labels.length === 0) return "";
  return `{${labels.map(([name, value]) => `${name}="${escapeLabel(value)}"`).join(",")}}`;
}

function escapeHelp(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
}

function escapeLabel(value: string): string {
  return escapeHelp(value).replaceAll('"', '\\"');
}

/** As Go's %g prints: exponents from 1e+06 and below 1e-04 on. */
function renderNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  const magnitude = Math.abs(value);
  const exponential = magnitude >= 1e6 || (magnitude !== 0 && magnitude < 1e-4);
  return exponential ? goExponent(value) : String(value);
}

/** "1.234e+06": the shortest digits, the exponent with its sign and at least two digits. */
function goExponent(value: number): string {
  const [digits, exponent] = value.toExponential().split("e") as [string, string];
  const sign = exponent.startsWith("-") ? "-" : "+";
  return `${digits}e${sign}${exponent.replace(/[+-]/, "").padStart(2, "0")}`;
}
