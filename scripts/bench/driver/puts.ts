/**
 * Puts against a server that runs, from ten connections:
 *
 * - `puts.ts PORT most SECONDS VALUE_BYTES`: as many as it takes, with 100 in flight; puts per second.
 * - `puts.ts PORT paced SECONDS VALUE_BYTES RATE`: at a rate, whether the server keeps up or not. Each latency
 *   counts from the time at which the put was due, so that a server that stalls is charged for all who waited.
 */
import process from "node:process";
import { create, toBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../../src/base/bytes.ts";
import { PutRequestSchema } from "../../../src/gen/etcdserverpb/kv_pb.ts";
import { GrpcClient } from "../../../tests/harness/grpc_client.ts";
import { type Latencies, summarize } from "./latencies.ts";

/** What the driver prints. */
export interface PutResult extends Latencies {
  readonly perSecond: number;
}

const PUT = "/etcdserverpb.KV/Put";
const CONNECTIONS = 10;
const IN_FLIGHT = 10;
const KEYS = 1000;
const TOO_BUSY = "etcdserver: too many requests";
const RETRY_MS = 20;

/** A put that the server is too busy for is tried again until it takes it, and its latency grows with that. */
async function put(client: GrpcClient, message: Uint8Array, dueMs: number, into: number[]): Promise<void> {
  for (;;) {
    const { status, message: text } = await client.unary(PUT, message);
    if (status === "OK") break;
    if (text !== TOO_BUSY) throw new Error(`Put: ${status} ${text}`);
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  into.push(performance.now() - dueMs);
}

/** Calls until `endMs`, each caller one after the other. */
async function putMost(clients: readonly GrpcClient[], endMs: number, next: () => Uint8Array) {
  const latencies = clients.map((): number[] => []);
  const callers = clients.flatMap((client, at) =>
    Array.from({ length: IN_FLIGHT }, async () => {
      for (let nowMs = performance.now(); nowMs < endMs; nowMs = performance.now()) {
        await put(client, next(), nowMs, latencies[at]!);
      }
    })
  );
  await Promise.all(callers);
  return latencies;
}

/** Calls that are due at even distances, the clients in turn. */
async function putPaced(
  clients: readonly GrpcClient[],
  startMs: number,
  endMs: number,
  perSecond: number,
  next: () => Uint8Array,
) {
  const latencies = clients.map((): number[] => []);
  const total = Math.floor(((endMs - startMs) / 1000) * perSecond);
  let failure: unknown;
  let done = 0;
  for (let sent = 0; sent < total && failure === undefined;) {
    const due = Math.min(total, Math.floor(((performance.now() - startMs) / 1000) * perSecond) + 1);
    for (; sent < due; sent += 1) {
      const at = sent % clients.length;
      put(clients[at]!, next(), startMs + (sent / perSecond) * 1000, latencies[at]!)
        .then(() => done += 1, (error) => failure = error);
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  while (done < total && failure === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  if (failure !== undefined) throw failure;
  return latencies;
}

if (import.meta.main) {
  const [port, mode, seconds, valueBytes, rate] = process.argv.slice(2);
  const clients = await Promise.all(
    Array.from({ length: CONNECTIONS }, () => GrpcClient.connect(Number(port))),
  );
  const value = new Uint8Array(Number(valueBytes)).fill(120);
  const messages = Array.from({ length: KEYS }, (_, n) =>
    toBinary(
      PutRequestSchema,
      create(PutRequestSchema, { key: utf8(`/bench/put-${String(n).padStart(6, "0")}`), value }),
    ));
  let count = 0;
  const next = (): Uint8Array => messages[count++ % KEYS]!;
  const startMs = performance.now();
  const endMs = startMs + Number(seconds) * 1000;
  const latencies = mode === "most"
    ? await putMost(clients, endMs, next)
    : await putPaced(clients, startMs, endMs, Number(rate), next);
  const tookMs = performance.now() - startMs;
  await Promise.all(clients.map((client) => client.close()));
  const result: PutResult = { perSecond: (count * 1000) / tookMs, ...summarize(latencies) };
  console.log(JSON.stringify(result));
  process.exit(0);
}
