import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import {
  AlarmRequest_AlarmAction as AlarmAction,
  AlarmType,
  Maintenance,
} from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import { badRequests, putA, putOp, wrongAnswers } from "../harness/bad_requests.ts";
import { eventually } from "../harness/deadline.ts";
import { allStarted, type EtcdProcess, findGoEtcd, startEtcd, startGoEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";

const key = utf8("a");

interface Servers {
  readonly ours: EtcdProcess;
  /** Undefined without a Go etcd whose answers are those expected. */
  readonly go: EtcdProcess | undefined;
}

const goEtcd = findGoEtcd();
const COMPARED_MINOR = 7;
let starting: Promise<Servers> | undefined;

function servers(): Promise<Servers> {
  return starting ??= startServers();
}

async function startServers(flags: readonly string[] = []): Promise<Servers> {
  const compares = goEtcd?.minor === COMPARED_MINOR;
  const starting = [startEtcd({ flags }), ...compares ? [startGoEtcd(goEtcd!, { flags })] : []];
  const [ours, go] = await allStarted(starting) as [EtcdProcess, EtcdProcess | undefined];
  return { ours, go };
}

for (const [group, cases] of Object.entries(badRequests)) {
  test(`the server answers as etcd does: ${group}`, async () => {
    const { ours, go } = await servers();
    // Revisions at which the cases read.
    for (const { port } of [ours, go].filter((server) => server !== undefined)) {
      const client = await GrpcClient.connect(port);
      for (let i = 0; i < 4; i += 1) await client.raw(putA.path, putA.body);
      await client.close();
    }
    assert.deepEqual(await wrongAnswers(ours.port, cases), [], "ours");
    assert.ok(ours.alive);
    if (go === undefined) return;
    const same = cases.filter(({ differs }) => differs === undefined);
    assert.deepEqual(await wrongAnswers(go.port, same), [], "the Go etcd");
  });
}

test("the server goes on after all of that, and ends when it is told to", async () => {
  const { ours, go } = await servers();
  const client = await GrpcClient.connect(ours.port);
  const value = utf8("still here");
  await client.call(KV.method.put, { key, value });
  const { response } = await client.call(KV.method.range, { key });
  assert.deepEqual(response?.kvs[0]?.value, value);
  await client.close();
  assert.deepEqual(await ours.stop(), { code: null, signal: "SIGTERM" });
  await go?.stop();
});

test("a full store refuses puts until it has room and the alarm is disarmed", async () => {
  const { ours, go } = await startServers([`--quota-backend-bytes=${4 << 20}`]);
  try {
    for (const server of [ours, go].filter((each) => each !== undefined)) await fillStore(server.port);
  } finally {
    await Promise.all([ours.stop(), go?.stop()]);
  }
});

async function fillStore(port: number): Promise<void> {
  const client = await GrpcClient.connect(port);
  const noSpace = { status: "ResourceExhausted", message: "etcdserver: mvcc: database space exceeded" };
  const large = { key: utf8("large"), value: new Uint8Array(256 << 10) };
  let puts = 0;
  let last = await client.call(KV.method.put, large);
  while (last.status === "OK" && puts < 100) {
    puts += 1;
    last = await client.call(KV.method.put, large);
  }
  assert.deepEqual({ status: last.status, message: last.message }, noSpace);
  assert.ok(puts >= 8, `full after ${puts} puts of 256 KiB`);
  // The alarm goes through the log: it may come a little later than the refusal.
  let alarms: readonly AlarmType[] = [];
  await eventually("the alarm", async () => {
    const { response } = await client.call(Maintenance.method.alarm, {});
    alarms = response!.alarms.map(({ alarm }) => alarm);
    return alarms.length > 0;
  });
  assert.deepEqual(alarms, [AlarmType.NOSPACE]);
  const { response: status } = await client.call(Maintenance.method.status, {});
  assert.deepEqual(status?.errors.length, 1);
  assert.match(status!.errors[0]!, /^memberID:10276657743932975437 +alarm:NOSPACE$/);
  // Even a small put, and one in a transaction, is refused now; what makes room is not.
  const small = await client.call(KV.method.put, { key });
  assert.equal(small.message, noSpace.message);
  const inTxn = await client.call(KV.method.txn, { success: [putOp(key)] });
  assert.equal(inTxn.message, noSpace.message);
  assert.equal((await client.call(KV.method.range, { key: large.key })).status, "OK");
  const { response: deleted } = await client.call(KV.method.deleteRange, { key: large.key });
  assert.equal(deleted?.deleted, 1n);
  const revision = deleted!.header!.revision;
  assert.equal((await client.call(KV.method.compact, { revision, physical: true })).status, "OK");
  assert.equal((await client.call(Maintenance.method.defragment, {})).status, "OK");
  const memberID = status!.header!.memberId;
  await client.call(Maintenance.method.alarm, {
    action: AlarmAction.DEACTIVATE,
    memberID,
    alarm: AlarmType.NOSPACE,
  });
  assert.equal((await client.call(KV.method.put, large)).status, "OK");
  await client.close();
}
