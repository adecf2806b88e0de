import { create, fromBinary, toBinary, toJsonString } from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import {
  Compare_CompareResult as CompareResult,
  Compare_CompareTarget as CompareTarget,
  PutRequestSchema,
  RangeRequestSchema,
  TxnRequestSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import {
  LeaseGrantRequestSchema,
  LeaseLeasesRequestSchema,
  LeaseLeasesResponseSchema,
} from "../../src/gen/etcdserverpb/lease_pb.ts";
import { GrpcClient } from "../../tests/harness/grpc_client.ts";

const KEY = utf8("/bench/key-000000000000000000000001");
const PAGE_PREFIX = "/bench/many/";
const PAGE_END = "/bench/many0";
const VALUE_BYTES = 256;

const PUT = "/etcdserverpb.KV/Put";
const RANGE = "/etcdserverpb.KV/Range";
const TXN = "/etcdserverpb.KV/Txn";

/** A row of the table: requests that h2load repeats. */
export interface Workload {
  readonly name: string;
  readonly path: string;
  readonly message: Uint8Array;
  /** As in `Load`. */
  readonly isJson?: true;
  readonly connections: number;
  readonly streams: number;
  readonly requests: number;
  /** The figure that counts, and what to reach as a ratio to etcd's. */
  readonly figure: "perSecond" | "p50";
  readonly goal: string;
  /** The same for the p99 of latency, where that is a row of its own. */
  readonly p99Goal?: string;
}

const putRequest = create(PutRequestSchema, { key: KEY, value: new Uint8Array(VALUE_BYTES).fill(120) });
const put = toBinary(PutRequestSchema, putRequest);
const rangeRequest = create(RangeRequestSchema, { key: KEY });
const linearizable = toBinary(RangeRequestSchema, rangeRequest);
const serializable = toBinary(
  RangeRequestSchema,
  create(RangeRequestSchema, { key: KEY, serializable: true }),
);
const txn = toBinary(
  TxnRequestSchema,
  create(TxnRequestSchema, {
    compare: [{
      key: KEY,
      target: CompareTarget.MOD,
      result: CompareResult.GREATER,
      targetUnion: { case: "modRevision", value: 0n },
    }],
    success: [{
      request: { case: "requestPut", value: { key: KEY, value: new Uint8Array(VALUE_BYTES).fill(120) } },
    }],
  }),
);

/** The rows driven on a nearly empty store. */
export const workloads: readonly Workload[] = [
  { ...row("Put, 100 × 10", PUT, put, 100, 10, 200_000, "≥ 4"), p99Goal: "< 1" },
  { ...row("Put, 10 × 100", PUT, put, 10, 100, 200_000, "≥ 4"), p99Goal: "< 1" },
  row("Put, 100 × 1", PUT, put, 100, 1, 100_000, "≥ 2"),
  latencyRow("Put, 1 × 1", PUT, put, 3_000, "≤ 1"),
  row("Range, linearizable, 100 × 10", RANGE, linearizable, 100, 10, 300_000, "≥ 8"),
  row("Range, linearizable, 10 × 100", RANGE, linearizable, 10, 100, 300_000, "≥ 8"),
  row("Range, serializable, 100 × 10", RANGE, serializable, 100, 10, 300_000, "≥ 8"),
  row("Range, serializable, 10 × 100", RANGE, serializable, 10, 100, 300_000, "≥ 8"),
  latencyRow("Range, 1 × 1", RANGE, linearizable, 10_000, "≤ 0.7"),
  row("Txn (compare, put), 100 × 10", TXN, txn, 100, 10, 100_000, "≥ 3"),
  jsonRow("JSON gateway put, 100 connections", "/v3/kv/put", toJsonString(PutRequestSchema, putRequest)),
  jsonRow(
    "JSON gateway range, 100 connections",
    "/v3/kv/range",
    toJsonString(RangeRequestSchema, rangeRequest),
  ),
];

/** Leases of an hour, whose ids the server chooses. */
export const grants: Workload = row(
  "100,000 leases granted",
  "/etcdserverpb.Lease/LeaseGrant",
  toBinary(LeaseGrantRequestSchema, create(LeaseGrantRequestSchema, { TTL: 3600n })),
  100,
  10,
  100_000,
  "≥ 2",
);

function row(
  name: string,
  path: string,
  message: Uint8Array,
  connections: number,
  streams: number,
  requests: number,
  goal: string,
): Workload {
  return { name, path, message, connections, streams, requests, figure: "perSecond", goal };
}

function jsonRow(name: string, path: string, json: string): Workload {
  return { ...row(name, path, utf8(json), 100, 1, 100_000, "≥ 4"), isJson: true };
}

function latencyRow(
  name: string,
  path: string,
  message: Uint8Array,
  requests: number,
  goal: string,
): Workload {
  return { name, path, message, connections: 1, streams: 1, requests, figure: "p50", goal };
}

/** 10,000 keys of 1 KB, read in one request. */
export const LARGE_KEYS = 10_000;
export const largeRange: Workload = latencyRow(
  "Range of 10,000 keys × 1 KB",
  RANGE,
  rangeOf("/bench/large/", "/bench/large0", {}),
  20,
  "≤ 1",
);

/** On a prefix of many keys. */
export const pages: readonly Workload[] = [
  latencyRow("Range, limit 500", RANGE, rangeOf(PAGE_PREFIX, PAGE_END, { limit: 500n }), 30, "≤ 0.02"),
  latencyRow("Range, count only", RANGE, rangeOf(PAGE_PREFIX, PAGE_END, { countOnly: true }), 30, "≤ 0.02"),
];

function rangeOf(from: string, to: string, options: { limit?: bigint; countOnly?: boolean }): Uint8Array {
  const request = create(RangeRequestSchema, { key: utf8(from), rangeEnd: utf8(to), ...options });
  return toBinary(RangeRequestSchema, request);
}

const LOAD_BATCH = 100;
const LOAD_INFLIGHT = 8;

/** Writes `count` keys of `valueBytes` under a prefix, in transactions of 100. Returns seconds. */
export async function loadKeys(
  port: number,
  prefix: string,
  count: number,
  valueBytes: number,
): Promise<number> {
  const client = await GrpcClient.connect(port);
  const value = new Uint8Array(valueBytes).fill(120);
  const startedMs = performance.now();
  let next = 0;
  async function work(): Promise<void> {
    while (next < count) {
      const first = next;
      next += LOAD_BATCH;
      const success = Array.from({ length: Math.min(LOAD_BATCH, count - first) }, (_, i) => ({
        request: {
          case: "requestPut" as const,
          value: { key: utf8(`${prefix}${String(first + i).padStart(12, "0")}`), value },
        },
      }));
      const { status, message } = await client.unary(
        TXN,
        toBinary(TxnRequestSchema, create(TxnRequestSchema, { success })),
      );
      if (status !== "OK") throw new Error(`loading keys: ${status} ${message}`);
    }
  }
  await Promise.all(Array.from({ length: LOAD_INFLIGHT }, work));
  await client.close();
  return (performance.now() - startedMs) / 1000;
}

/** Leases that the server knows. */
export async function leaseCount(port: number): Promise<number> {
  const client = await GrpcClient.connect(port);
  const { status, messages } = await client.unary(
    "/etcdserverpb.Lease/LeaseLeases",
    toBinary(LeaseLeasesRequestSchema, create(LeaseLeasesRequestSchema)),
  );
  if (status !== "OK") throw new Error(`LeaseLeases: ${status}`);
  await client.close();
  return fromBinary(LeaseLeasesResponseSchema, messages[0]!).leases.length;
}

export const LARGE_PREFIX = "/bench/large/";
export { PAGE_PREFIX };
