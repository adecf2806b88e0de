import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface Load {
  readonly port: number;
  readonly path: string;
  /** One request message, without its prefix. Every request carries the same. */
  readonly message: Uint8Array;
  /** The message is JSON, for the gateway, and the protocol HTTP/1.1. */
  readonly isJson?: true;
  readonly connections: number;
  readonly streams: number;
  readonly requests: number;
}

/** Milliseconds, as the client saw them. */
export interface Latencies {
  readonly p50: number;
  readonly p99: number;
}

/** 16 MiB: responses of any size come in one go, for either server. */
const WINDOW_BITS = "24";
const GRPC_OPTIONS = [
  ["-w", WINDOW_BITS],
  ["-W", WINDOW_BITS],
  ["-H", "content-type: application/grpc"],
  ["-H", "te: trailers"],
].flat();
const JSON_OPTIONS = ["--h1", "-H", "content-type: application/json"];
const TIMEOUT_MS = 300_000;

/** Runs h2load (nghttp2-client) to its end and returns requests per second. Throws when a request failed. */
export function measureRate(load: Load): number {
  return withDirectory((directory) => runH2load(load, directory, []));
}

/**
 * The same with a line of log for each request. Rates are measured without: the log costs h2load, which shares the
 * processors with the server, an eighth of what a fast server can take, and hardly anything with a slow one.
 */
export function measureLatencies(load: Load): Latencies {
  return withDirectory((directory) => {
    const log = join(directory, "log");
    runH2load(load, directory, [`--log-file=${log}`]);
    return readLatencies(readFileSync(log, "utf8"));
  });
}

function withDirectory<T>(use: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), "etcd-bench-"));
  try {
    return use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function runH2load(load: Load, directory: string, options: readonly string[]): number {
  const body = join(directory, "body");
  writeFileSync(body, load.isJson === true ? load.message : framed(load.message));
  const { stdout } = spawnSync("h2load", [
    "-c",
    String(load.connections),
    "-m",
    String(load.streams),
    "-n",
    String(load.requests),
    "-d",
    body,
    ...load.isJson === true ? JSON_OPTIONS : GRPC_OPTIONS,
    ...options,
    `http://127.0.0.1:${load.port}${load.path}`,
  ], { encoding: "utf8", timeout: TIMEOUT_MS });
  const perSecond = /finished in \S+, ([\d.]+) req\/s/.exec(stdout)?.[1];
  const succeeded = Number(/(\d+) succeeded/.exec(stdout)?.[1] ?? 0);
  if (perSecond === undefined || succeeded !== load.requests) {
    throw new Error(`h2load: ${succeeded} of ${load.requests} requests succeeded\n${stdout}`);
  }
  return Number(perSecond);
}

function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(5 + message.length);
  new DataView(bytes.buffer).setUint32(1, message.length);
  bytes.set(message, 5);
  return bytes;
}

/** Lines of the log are: start in microseconds, HTTP status, microseconds until the response was complete. */
function readLatencies(log: string): Latencies {
  const micros = log.split("\n").filter((line) => line !== "").map((line) => Number(line.split("\t")[2]));
  micros.sort((a, b) => a - b);
  const at = (share: number): number =>
    micros[Math.min(micros.length - 1, Math.floor(micros.length * share))]! / 1000;
  return { p50: at(0.5), p99: at(0.99) };
}
