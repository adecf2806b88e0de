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

/** A family of one sample without labels. */
export function metric(
  type: MetricFamily["type"],
  name: string,
  help: string,
  read: () => number | Histogram,
): MetricFamily {
  return { name, help, type, samples: () => [{ value: read() }] };
}

/** Prometheus text exposition format 0.0.4, families sorted by name as Go's client prints them. */
export function renderMetrics(families: readonly MetricFamily[]): string {
  const sorted = [...families].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  let text = "";
  for (const family of sorted) {
    const samples = family.samples();
    if (samples.length === 0) continue;
    text += `# HELP ${family.name} ${family.help}\n# TYPE ${family.name} ${family.type}\n`;
    for (const sample of samples) text += renderSample(family.name, sample);
  }
  return text;
}

function renderSample(name: string, { labels = {}, value }: Sample): string {
  if (typeof value === "number") return `${name}${renderLabels(labels)} ${renderNumber(value)}\n`;
  let text = "";
  const cumulated = value.cumulated();
  cumulated.forEach((count, bucket) => {
    const le = bucket < value.bounds.length ? renderNumber(value.bounds[bucket]!) : "+Inf";
    text += `${name}_bucket${renderLabels({ ...labels, le })} ${renderNumber(count)}\n`;
  });
  text += `${name}_sum${renderLabels(labels)} ${renderNumber(value.sum)}\n`;
  text += `${name}_count${renderLabels(labels)} ${renderNumber(cumulated.at(-1)!)}\n`;
  return text;
}

/** Labels by name, except that `le` comes last, as in Go's client. */
function renderLabels(labels: Readonly<Record<string, string>>): string {
  const names = Object.keys(labels).sort((a, b) => (a === "le" ? 1 : b === "le" ? -1 : a < b ? -1 : 1));
  if (names.length === 0) return "";
  return `{${names.map((name) => `${name}="${escapeLabel(labels[name]!)}"`).join(",")}}`;
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
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
