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

/** What a run came to. Latencies are milliseconds, as the client saw them. */
export interface LoadResult {
  readonly perSecond: number;
  readonly p50: number;
  readonly p99: number;
  readonly seconds: number;
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

/** Runs h2load (nghttp2-client) to its end. Throws when a request failed. */
export function runLoad(load: Load): LoadResult {
  const directory = mkdtempSync(join(tmpdir(), "etcd-bench-"));
  try {
    const body = join(directory, "body");
    const log = join(directory, "log");
    writeFileSync(body, load.isJson === true ? load.message : framed(load.message));
    const run = spawnSync("h2load", [
      "-c",
      String(load.connections),
      "-m",
      String(load.streams),
      "-n",
      String(load.requests),
      "-d",
      body,
      ...load.isJson === true ? JSON_OPTIONS : GRPC_OPTIONS,
      `--log-file=${log}`,
      `http://127.0.0.1:${load.port}${load.path}`,
    ], { encoding: "utf8", timeout: TIMEOUT_MS });
    return readResult(run.stdout, readFileSync(log, "utf8"), load.requests);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function framed(message: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(5 + message.length);
  new DataView(bytes.buffer).setUint32(1, message.length);
  bytes.set(message, 5);
  return bytes;
}

/** Lines of the log are: start in microseconds, HTTP status, microseconds until the response was complete. */
function readResult(output: string, log: string, requests: number): LoadResult {
  const match = /finished in ([\d.]+)(us|ms|s), ([\d.]+) req\/s/.exec(output);
  const succeeded = Number(/(\d+) succeeded/.exec(output)?.[1] ?? 0);
  if (match === null || succeeded !== requests) {
    throw new Error(`h2load: ${succeeded} of ${requests} requests succeeded\n${output}`);
  }
  const micros = log.split("\n").filter((line) => line !== "").map((line) => Number(line.split("\t")[2]));
  micros.sort((a, b) => a - b);
  const at = (share: number): number =>
    micros[Math.min(micros.length - 1, Math.floor(micros.length * share))]! / 1000;
  const seconds = Number(match[1]) * ({ us: 1e-6, ms: 1e-3, s: 1 }[match[2]!] ?? 1);
  return { perSecond: Number(match[3]), p50: at(0.5), p99: at(0.99), seconds };
}
