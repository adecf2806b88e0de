/**
 * While one client has much work done for it, others are served between its slices. Counted in slices and not in
 * time, server and clients in one process: how fast the machine is, and what else it does, makes no difference.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { startEtcd } from "../../mod.ts";
import { utf8 } from "../../src/base/bytes.ts";
import { KV, RangeRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import {
  HashKVRequestSchema,
  HashRequestSchema,
  SnapshotRequestSchema,
} from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { StreamClient } from "../harness/grpc_stream.ts";

const TXNS = 400;
const PUTS_PER_TXN = 100;
/** Each of the works takes more than these. */
const SLICES_MIN = 16;
/** Between two slices every socket has one turn: the server reads the request in one, its client the answer in the next. */
const SLICES_PER_READ_MAX = 4;

const ALL = { key: utf8("key "), rangeEnd: utf8("key!") };

/** What takes long, by its path, with the message that asks for it. */
const works: readonly (readonly [string, Uint8Array])[] = [
  ["/etcdserverpb.KV/Range", toBinary(RangeRequestSchema, create(RangeRequestSchema, ALL))],
  ["/etcdserverpb.KV/RangeStream", toBinary(RangeRequestSchema, create(RangeRequestSchema, ALL))],
  ["/etcdserverpb.Maintenance/HashKV", toBinary(HashKVRequestSchema, create(HashKVRequestSchema))],
  ["/etcdserverpb.Maintenance/Hash", toBinary(HashRequestSchema, create(HashRequestSchema))],
  ["/etcdserverpb.Maintenance/Snapshot", toBinary(SnapshotRequestSchema, create(SnapshotRequestSchema))],
];

test("reads of another connection are answered between the slices of long work", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-slices-"));
  const { clock } = await loadRuntime();
  const afterSockets = clock.afterSockets;
  let slices = 0;
  clock.afterSockets = (run) => {
    slices += 1;
    afterSockets(run);
  };
  const etcd = await startEtcd({
    dataDir: directory,
    listenClientUrls: ["http://127.0.0.1:0"],
    listenPeerUrls: [],
  });
  const port = Number(etcd.clientAddresses[0]!.split(":").at(-1));
  const worker = await StreamClient.connect(port);
  const reader = await GrpcClient.connect(port);
  try {
    for (let first = 0; first < TXNS * PUTS_PER_TXN; first += PUTS_PER_TXN) {
      const success = Array.from({ length: PUTS_PER_TXN }, (_, i) => ({
        request: {
          case: "requestPut" as const,
          value: { key: utf8(`key ${first + i}`), value: new Uint8Array(64) },
        },
      }));
      assert.equal((await reader.call(KV.method.txn, { success })).status, "OK");
    }
    for (const [path, message] of works) {
      const stream = worker.open(path);
      stream.send(message);
      stream.halfClose();
      let isDone = false;
      const done = stream.ended().then(() => isDone = true);
      const before = slices;
      let reads = 0;
      for (; !isDone; reads += 1) {
        assert.equal((await reader.call(KV.method.range, { key: utf8("key 1") })).status, "OK");
      }
      await done;
      const taken = slices - before;
      assert.ok(taken >= SLICES_MIN, `${path} took ${taken} slices`);
      assert.ok(reads * SLICES_PER_READ_MAX >= taken, `${reads} reads in ${taken} slices of ${path}`);
    }
  } finally {
    await worker.close();
    await reader.close();
    await etcd.close();
    clock.afterSockets = afterSockets;
    rmSync(directory, { recursive: true });
  }
});
