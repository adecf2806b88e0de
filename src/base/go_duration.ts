const UNIT_NS: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  "µs": 1e3,
  "μs": 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};
const NS_PER_MS = 1e6;
/** Go keeps nanoseconds in 63 bits. */
const NS_MAX = 2 ** 63;

/**
 * Reads a duration as Go's `time.ParseDuration` does ("300ms", "-1.5h", "2h45m", "0") and returns
 * milliseconds. Throws `SyntaxError` with Go's text.
 */
export function parseGoDuration(text: string): number {
  const quoted = JSON.stringify(text);
  const sign = text.startsWith("-") ? -1 : 1;
  let rest = text.replace(/^[-+]/, "");
  if (rest === "0") return 0;
  if (rest === "") throw new SyntaxError(`time: invalid duration ${quoted}`);
  let ns = 0;
  while (rest !== "") {
    const number = /^(\d+\.?\d*|\.\d+)/.exec(rest)?.[0];
    if (number === undefined) throw new SyntaxError(`time: invalid duration ${quoted}`);
    rest = rest.slice(number.length);
    const unit = /^[^\d.]*/.exec(rest)![0];
    if (unit === "") throw new SyntaxError(`time: missing unit in duration ${quoted}`);
    const unitNs = UNIT_NS[unit];
    if (unitNs === undefined) {
      throw new SyntaxError(`time: unknown unit ${JSON.stringify(unit)} in duration ${quoted}`);
    }
    ns += Number(number) * unitNs;
    if (ns >= NS_MAX) throw new SyntaxError(`time: invalid duration ${quoted}`);
    rest = rest.slice(unit.length);
  }
  return sign * ns / NS_PER_MS;
}

/** Writes milliseconds as Go prints a `time.Duration`: "1h0m0s", "1.5s", "100ms", "0s". */
export function formatGoDuration(ms: number): string {
  if (ms === 0) return "0s";
  const sign = ms < 0 ? "-" : "";
  const ns = Math.round(Math.abs(ms) * NS_PER_MS);
  if (ns < 1e3) return `${sign}${ns}ns`;
  if (ns < 1e6) return `${sign}${decimal(ns, 1e3)}µs`;
  if (ns < 1e9) return `${sign}${decimal(ns, 1e6)}ms`;
  const hours = Math.floor(ns / UNIT_NS["h"]!);
  const minutes = Math.floor(ns / UNIT_NS["m"]!) % 60;
  const seconds = decimal(ns % UNIT_NS["m"]!, 1e9);
  return sign + (hours > 0 ? `${hours}h` : "") + (hours > 0 || minutes > 0 ? `${minutes}m` : "") +
    `${seconds}s`;
}

/** `value / unit` with as many digits as it needs. */
function decimal(value: number, unit: number): string {
  const fraction = value % unit;
  const whole = String((value - fraction) / unit);
  if (fraction === 0) return whole;
  return `${whole}.${String(unit + fraction).slice(1).replace(/0+$/, "")}`;
}
