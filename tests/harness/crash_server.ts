/** Servers that are not expected to live: started under a tracer that injects faults, killed, refused to start. */
import { spawnSync } from "node:child_process";
import { EtcdProcess, type ExitStatus, flagsFor, freePort, runtimeCommand } from "./etcd_process.ts";

const EXIT_POLL_MS = 5;

export interface DoomedOptions {
  readonly dataDir: string;
  /** Further flags of the server. */
  readonly flags?: readonly string[];
  /** What strace is to inject, as in "fdatasync:error=EIO:when=3"; each an `-e inject=`. */
  readonly inject?: readonly string[];
  /** Only calls on these paths are traced, and so injected. */
  readonly paths?: readonly string[];
}

/** Starts this repository's server on the runtime of the test and does not wait for it. */
export async function spawnEtcd(options: DoomedOptions): Promise<EtcdProcess> {
  const { dataDir, flags = [], inject = [], paths = [] } = options;
  const port = await freePort();
  const command = [
    ...inject.length === 0 ? [] : tracer(inject, paths),
    ...runtimeCommand(),
    "mod.ts",
    ...flagsFor(dataDir, port, await freePort()),
    ...flags,
  ];
  return new EtcdProcess(command[0]!, command.slice(1), port, dataDir, false);
}

/**
 * strace as a grandchild (`-D`), so that the process started is the server itself. It counts calls by thread:
 * where the pool's size can be set, one thread makes all of them, and the n-th call is the n-th of all.
 */
function tracer(inject: readonly string[], paths: readonly string[]): string[] {
  const calls = inject.map((fault) => fault.slice(0, fault.indexOf(":"))).join(",");
  return [
    "env",
    "UV_THREADPOOL_SIZE=1",
    ...["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none", "-e", `trace=${calls}`],
    ...inject.flatMap((fault) => ["-e", `inject=${fault}`]),
    ...paths.flatMap((path) => ["-P", path]),
  ];
}

/** Runs `body` on a server that is well, and ends it. Errors come with what the server printed. */
export async function onServer(
  options: DoomedOptions,
  body: (server: EtcdProcess) => Promise<void> | void,
  end: "SIGTERM" | "SIGKILL" = "SIGTERM",
): Promise<void> {
  const server = await spawnEtcd(options);
  try {
    await server.ready();
    await body(server);
  } catch (error) {
    throw new Error(`The server printed:\n${server.output}`, { cause: error });
  } finally {
    await server.stop(end);
  }
}

/** Waits for a server to end by itself. Throws, with what it printed, when it goes on. */
export async function exitOf(server: EtcdProcess, timeoutMs: number): Promise<ExitStatus> {
  const deadlineMs = performance.now() + timeoutMs;
  while (server.alive && performance.now() < deadlineMs) await sleep(EXIT_POLL_MS);
  const endedItself = !server.alive;
  const exit = await server.stop("SIGKILL");
  if (!endedItself) throw new Error(`The server goes on after ${timeoutMs} ms:\n${server.output}`);
  return exit;
}

/** Why the test must be skipped, or false. */
export function skipUnless(command: readonly string[], reason: string): string | false {
  const { status } = spawnSync(command[0]!, command.slice(1), { stdio: "ignore" });
  return status === 0 ? false : reason;
}

export const noStrace: string | false = skipUnless(
  ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "true"],
  "strace is missing or may not trace",
);

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
