/**
 * Leases of a server that runs:
 *
 * - `leases.ts PORT keepalive SECONDS`: a lease on each of 1,000 streams (10 on each of 100 connections),
 *   renewed again as soon as the reply to the last renewal has come; renewals per second.
 * - `leases.ts PORT expire COUNT FROM_S SPREAD_S`: leases with a key each, which end evenly over
 *   SPREAD_S seconds, the first FROM_S after its grant; a watch tells when each key went, and how late that was.
 */
import process from "node:process";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../../src/base/bytes.ts";
import { decodeLeaseKeepAliveResponse } from "../../../src/gen/codec/etcdserverpb/lease_codec.ts";
import { decodeWatchResponse } from "../../../src/gen/codec/etcdserverpb/watch_codec.ts";
import { PutRequestSchema } from "../../../src/gen/etcdserverpb/kv_pb.ts";
import {
  LeaseGrantRequestSchema,
  LeaseGrantResponseSchema,
  LeaseKeepAliveRequestSchema,
} from "../../../src/gen/etcdserverpb/lease_pb.ts";
import { GrpcClient } from "../../../tests/harness/grpc_client.ts";
import { StreamClient } from "../../../tests/harness/grpc_stream.ts";
import { quantile } from "./latencies.ts";

export interface KeepAliveResult {
  readonly perSecond: number;
  /** Processor seconds of this driver, of the `seconds` that it measured: near those, the driver was the limit. */
  readonly driverCpuSeconds: number;
  readonly seconds: number;
}

export interface ExpireResult {
  /** Milliseconds after TTL and grant at which the keys went: negative is early. */
  readonly lateMs: { readonly min: number; readonly p50: number; readonly p99: number; readonly max: number };
}

const GRANT = "/etcdserverpb.Lease/LeaseGrant";
const KEEP_ALIVE = "/etcdserverpb.Lease/LeaseKeepAlive";
const PUT = "/etcdserverpb.KV/Put";
const CONNECTIONS = 100;
const STREAMS = 1_000;
const TTL_SECONDS = 600n;
const WARM_UP_MS = 1_000;
const IN_FLIGHT = 100;
/** Expiries that come later than this after the last was due count as lost. */
const LOST_MS = 30_000;
const DELETE_EVENT = 1;

async function grant(client: GrpcClient, id: bigint, ttl: bigint): Promise<void> {
  const request = toBinary(LeaseGrantRequestSchema, create(LeaseGrantRequestSchema, { ID: id, TTL: ttl }));
  const { status, message, messages } = await client.unary(GRANT, request);
  if (status !== "OK") throw new Error(`LeaseGrant: ${status} ${message}`);
  const granted = fromBinary(LeaseGrantResponseSchema, messages[0]!);
  if (granted.ID !== id || granted.TTL !== ttl) throw new Error("LeaseGrant: not what was asked for");
}

async function keepAlive(port: number, seconds: number): Promise<KeepAliveResult> {
  const granter = await GrpcClient.connect(port);
  await inParallel(STREAMS, (n) => grant(granter, BigInt(n + 1), TTL_SECONDS));
  let renewals = 0;
  let isOver = false;
  const begin: (() => void)[] = [];
  for (let c = 0; c < CONNECTIONS; c += 1) {
    const client = await StreamClient.connect(port);
    for (let n = c; n < STREAMS; n += CONNECTIONS) {
      const id = BigInt(n + 1);
      const renewal = toBinary(LeaseKeepAliveRequestSchema, create(LeaseKeepAliveRequestSchema, { ID: id }));
      const stream = client.open(KEEP_ALIVE);
      stream.onMessage = (message) => {
        const { ID, TTL } = decodeLeaseKeepAliveResponse(message, 0, message.length);
        if (ID !== id || TTL !== TTL_SECONDS) throw new Error(`LeaseKeepAlive: lease ${ID}, TTL ${TTL}`);
        renewals += 1;
        if (!isOver) stream.send(renewal);
      };
      begin.push(() => stream.send(renewal));
    }
  }
  for (const sendFirst of begin) sendFirst();
  await new Promise((resolve) => setTimeout(resolve, WARM_UP_MS));
  const cpuBefore = process.cpuUsage();
  const before = renewals;
  const startMs = performance.now();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const tookSeconds = (performance.now() - startMs) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  const perSecond = (renewals - before) / tookSeconds;
  isOver = true;
  return { perSecond, driverCpuSeconds: (user + system) / 1e6, seconds: tookSeconds };
}

function keyOf(n: number): Uint8Array {
  return utf8(`/bench/lease/${String(n).padStart(8, "0")}`);
}

/** Runs `run(0)` to `run(count - 1)`, `IN_FLIGHT` of them at a time. */
async function inParallel(count: number, run: (n: number) => Promise<void>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: IN_FLIGHT }, async () => {
    while (next < count) await run(next++);
  }));
}

async function expire(port: number, count: number, fromSeconds: number, spreadSeconds: number) {
  const client = await GrpcClient.connect(port);
  const watch = (await StreamClient.connect(port)).watch();
  const dueMs = new Float64Array(count);
  const lateMs: number[] = [];
  watch.stream.onMessage = (message) => {
    const nowMs = performance.now();
    for (const { type, kv } of decodeWatchResponse(message, 0, message.length).events) {
      if (type === DELETE_EVENT) {
        lateMs.push(nowMs - dueMs[Number(String.fromCharCode(...kv!.key.slice(-8)))]!);
      }
    }
  };
  watch.create({ key: utf8("/bench/lease/"), rangeEnd: utf8("/bench/lease0") });
  await inParallel(count, async (n) => {
    const ttl = fromSeconds + Math.floor((n * spreadSeconds) / count);
    await grant(client, BigInt(1_000_000 + n), BigInt(ttl));
    dueMs[n] = performance.now() + ttl * 1000;
    const put = { key: keyOf(n), value: new Uint8Array(16), lease: BigInt(1_000_000 + n) };
    const { status } = await client.unary(PUT, toBinary(PutRequestSchema, create(PutRequestSchema, put)));
    if (status !== "OK") throw new Error(`Put with a lease: ${status}`);
  });
  const giveUpMs = Math.max(...dueMs) + LOST_MS;
  while (lateMs.length < count) {
    if (performance.now() > giveUpMs) throw new Error(`${lateMs.length} of ${count} leases expired`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  lateMs.sort((a, b) => a - b);
  const at = (share: number): number => quantile(lateMs, share);
  return { lateMs: { min: lateMs[0]!, p50: at(0.5), p99: at(0.99), max: at(1) } } satisfies ExpireResult;
}

if (import.meta.main) {
  const [port, mode, ...numbers] = process.argv.slice(2);
  const [first = 0, second = 0, third = 0] = numbers.map(Number);
  const result = mode === "keepalive"
    ? await keepAlive(Number(port), first)
    : await expire(Number(port), first, second, third);
  console.log(JSON.stringify(result));
  process.exit(0);
}
