/**
 * Compares this server with the etcd in Go found on PATH (or `$ETCD_GO`), both driven alike by `h2load` or the
 * programs in `driver/` on the same machine: fresh processes, in turn, the order reversed each round; medians and
 * raw values.
 *
 *     npm run bench -- [--rounds=3] [--runtimes=bun,deno,node] [--keys=1000000] [--only=pattern] [--json=file]
 *
 * It asserts nothing: it is a measurement. Quiet the machine first.
 */
import { writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { measureExpiry, measureLeases } from "./lease_suites.ts";
import { measureManyKeys, measureRequests } from "./request_suites.ts";
import { measureSnapshot } from "./snapshot_suite.ts";
import { goServer, ourServer, type RuntimeName, RUNTIMES, type Subject } from "./subject.ts";
import type { Figures, Recorder, Suite } from "./suite.ts";
import { measureCatchUp, measureIdleWatchers, measureWatchedPuts } from "./watch_suites.ts";

/** All rows of the table, in its order. */
const suites: readonly Suite[] = [
  measureRequests,
  measureManyKeys,
  measureWatchedPuts,
  measureIdleWatchers,
  measureCatchUp,
  measureLeases,
  measureExpiry,
  measureSnapshot,
];

/** By row, then by subject: a round after the other. */
type Results = Map<string, Map<string, Figures[]>>;

const options = new Map(
  process.argv.slice(2).map((argument) => argument.replace(/^--/, "").split("=") as [string, string]),
);
const rounds = Number(options.get("rounds") ?? 3);
const keys = Number(options.get("keys") ?? 1_000_000);
const only = new RegExp(options.get("only") ?? "");
const runtimes = (options.get("runtimes") ?? RUNTIMES.join(",")).split(",") as RuntimeName[];

const go = goServer();
if (go === undefined) console.log("No etcd on PATH: only this server is measured, without ratios.");
const subjects: Subject[] = [...(go === undefined ? [] : [go]), ...runtimes.map(ourServer)];
const results: Results = new Map();
const goals = new Map<string, string>();

for (let round = 0; round < rounds; round += 1) {
  const order = round % 2 === 0 ? subjects : [...subjects].reverse();
  for (const subject of order) {
    console.error(`round ${round + 1} of ${rounds}: ${subject.name}`);
    for (const suite of suites) await suite(subject, recorderOf(subject));
  }
}
printTable();
const json = options.get("json");
if (json !== undefined) {
  writeFileSync(
    json,
    JSON.stringify([...results].map(([row, by]) => [row, Object.fromEntries(by)]), null, 1),
  );
}

function recorderOf(subject: Subject): Recorder {
  return {
    keys,
    wants: (row) => only.test(row),
    record: (row, figures, goal) => {
      goals.set(row, goal);
      const by = results.get(row) ?? new Map<string, Figures[]>();
      results.set(row, by);
      by.set(subject.name, [...by.get(subject.name) ?? [], figures]);
    },
  };
}

function printTable(): void {
  const machine = `${cpus().length} × ${cpus()[0]?.model ?? "?"}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
  console.log(
    `${machine}; ${subjects.map(({ version }) => version).join(", ")}; ${rounds} rounds, medians\n`,
  );
  const ours = runtimes.flatMap((runtime) => [runtime, `${runtime} ÷ etcd`]);
  console.log(`| work | etcd | ${ours.join(" | ")} | goal on Bun |`);
  console.log(`|---|---|${ours.map(() => "---|").join("")}---|`);
  for (const [row, by] of results) {
    const reference = medianOf(by.get("etcd"));
    const cells = runtimes.flatMap((runtime) => {
      const value = medianOf(by.get(runtime));
      return [
        show(value),
        value === undefined || reference === undefined || reference === 0
          ? ""
          : (value / reference).toFixed(2),
      ];
    });
    console.log(`| ${row} | ${show(reference)} | ${cells.join(" | ")} | ${goals.get(row)} |`);
  }
  console.log(
    "\nRaw values in the order of the rounds; p50 / p99 ms, server CPU s, peak RSS MiB where they apply:\n",
  );
  for (const [row, by] of results) {
    for (const [subject, list] of by) {
      console.log(`${row}, ${subject}: ${list.map(raw).join("; ")}`);
    }
  }
}

function raw({ value, p50, p99, cpuSeconds, peakMib }: Figures): string {
  const details = [
    p50 === undefined ? "" : `${show(p50)} / ${show(p99)}`,
    cpuSeconds === undefined ? "" : `${cpuSeconds.toFixed(2)} s`,
    peakMib === undefined ? "" : `${Math.round(peakMib)} MiB`,
  ].filter((text) => text !== "");
  return `${show(value)}${details.length > 0 ? ` (${details.join(", ")})` : ""}`;
}

function medianOf(list: readonly Figures[] | undefined): number | undefined {
  if (list === undefined) return undefined;
  const values = list.map(({ value }) => value).sort((a, b) => a - b);
  const upper = values[Math.floor(values.length / 2)]!;
  const lower = values[Math.floor((values.length - 1) / 2)]!;
  return (lower + upper) / 2;
}

function show(value: number | undefined): string {
  if (value === undefined) return "–";
  return value >= 1000
    ? Math.round(value).toLocaleString("en")
    : value >= 10
    ? value.toFixed(1)
    : value.toFixed(3);
}
