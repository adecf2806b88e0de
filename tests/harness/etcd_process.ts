/** Servers as processes of their own: ours on the runtime that runs the test, and the etcd in Go to compare with. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { WAIT_MS_MAX, within } from "./deadline.ts";

/** After that another request is made. */
const HEALTH_TIMEOUT_MS = 5_000;
const PORT_MIN = 10_000;
const PORT_MAX = 32_000;
const PORT_TRIES_MAX = 100;
/** A server that has been given a port may not listen on it yet. */
const givenPorts = new Set<number>();
/** Every etcd says so, with TLS or without, when its port is open; 3.4 in other words. */
const SERVING = /serving (insecure )?client (traffic|requests)/;
/** How much of what a server prints is kept for the message of a failure. */
const OUTPUT_TAIL_CHARACTERS = 16_384;

/**
 * Both servers get the same name, peer URL and client URL, so that their member and cluster ids, and what
 * `member list` says of them, are equal.
 */
const MEMBER_NAME = "default";
const PEER_URL = "http://localhost:2380";
const CLIENT_URL = "http://localhost:2379";

export interface ServerOptions {
  /** Further flags, as `--quota-backend-bytes=…`. */
  readonly flags?: readonly string[];
  /** A data directory to go on with; a new one otherwise, which `stop` removes. */
  readonly dataDir?: string;
  /** Where /health is, when the flags put HTTP on a port of its own. */
  readonly httpPort?: number;
  /** How many files the process may have open. */
  readonly openFilesMax?: number;
}

/** An etcd that serves clients on a port of 127.0.0.1. */
export class EtcdProcess {
  readonly port: number;
  readonly dataDir: string;
  readonly #child: ChildProcess;
  readonly #ownsDataDir: boolean;
  readonly #closed: Promise<ExitStatus>;
  #output = "";
  #serves = false;
  #exit: ExitStatus | undefined;

  constructor(command: string, args: readonly string[], port: number, dataDir: string, ownsDataDir: boolean) {
    this.port = port;
    this.dataDir = dataDir;
    this.#ownsDataDir = ownsDataDir;
    this.#child = spawn(command, args, {
      cwd: repository,
      stdio: ["ignore", "pipe", "pipe"],
      env: environmentOfServer(),
    });
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding("utf8");
      stream.on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_TAIL_CHARACTERS);
        this.#serves ||= SERVING.test(this.#output);
      });
    }
    this.#closed = new Promise((resolve) => {
      this.#child.once("error", (error) => {
        this.#output += String(error);
        resolve({ code: -1, signal: null });
      });
      this.#child.once("close", (code, signal) => resolve({ code, signal }));
    });
    void this.#closed.then((exit) => this.#exit = exit);
    process.once("exit", this.#killAtExit);
  }

  /** `host:port`. */
  get endpoint(): string {
    return `127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get alive(): boolean {
    return this.#exit === undefined;
  }

  /** The end of what the server has printed. */
  get output(): string {
    return this.#output;
  }

  /**
   * Resolves when the server says that it serves, and is healthy: whatever else answers on its port did not
   * print that. Throws, with what it printed, when it is not to be.
   */
  async ready(httpPort = this.port): Promise<void> {
    const deadlineMs = performance.now() + WAIT_MS_MAX;
    while (this.alive && performance.now() < deadlineMs) {
      const answer = this.#serves
        ? await httpGet(httpPort, "/health", HEALTH_TIMEOUT_MS).catch(() => undefined)
        : undefined;
      if (answer?.status === 200) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const reason = this.alive ? `is not ready after ${WAIT_MS_MAX} ms` : "has ended";
    await this.stop();
    throw new Error(`The server on port ${this.port} ${reason}:\n${this.#output}`);
  }

  /** Ends the server by `signal` and removes a data directory that was made for it. */
  async stop(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<ExitStatus> {
    if (this.alive) this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), WAIT_MS_MAX);
    const exit = await within("a killed server to be gone", this.#closed, () => this.#output, 2 * WAIT_MS_MAX)
      .finally(() => clearTimeout(timer));
    process.removeListener("exit", this.#killAtExit);
    if (this.#ownsDataDir) rmSync(this.dataDir, { recursive: true, force: true });
    return exit;
  }

  /** A test that was broken off leaves no server behind. */
  readonly #killAtExit = (): void => {
    this.#child.kill("SIGKILL");
  };
}

export interface ExitStatus {
  readonly code: number | null;
  readonly signal: string | null;
}

const repository = fileURLToPath(new URL("../../", import.meta.url));

/** Starts this repository's server and resolves when it is ready. */
export async function startEtcd(options: ServerOptions = {}): Promise<EtcdProcess> {
  const [command, ...runtimeArgs] = runtimeCommand();
  return await start(command!, [...runtimeArgs, "mod.ts"], options);
}

/** A Go etcd of this machine. */
export interface GoEtcd {
  readonly path: string;
  /** "3.7.1" */
  readonly version: string;
  /** 7 for 3.7.1. */
  readonly minor: number;
}

/**
 * The Go etcd to compare with: `$ETCD_GO`, or `etcd` on the PATH. Undefined when there is none. The behaviour
 * to match is that of 3.7; comparisons with an older one leave out what has changed since.
 */
export function findGoEtcd(): GoEtcd | undefined {
  return goEtcdAt(process.env["ETCD_GO"] ?? findProgram("etcd"));
}

/** Every Go etcd of this machine: that one, and another on the PATH. */
export function findGoEtcds(): GoEtcd[] {
  const found = [findGoEtcd(), goEtcdAt(findProgram("etcd"))].filter((etcd) => etcd !== undefined);
  return found.filter(({ path }, i) => found.findIndex((other) => other.path === path) === i);
}

function goEtcdAt(path: string | undefined): GoEtcd | undefined {
  if (path === undefined) return undefined;
  const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8" });
  const version = /etcd Version: (3\.(\d+)\.\d+)/.exec(stdout ?? "");
  return version === null ? undefined : { path, version: version[1]!, minor: Number(version[2]) };
}

/** Starts a Go etcd as `startEtcd` does ours. */
export async function startGoEtcd({ path }: GoEtcd, options: ServerOptions = {}): Promise<EtcdProcess> {
  return await start(path, [], options);
}

/** Waits for servers that are being started; when one of them fails to, the others are stopped. */
export async function allStarted(starting: readonly Promise<EtcdProcess>[]): Promise<EtcdProcess[]> {
  const outcomes = await Promise.allSettled(starting);
  const servers = outcomes.flatMap((outcome) => outcome.status === "fulfilled" ? [outcome.value] : []);
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed === undefined) return servers;
  await Promise.all(servers.map((server) => server.stop()));
  throw failed.reason;
}

async function start(command: string, args: readonly string[], options: ServerOptions): Promise<EtcdProcess> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "etcd-e2e-"));
  const port = await freePort();
  const flags = [...flagsFor(dataDir, port, await freePort()), ...options.flags ?? []];
  const limited = options.openFilesMax === undefined
    ? [command, ...args]
    : ["sh", "-c", `ulimit -n ${options.openFilesMax}; exec "$@"`, "sh", command, ...args];
  const [program, ...rest] = [...limited, ...flags];
  const server = new EtcdProcess(program!, rest, port, dataDir, options.dataDir === undefined);
  await server.ready(options.httpPort);
  return server;
}

/** The flags that both servers understand. */
export function flagsFor(dataDir: string, port: number, peerPort: number): string[] {
  return [
    `--name=${MEMBER_NAME}`,
    `--data-dir=${dataDir}`,
    `--listen-client-urls=http://127.0.0.1:${port}`,
    `--advertise-client-urls=${CLIENT_URL}`,
    `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    `--initial-advertise-peer-urls=${PEER_URL}`,
    `--initial-cluster=${MEMBER_NAME}=${PEER_URL}`,
  ];
}

/** How a TypeScript program is run on this runtime. */
export function runtimeCommand(): string[] {
  if ("deno" in process.versions) return [process.execPath, "run", "-A"];
  if ("bun" in process.versions) return [process.execPath, "run"];
  return [process.execPath];
}

/** Flags may come from ETCD_* variables; those of whoever runs the tests are not meant for these servers. */
function environmentOfServer(): Record<string, string> {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD"));
  return Object.fromEntries(kept) as Record<string, string>;
}

/**
 * A port of 127.0.0.1 that nobody listens on. It is below those that systems give to outgoing connections, and of
 * the share of this process: nobody else takes it before the server that is to have it.
 */
export async function freePort(): Promise<number> {
  // "0/2" of the runner: this process has the first half of the ports.
  const [share = 0, shares = 1] = (process.env["TEST_PORTS"] ?? "0/1").split("/").map(Number);
  for (let tries = 0; tries < PORT_TRIES_MAX; tries += 1) {
    const port = PORT_MIN + Math.floor((share + Math.random()) / shares * (PORT_MAX - PORT_MIN));
    if (givenPorts.has(port)) continue;
    givenPorts.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error("There is no free port");
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** The full path of a program on the PATH. */
export function findProgram(name: string): string | undefined {
  const directories = (process.env["PATH"] ?? "").split(delimiter);
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path));
}

/** GET over a connection of its own; fails when nothing comes for `timeoutMs`. */
export function httpGet(
  port: number,
  path: string,
  timeoutMs = WAIT_MS_MAX,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const request = get({ host: "127.0.0.1", port, path, agent: false, timeout: timeoutMs }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => body += text);
      response.on("end", () => resolve({ status: response.statusCode!, body }));
      response.on("error", reject);
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", reject);
  });
}
