import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A server to measure. */
export interface Subject {
  readonly name: string;
  readonly command: readonly string[];
  readonly version: string;
}

export const RUNTIMES = ["bun", "deno", "node"] as const;
export type RuntimeName = (typeof RUNTIMES)[number];

const bin = (name: string): string => join("node_modules", ".bin", name);

export function ourServer(runtime: RuntimeName): Subject {
  const run =
    { bun: ["run", "mod.ts"], deno: ["run", "-A", "--no-check", "mod.ts"], node: ["mod.ts"] }[runtime];
  const version = spawnSync(bin(runtime), ["--version"], { encoding: "utf8" }).stdout.split("\n")[0]!.trim();
  return {
    name: runtime,
    command: [bin(runtime), ...run],
    version: `${runtime} ${version.replace(/^(deno|v)\s*/, "")}`,
  };
}

/** The etcd in Go: `$ETCD_GO`, or `etcd` on PATH. Undefined when there is none. */
export function goServer(): Subject | undefined {
  const command = process.env["ETCD_GO"] ?? "etcd";
  const found = spawnSync(command, ["--version"], { encoding: "utf8" });
  if (found.error !== undefined) return undefined;
  const version = /etcd Version: (\S+)/.exec(found.stdout)?.[1] ?? "unknown";
  return { name: "etcd", command: [command], version: `etcd ${version} (Go)` };
}

const READY_MS = 120_000;
const STOP_MS = 30_000;

/** A subject in a fresh process, on a data directory of its own. */
export class RunningSubject {
  readonly port: number;
  readonly readyMs: number;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, port: number, readyMs: number) {
    this.#child = child;
    this.port = port;
    this.readyMs = readyMs;
  }

  static async start(subject: Subject, dataDir: string): Promise<RunningSubject> {
    const [port, peerPort] = await freePorts();
    const client = `http://127.0.0.1:${port}`;
    const peer = `http://127.0.0.1:${peerPort}`;
    const flags = [
      `--data-dir=${dataDir}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=default=${peer}`,
      "--quota-backend-bytes=8589934592",
    ];
    const startedMs = performance.now();
    const [command, ...args] = subject.command;
    const child = spawn(command!, [...args, ...flags], { stdio: "ignore" });
    while (!(await isHealthy(client))) {
      if (child.exitCode !== null || performance.now() - startedMs > READY_MS) {
        throw new Error(`${subject.name} did not become ready (exit status ${child.exitCode})`);
      }
      await sleep(5);
    }
    return new RunningSubject(child, port!, performance.now() - startedMs);
  }

  /** Resident memory, its peak since the last `resetPeak`, and what of it is no file's, in MiB; Linux only. */
  memoryMib(): { readonly now: number; readonly peak: number; readonly anonymous: number } {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "utf8");
    const kib = (field: string): number => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1] ?? 0);
    return { now: kib("VmRSS") / 1024, peak: kib("VmHWM") / 1024, anonymous: kib("RssAnon") / 1024 };
  }

  resetPeak(): void {
    writeFileSync(`/proc/${this.#child.pid}/clear_refs`, "5");
  }

  /** Processor seconds used so far. */
  cpuSeconds(): number {
    const fields = readFileSync(`/proc/${this.#child.pid}/stat`, "utf8").split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#child.once("close", resolve));
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await closed;
    clearTimeout(timer);
  }
}

/** Runs `use` with a new directory that is removed afterwards. */
export async function withDataDir<T>(use: (dataDir: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "etcd-bench-"));
  try {
    return await use(join(directory, "data"));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch {
    return false;
  }
}

async function freePorts(): Promise<number[]> {
  const servers = [createServer(), createServer()];
  const ports = await Promise.all(
    servers.map((server) =>
      new Promise<number>((resolve) =>
        server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port))
      )
    ),
  );
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
