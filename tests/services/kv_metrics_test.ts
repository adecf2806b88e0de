import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { Pending } from "../../src/base/pending.ts";
import { RangeRequestSchema, TxnRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import type { CallContext, UnaryMethod } from "../../src/grpc/method.ts";
import { ServerMetrics } from "../../src/server/metrics.ts";
import type { EtcdServer } from "../../src/server/server.ts";
import { HeaderEncoder } from "../../src/services/header.ts";
import { kvMethods } from "../../src/services/kv.ts";

/** A member whose barrier does not open. */
function withoutLeader() {
  const metrics = new ServerMetrics();
  const barriers: Pending<void>[] = [];
  let nowMs = 0;
  const server = {
    metrics,
    canReadNow: false,
    config: { maxTxnOps: 128 },
    ports: {
      clock: {
        monotonicMs: () => nowMs,
        get recentMs() {
          return nowMs;
        },
      },
    },
    readBarrier() {
      barriers.push(new Pending<void>());
      return barriers.at(-1)!;
    },
  } as unknown as EtcdServer;
  const methods = kvMethods(server, new HeaderEncoder(1n, 1n)) as UnaryMethod<unknown, unknown>[];
  const call = (name: string, request: unknown) =>
    methods.find((method) => method.name === name)!.handle(request, {} as CallContext) as Pending<unknown>;
  const fail = (afterMs: number): void => {
    nowMs += afterMs;
    for (const barrier of barriers) barrier.reject(new EtcdError("timeout"));
  };
  return { metrics, call, fail };
}

test("a Range whose barrier fails is counted with its wait; a read-only Txn is not, as with etcd", async () => {
  const { metrics, call, fail } = withoutLeader();
  const key = utf8("a");
  const range = call("Range", create(RangeRequestSchema, { key }));
  const txn = call(
    "Txn",
    create(TxnRequestSchema, { success: [{ request: { case: "requestRange", value: { key } } }] }),
  );
  fail(7_000);
  for (const read of [range, txn]) {
    await assert.rejects(Promise.resolve(read), (error: EtcdError) => error.code === "timeout");
  }
  const counted = metrics.requests.list()
    .map((
      { operation, success, histogram },
    ) => [operation, success, histogram.cumulated().at(-1), histogram.sum])
    .filter(([, , count]) => count !== 0);
  assert.deepEqual(counted, [["Range", false, 1, 7]]);
});
