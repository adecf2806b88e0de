/**
 * Compares this server with the etcd in Go found on PATH (or `$ETCD_GO`), both driven by `h2load` from the
 * same machine: fresh processes, in turn, the order reversed each round; medians and raw values.
 *
 *     npm run bench -- [--rounds=3] [--runtimes=bun,deno,node] [--keys=1000000] [--only=Put] [--json=file]
 *
 * It asserts nothing: it is a measurement. Quiet the machine first.
 */
import { writeFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { runLoad } from "./h2load.ts";
import {
  goServer,
  ourServer,
  RunningSubject,
  type RuntimeName,
  RUNTIMES,
  sleep,
  type Subject,
  withDataDir,
} from "./subject.ts";
import {
  LARGE_KEYS,
  LARGE_PREFIX,
  largeRange,
  loadKeys,
  PAGE_PREFIX,
  pages,
  type Workload,
  workloads,
} from "./workloads.ts";

/** Figures of one subject in one round, by row. */
interface Figures {
  value: number;
  p50?: number;
  p99?: number;
  cpuSeconds?: number;
  peakMib?: number;
}
type Results = Map<string, Map<string, Figures[]>>;

const options = new Map(
  process.argv.slice(2).map((argument) => argument.replace(/^--/, "").split("=") as [string, string]),
);
const rounds = Number(options.get("rounds") ?? 3);
const keys = Number(options.get("keys") ?? 1_000_000);
const only = options.get("only") ?? "";
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
    await measureRequests(subject);
    if (keys > 0) await measureManyKeys(subject);
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

async function measureRequests(subject: Subject): Promise<void> {
  await withDataDir(async (dataDir) => {
    const server = await RunningSubject.start(subject, dataDir);
    try {
      const chosen = workloads.filter(wanted);
      if (chosen.length > 0) {
        await loadKeys(server.port, "/bench/key-", 1, 256);
        runLoad({ ...workloads[0]!, port: server.port, requests: 20_000 }); // Warms both the code and the caches.
        for (const workload of chosen) measure(subject, server, workload);
      }
      if (wanted(largeRange)) {
        await loadKeys(server.port, LARGE_PREFIX, LARGE_KEYS, 1000);
        await sleep(500);
        server.resetPeak();
        const before = server.memoryMib().now;
        measure(subject, server, largeRange);
        record(subject, "RSS growth of that range, MiB", {
          value: Math.max(0, server.memoryMib().peak - before),
        }, "–");
      }
    } finally {
      await server.stop();
    }
  });
}

async function measureManyKeys(subject: Subject): Promise<void> {
  if (!pages.some(wanted)) return;
  await withDataDir(async (dataDir) => {
    let server = await RunningSubject.start(subject, dataDir);
    try {
      const seconds = await loadKeys(server.port, PAGE_PREFIX, keys, 256);
      record(subject, `Loading ${keys} keys × 256 B, s`, { value: seconds }, "–");
      for (const workload of pages) measure(subject, server, workload);
      await sleep(3_000);
      record(subject, `RSS with ${keys} keys, MiB`, {
        value: server.memoryMib().now,
        peakMib: server.memoryMib().peak,
      }, "≤ 0.5");
      await server.stop();
      server = await RunningSubject.start(subject, dataDir);
      record(subject, `Restart to serving with ${keys} keys, ms`, { value: server.readyMs }, "≤ 0.5");
    } finally {
      await server.stop();
    }
  });
}

function wanted({ name }: { readonly name: string }): boolean {
  return name.includes(only);
}

function measure(subject: Subject, server: RunningSubject, workload: Workload): void {
  const cpuBefore = server.cpuSeconds();
  const { perSecond, p50, p99 } = runLoad({ ...workload, port: server.port });
  const cpuSeconds = server.cpuSeconds() - cpuBefore;
  const isRate = workload.figure === "perSecond";
  const name = isRate ? `${workload.name}, requests/s` : `${workload.name}, median ms`;
  record(subject, name, {
    value: isRate ? perSecond : p50,
    p50,
    p99,
    cpuSeconds,
    peakMib: server.memoryMib().peak,
  }, workload.goal);
}

function record(subject: Subject, row: string, figures: Figures, goal: string): void {
  goals.set(row, goal);
  const by = results.get(row) ?? new Map<string, Figures[]>();
  results.set(row, by);
  by.set(subject.name, [...by.get(subject.name) ?? [], figures]);
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
        value === undefined || reference === undefined ? "" : (value / reference).toFixed(2),
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
  return values[Math.floor(values.length / 2)];
}

function show(value: number | undefined): string {
  if (value === undefined) return "–";
  return value >= 1000
    ? Math.round(value).toLocaleString("en")
    : value >= 10
    ? value.toFixed(1)
    : value.toFixed(3);
}
