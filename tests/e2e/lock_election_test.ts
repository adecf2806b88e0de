import assert from "node:assert/strict";
import { test } from "node:test";
import {
  create,
  type DescMessage,
  type DescMethodUnary,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from "@bufbuild/protobuf";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { Lease } from "../../src/gen/etcdserverpb/lease_pb.ts";
import { Election, LeaderResponseSchema } from "../../src/gen/v3electionpb/v3election_pb.ts";
import { Lock } from "../../src/gen/v3lockpb/v3lock_pb.ts";
import { eventually } from "../harness/deadline.ts";
import { ServerPair } from "../harness/differential.ts";
import { findGoEtcd, startEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { StreamClient } from "../harness/grpc_stream.ts";
import { describeMessage } from "../harness/random_requests.ts";

const go = findGoEtcd();
const { leaseGrant, leaseRevoke } = Lease.method;
const { lock, unlock } = Lock.method;
const { campaign, proclaim, leader, observe, resign } = Election.method;
const options = { timeout: 300_000 };

test("locks and elections answer as etcd's do", {
  ...options,
  skip: go === undefined ? "there is no Go etcd on this machine" : false,
}, async () => {
  const pair = await ServerPair.start(go!);
  const compare = async <I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageInitShape<I>,
  ): Promise<void> => {
    const texts = (await pair.both((client) => client.call(method, request)))
      .map(({ status, message, messages }) =>
        `${method.name}: ${status} ${message} ` +
        messages.map((bytes) => describeMessage(fromBinary(method.output, bytes))).join(" ")
      );
    assert.equal(texts[0], texts[1]);
  };
  const [a, e] = [utf8("a"), utf8("e")];
  try {
    for (const ID of [10n, 11n, -16n]) await compare(leaseGrant, { ID, TTL: 100n });
    await compare(lock, { name: a, lease: 10n });
    await compare(lock, { name: a, lease: 10n });
    await compare(lock, { name: a, lease: 99n });
    await compare(unlock, { key: utf8("a/a") });
    await compare(lock, { name: a, lease: 11n });
    await compare(lock, { name: utf8("b"), lease: -16n });
    await compare(lock, { lease: 11n });
    await compare(unlock, { key: utf8("none") });
    await compare(unlock, {});
    await compare(leader, { name: e });
    await compare(campaign, { name: e, lease: 10n, value: utf8("x") });
    await compare(campaign, { name: e, lease: 10n, value: utf8("x") });
    await compare(campaign, { name: e, lease: 10n, value: utf8("y") });
    await compare(campaign, { name: e, lease: 99n, value: utf8("y") });
    await compare(leader, { name: e });
    const { messages } = (await pair.both((client) => client.call(leader, { name: e })))[0];
    const rev = fromBinary(LeaderResponseSchema, messages[0]!).kv!.createRevision;
    const leads = { name: e, key: utf8("e/a"), rev, lease: 10n };
    await compare(proclaim, { leader: leads, value: utf8("z") });
    await compare(proclaim, { value: utf8("z") });
    await compare(proclaim, { leader: { ...leads, rev: 999n }, value: utf8("z") });
    await compare(proclaim, { leader: { ...leads, lease: 99n }, value: utf8("z") });
    for (const key of [{}, { rev }]) {
      await compare(proclaim, { leader: { name: e, lease: 10n, ...key }, value: utf8("z") });
      await compare(resign, { leader: { name: e, lease: 10n, ...key } });
    }
    await compare(resign, { leader: { ...leads, rev: 999n } });
    await compare(resign, {});
    await compare(leader, { name: e });
    await compare(resign, { leader: leads });
    await compare(leader, { name: e });
  } finally {
    await pair.stop();
  }
});

/** Waits until a key is there: somebody waits for a lock or an election. */
async function claimed(client: GrpcClient, key: string): Promise<void> {
  await eventually(key, async () => {
    const { response } = await client.call(KV.method.range, { key: utf8(key), countOnly: true });
    return response!.count === 1n;
  });
}

async function withServer(use: (client: GrpcClient, port: number) => Promise<void>): Promise<void> {
  const server = await startEtcd();
  const client = await GrpcClient.connect(server.port);
  try {
    await use(client, server.port);
  } finally {
    await client.close();
    await server.stop();
  }
}

test("a lock goes from one to the next in the order in which they came", options, async () => {
  await withServer(async (client) => {
    const name = utf8("l");
    const order: string[] = [];
    const waiting: Promise<void>[] = [];
    for (let lease = 1n; lease <= 5n; lease += 1n) {
      await client.call(leaseGrant, { ID: lease, TTL: 1_000n });
      waiting.push(
        client.call(lock, { name, lease }).then(({ response }) => {
          order.push(textOf(response!.key));
        }),
      );
      await claimed(client, `l/${lease}`);
    }
    await waiting[0];
    assert.deepEqual(order, ["l/1"]);
    // The holder's and a waiter's lease end; the others give the lock back.
    await client.call(leaseRevoke, { ID: 1n });
    await waiting[1];
    await client.call(unlock, { key: utf8("l/2") });
    await waiting[2];
    assert.deepEqual(order, ["l/1", "l/2", "l/3"]);
    await client.call(unlock, { key: utf8("l/3") });
    await client.call(unlock, { key: utf8("l/4") });
    await Promise.all(waiting);
    assert.deepEqual(order, ["l/1", "l/2", "l/3", "l/4", "l/5"]);
  });
});

test("Lock does not return a lock whose lease has ended while it waited", options, async () => {
  await withServer(async (client) => {
    const name = utf8("l");
    for (const ID of [1n, 2n]) await client.call(leaseGrant, { ID, TTL: 1_000n });
    await client.call(lock, { name, lease: 1n });
    const waiting = client.call(lock, { name, lease: 2n });
    await claimed(client, "l/2");
    await client.call(leaseRevoke, { ID: 2n });
    await client.call(unlock, { key: utf8("l/1") });
    const { status, message } = await waiting;
    assert.deepEqual([status, message], ["Unknown", "mutex: session is expired"]);
  });
});

test("a client that gives up waiting for a lock or an election leaves no claim behind", options, async () => {
  await withServer(async (client) => {
    for (const ID of [1n, 2n]) await client.call(leaseGrant, { ID, TTL: 100n });
    await client.call(lock, { name: utf8("n"), lease: 1n });
    const metadata = [["grpc-timeout", "100m"]] as const;
    const [locked, campaigned] = await Promise.all([
      client.call(lock, { name: utf8("n"), lease: 2n }, { metadata }),
      client.call(campaign, { name: utf8("n"), lease: 2n, value: utf8("v") }, { metadata }),
    ]);
    assert.equal(locked.status, "DeadlineExceeded");
    assert.equal(campaigned.status, "DeadlineExceeded");
    await eventually("the claim to go", async () => {
      const { response } = await client.call(KV.method.range, { key: utf8("n/"), rangeEnd: utf8("n0") });
      assert.equal(textOf(response!.kvs[0]!.key), "n/1");
      return response!.count === 1n;
    });
  });
});

test("Lock without a lease gets one of 60 s", options, async () => {
  await withServer(async (client) => {
    const { response } = await client.call(lock, { name: utf8("l") });
    const { response: leases } = await client.call(Lease.method.leaseLeases, {});
    const { ID } = leases!.leases[0]!;
    assert.equal(textOf(response!.key), `l/${ID.toString(16)}`);
    const { response: shown } = await client.call(Lease.method.leaseTimeToLive, { ID });
    assert.equal(shown!.grantedTTL, 60n);
  });
});

test("Observe tells who leads now, what is proclaimed and who comes next", options, async () => {
  await withServer(async (client, port) => {
    const name = utf8("e");
    for (const ID of [1n, 2n]) await client.call(leaseGrant, { ID, TTL: 1_000n });
    const streams = await StreamClient.connect(port);
    const observed = streams.open(`/${observe.parent.typeName}/${observe.name}`);
    const seen = async (): Promise<string> =>
      textOf(fromBinary(LeaderResponseSchema, await observed.next()).kv!.value);
    observed.send(toBinary(observe.input, create(observe.input, { name })));
    observed.halfClose();
    const { response: won } = await client.call(campaign, { name, lease: 1n, value: utf8("first") });
    assert.equal(await seen(), "first");
    const next = client.call(campaign, { name, lease: 2n, value: utf8("second") });
    await claimed(client, "e/2");
    // At once: however they are applied, none is left out.
    const values = Array.from({ length: 20 }, (_, n) => `value ${n}`);
    const proclaimed = await Promise.all(
      values.map((value) => client.call(proclaim, { leader: won!.leader!, value: utf8(value) })),
    );
    for (const { status } of proclaimed) assert.equal(status, "OK");
    const heard: string[] = [];
    while (heard.length < values.length) heard.push(await seen());
    assert.deepEqual(heard, values);
    await client.call(resign, { leader: won!.leader! });
    assert.equal((await next).status, "OK");
    assert.equal(await seen(), "second");
    observed.cancel();
    await streams.close();
  });
});

test("Observe ends at the deadline that its client has set", options, async () => {
  await withServer(async (client) => {
    const { status, messages } = await client.call(
      observe as unknown as DescMethodUnary<typeof observe.input, typeof observe.output>,
      { name: utf8("e") },
      { metadata: [["grpc-timeout", "100m"]] },
    );
    assert.deepEqual([status, messages], ["DeadlineExceeded", []]);
  });
});
