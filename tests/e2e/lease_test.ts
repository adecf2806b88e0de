import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import {
  create,
  type DescMessage,
  type DescMethod,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { compareBytes, concatBytes, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import {
  Compare_CompareTarget as Target,
  KV,
  type RequestOpSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import {
  Lease,
  LeaseKeepAliveRequestSchema,
  LeaseKeepAliveResponseSchema,
  type LeaseTimeToLiveResponse,
} from "../../src/gen/etcdserverpb/lease_pb.ts";
import { describeMessage } from "../harness/random_requests.ts";
import { ServerPair } from "../harness/differential.ts";
import { WAIT_MS_MAX } from "../harness/deadline.ts";
import { findGoEtcd, findProgram, startEtcd } from "../harness/etcd_process.ts";
import { type CallResult, frame, GrpcClient } from "../harness/grpc_client.ts";

const go = findGoEtcd();
const skip = go === undefined ? "there is no Go etcd on this machine" : false;
const seed = Number(process.env["SEED"] ?? 1);
const STEPS = Number(process.env["STEPS"] ?? 300);

const { leaseGrant, leaseRevoke, leaseTimeToLive, leaseLeases, leaseKeepAlive } = Lease.method;
const { put, range, deleteRange, txn } = KV.method;

/** A unary request, or leases to keep alive on one stream. */
type Step =
  | { readonly method: DescMethod; readonly request: Uint8Array; readonly text: string }
  | { readonly keepAlive: readonly bigint[] };

function step<I extends DescMessage>(
  method: DescMethod & { readonly input: I },
  request: MessageInitShape<I>,
): Step {
  const message = create(method.input, request);
  const text = `${method.name} ${describeMessage(message)}`;
  return { method, request: toBinary(method.input, message), text };
}

async function send(client: GrpcClient, next: Step): Promise<CallResult> {
  if ("keepAlive" in next) return await keepAlive(client, next.keepAlive);
  return await client.unary(`/${next.method.parent.typeName}/${next.method.name}`, next.request);
}

async function keepAlive(client: GrpcClient, ids: readonly bigint[]): Promise<CallResult> {
  const requests = ids.map((ID) =>
    frame(toBinary(LeaseKeepAliveRequestSchema, create(LeaseKeepAliveRequestSchema, { ID })))
  );
  return await client.raw(`/${leaseKeepAlive.parent.typeName}/${leaseKeepAlive.name}`, concatBytes(requests));
}

/** A result as text. What is left of a lease counts in tens of seconds: two servers do not run in step. */
function textOfResult(next: Step, { status, message, messages }: CallResult): string {
  if (status !== "OK") return `${status} "${message}"`;
  const output = "keepAlive" in next ? LeaseKeepAliveResponseSchema : next.method.output;
  return messages.map((bytes) => {
    const reply = fromBinary(output, bytes) as MessageShape<DescMessage>;
    if (reply.$typeName === "etcdserverpb.LeaseTimeToLiveResponse") {
      normalise(reply as LeaseTimeToLiveResponse);
    }
    return describeMessage(reply);
  }).join(" ");
}

function normalise(reply: LeaseTimeToLiveResponse): void {
  if (reply.TTL > 0n) {
    assert.ok(reply.TTL <= reply.grantedTTL && reply.TTL >= reply.grantedTTL - 90n, String(reply.TTL));
    reply.TTL = reply.grantedTTL;
  }
  reply.keys.sort(compareBytes); // etcd gives them in no order.
}

async function compareAll(steps: Iterable<Step>): Promise<void> {
  const pair = await ServerPair.start(go!);
  const trace: string[] = [];
  try {
    for (const next of steps) {
      const [ours, theirs] = await pair.both((client) => send(client, next));
      const text = "keepAlive" in next ? `keep alive ${next.keepAlive}` : next.text;
      trace.push(`${text}\n  ${textOfResult(next, theirs)}`);
      assert.equal(
        textOfResult(next, ours),
        textOfResult(next, theirs),
        `SEED=${seed}; after\n${trace.join("\n")}`,
      );
    }
  } finally {
    await pair.stop();
  }
}

const key = utf8("k");
const value = utf8("v");
const putOp = (name: string, lease: bigint): MessageInitShape<typeof RequestOpSchema> => ({
  request: { case: "requestPut", value: { key: utf8(name), value, lease } },
});
const everything = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };

test("leases are granted, shown, renewed and revoked as etcd does it", { skip }, async () => {
  await compareAll([
    step(leaseGrant, { ID: 10n, TTL: 100n }),
    step(leaseGrant, { ID: 10n, TTL: 100n }),
    step(leaseGrant, { ID: 11n, TTL: 9_000_000_000n }),
    step(leaseGrant, { ID: 12n, TTL: 9_000_000_001n }),
    step(leaseGrant, { ID: 12n, TTL: 2n ** 63n - 1n }),
    step(leaseGrant, { ID: 10n, TTL: 9_000_000_001n }),
    step(leaseGrant, { ID: 13n, TTL: 0n }),
    step(leaseGrant, { ID: 14n, TTL: -1n }),
    // Of the shortest kind: it is revoked before the two servers could differ in whether it has expired.
    step(leaseGrant, { ID: 15n, TTL: 1n }),
    step(leaseRevoke, { ID: 15n }),
    step(leaseGrant, { ID: -16n, TTL: 400n }),
    step(leaseGrant, { ID: 2n ** 63n - 1n, TTL: 500n }),
    step(leaseGrant, { ID: -(2n ** 63n), TTL: 600n }),
    { keepAlive: [10n, 999n, 11n, 0n, -16n, 10n] },
    step(leaseTimeToLive, { ID: 10n }),
    step(leaseTimeToLive, { ID: 999n, keys: true }),
    step(leaseTimeToLive, { ID: 0n }),
    step(leaseRevoke, { ID: 13n }),
    step(leaseRevoke, { ID: 13n }),
    step(leaseRevoke, { ID: 0n }),
    step(leaseRevoke, { ID: 14n }),
    step(leaseRevoke, { ID: 15n }),
    step(leaseLeases, {}),
  ]);
});

test("keys are attached to leases and go with them as in etcd", { skip }, async () => {
  const ids = [10n, 11n, 12n];
  await compareAll([
    ...ids.map((ID) => step(leaseGrant, { ID, TTL: ID * 100n })),
    step(put, { key, value, lease: 99n }),
    step(put, { key, value, lease: 10n }),
    step(put, { key, value, lease: 10n, ignoreLease: true }),
    step(put, { key, value, ignoreLease: true, prevKv: true }),
    step(put, { key: utf8("none"), value, ignoreLease: true }),
    step(leaseTimeToLive, { ID: 10n, keys: true }),
    // To another lease, to none, to the first again.
    step(put, { key, value, lease: 11n }),
    step(leaseTimeToLive, { ID: 10n, keys: true }),
    step(leaseTimeToLive, { ID: 11n, keys: true }),
    step(put, { key, value }),
    step(leaseTimeToLive, { ID: 11n, keys: true }),
    step(txn, { success: [putOp("k", 10n), putOp("b", 10n), putOp("\xff", 10n)] }),
    step(txn, { success: [putOp("c", 10n), putOp("d", 99n)] }),
    step(txn, { success: [putOp("c", 10n)], failure: [putOp("d", 99n)] }),
    step(txn, {
      compare: [{ target: Target.LEASE, key, targetUnion: { case: "lease", value: 10n } }],
      success: [putOp("e", 12n)],
      failure: [putOp("f", 12n)],
    }),
    step(leaseTimeToLive, { ID: 10n, keys: true }),
    step(leaseTimeToLive, { ID: 10n, keys: false }),
    // What is deleted and put again has no lease.
    step(deleteRange, { key: utf8("b") }),
    step(put, { key: utf8("b"), value }),
    step(leaseRevoke, { ID: 10n }),
    step(range, everything),
    step(leaseRevoke, { ID: 11n }),
    step(range, everything),
    step(put, { key, value, lease: 10n }),
    step(leaseGrant, { ID: 10n, TTL: 50n }),
    step(leaseTimeToLive, { ID: 10n, keys: true }),
    step(deleteRange, everything),
    step(leaseTimeToLive, { ID: 12n, keys: true }),
    step(leaseLeases, {}),
  ]);
});

test(
  `random grants, revokes, puts and transactions have the results of etcd, seed ${seed}`,
  { skip },
  async () => {
    await compareAll(randomSteps(new Prng(seed)));
  },
);

function* randomSteps(prng: Prng): Generator<Step> {
  const id = (): bigint => BigInt(1 + prng.below(6));
  const name = (): string => "abcdefgh"[prng.below(8)]!;
  const lease = (): bigint => prng.chance(0.3) ? 0n : id();
  for (let at = 0; at < STEPS; at += 1) {
    const roll = prng.below(100);
    const ID = id();
    if (roll < 15) yield step(leaseGrant, { ID, TTL: ID * 1_000n });
    else if (roll < 23) yield step(leaseRevoke, { ID });
    else if (roll < 50) {
      yield step(put, { key: utf8(name()), value, lease: lease(), prevKv: prng.chance(0.5) });
    } else if (roll < 55) yield step(put, { key: utf8(name()), value, ignoreLease: true });
    else if (roll < 70) {
      const [a, b] = [name(), name()];
      yield step(txn, {
        compare: [{ target: Target.LEASE, key: utf8(a), targetUnion: { case: "lease", value: ID } }],
        success: [putOp(a, lease())],
        failure: [putOp(a, lease()), { request: { case: "requestDeleteRange", value: { key: utf8(b) } } }],
      });
    } else if (roll < 78) {
      yield step(deleteRange, { key: utf8(name()), rangeEnd: utf8(name()), prevKv: true });
    } else if (roll < 86) yield step(leaseTimeToLive, { ID, keys: true });
    else if (roll < 90) yield step(leaseLeases, {});
    else if (roll < 94) yield { keepAlive: [id(), id(), id()] };
    else yield step(range, everything);
  }
}

test("LeaseGrant picks ids above 0 that do not repeat, when the client names none", async () => {
  const server = await startEtcd();
  const client = await GrpcClient.connect(server.port);
  try {
    const replies = await Promise.all(
      Array.from({ length: 50 }, () => client.call(leaseGrant, { TTL: 60n })),
    );
    const ids = replies.map(({ response }) => response!.ID);
    assert.ok(ids.every((id) => id > 0n && id < 2n ** 63n));
    assert.equal(new Set(ids).size, 50);
    const { response } = await client.call(leaseLeases, {});
    assert.deepEqual(new Set(response!.leases.map(({ ID }) => ID)), new Set(ids));
  } finally {
    await client.close();
    await server.stop();
  }
});

const etcdctl = findProgram("etcdctl");

test("etcdctl's lease commands work", {
  skip: etcdctl === undefined ? "there is no etcdctl on this machine" : false,
}, async () => {
  const server = await startEtcd();
  const run = (...args: string[]): string => {
    const env = { PATH: process.env["PATH"] ?? "", ETCDCTL_API: "3" };
    const { stdout, stderr } = spawnSync(etcdctl!, [`--endpoints=${server.endpoint}`, ...args], {
      encoding: "utf8",
      timeout: WAIT_MS_MAX,
      env,
    });
    return (stdout + stderr.split("\n").filter((line) => line.startsWith("Error")).join("\n")).trim();
  };
  try {
    const granted = run("lease", "grant", "1000");
    const [, id] = /^lease ([0-9a-f]{16}) granted with TTL\(1000s\)$/.exec(granted) ?? assert.fail(granted);
    assert.equal(run("put", "a", "1", `--lease=${id}`), "OK");
    assert.match(
      run("lease", "timetolive", id!, "--keys"),
      new RegExp(
        `^lease ${id} granted with TTL\\(1000s\\), remaining\\(9\\d\\ds\\), attached keys\\(\\[a\\]\\)$`,
      ),
    );
    assert.equal(run("lease", "list"), `found 1 leases\n${id}`);
    assert.equal(run("lease", "keep-alive", "--once", id!), `lease ${id} keepalived with TTL(1000)`);
    assert.equal(run("lease", "revoke", id!), `lease ${id} revoked`);
    assert.equal(run("get", "a"), "");
    assert.equal(run("lease", "timetolive", id!), `lease ${id} already expired`);
    assert.match(run("lease", "keep-alive", "--once", id!), /requested lease not found/);
    assert.match(run("lease", "revoke", id!), /requested lease not found/);
    assert.match(run("put", "a", "1", `--lease=${id}`), /requested lease not found/);
    assert.match(run("lease", "grant", "9000000001"), /too large lease TTL/);
  } finally {
    await server.stop();
  }
});
