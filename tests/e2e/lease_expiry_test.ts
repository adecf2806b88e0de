import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import {
  Lease,
  LeaseKeepAliveRequestSchema,
  LeaseKeepAliveResponseSchema,
} from "../../src/gen/etcdserverpb/lease_pb.ts";
import { sleep } from "../harness/crash_server.ts";
import { eventually, WAIT_MS_MAX } from "../harness/deadline.ts";
import { startEtcd } from "../harness/etcd_process.ts";
import { frame, GrpcClient } from "../harness/grpc_client.ts";

const { leaseGrant, leaseRevoke, leaseTimeToLive, leaseLeases } = Lease.method;
const everything = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };
const TTL_MS = 2_000;
/** A sweep, and what the machine is late: so much, and more where a request shows that it is slow. */
const LATE_MS = 1_500;
const SLOWNESS = 5;
const TRIES_MAX = 10;
const options = { timeout: 300_000 };

async function grantWithKey(client: GrpcClient, ID: bigint, TTL: bigint): Promise<void> {
  const granted = await client.call(leaseGrant, { ID, TTL });
  assert.equal(granted.status, "OK", granted.message);
  const put = await client.call(KV.method.put, { key: utf8(`k${ID}`), lease: ID });
  assert.equal(put.status, "OK", put.message);
}

/** Ids of the leases whose key is there. */
async function keys(client: GrpcClient): Promise<Set<bigint>> {
  const { response } = await client.call(KV.method.range, { ...everything, keysOnly: true });
  return new Set(response!.kvs.map(({ key }) => BigInt(textOf(key).slice(1))));
}

async function leases(client: GrpcClient): Promise<Set<bigint>> {
  const { response } = await client.call(leaseLeases, {});
  return new Set(response!.leases.map(({ ID }) => ID));
}

async function keepAlive(client: GrpcClient, ID: bigint): Promise<bigint> {
  const message = toBinary(LeaseKeepAliveRequestSchema, create(LeaseKeepAliveRequestSchema, { ID }));
  const { messages } = await client.raw("/etcdserverpb.Lease/LeaseKeepAlive", frame(message));
  return fromBinary(LeaseKeepAliveResponseSchema, messages[0]!).TTL;
}

/**
 * Grants leases 1 and 2, and renews 2 until the key of 1 is gone. False when a renewal came so late that 2 may have
 * ended as well.
 */
async function outlives(client: GrpcClient): Promise<boolean> {
  for (const ID of [1n, 2n]) await client.call(leaseRevoke, { ID });
  const beforeMs = performance.now();
  let renewedMs = beforeMs;
  let slowestMs = 0;
  const isLate = (): boolean => performance.now() - renewedMs > TTL_MS;
  for (const ID of [1n, 2n]) await grantWithKey(client, ID, 2n);
  for (let live = await keys(client); live.has(1n);) {
    const stepMs = performance.now();
    assert.ok(stepMs < beforeMs + WAIT_MS_MAX, "the key is still there");
    const ttl = await keepAlive(client, 2n);
    if (isLate()) return false;
    assert.equal(ttl, 2n);
    renewedMs = stepMs;
    await sleep(20);
    live = await keys(client);
    if (isLate()) return false;
    assert.ok(live.has(2n) && live.has(3n));
    slowestMs = Math.max(slowestMs, performance.now() - stepMs);
  }
  const livedMs = performance.now() - beforeMs;
  assert.ok(livedMs >= TTL_MS, `gone after ${livedMs} ms`);
  assert.ok(
    livedMs < TTL_MS + LATE_MS + SLOWNESS * slowestMs,
    `there for ${livedMs} ms, a step ${slowestMs}`,
  );
  return true;
}

test(
  "a key lives as long as its lease, no less and hardly more; a renewed one lives on",
  options,
  async () => {
    const server = await startEtcd();
    const client = await GrpcClient.connect(server.port);
    try {
      await grantWithKey(client, 3n, BigInt(30 * 86_400)); // Past what setTimeout can wait for.
      // A machine that keeps us from renewing in time lets the other lease expire as well: then once more.
      for (let tries = 0; !await outlives(client); tries += 1) assert.ok(tries < TRIES_MAX);
      assert.equal((await leases(client)).has(1n), false);
      assert.equal(await keepAlive(client, 1n), 0n);
      const { response } = await client.call(leaseTimeToLive, { ID: 3n });
      const THIRTY_DAYS = BigInt(30 * 86_400);
      assert.ok(
        response!.TTL < THIRTY_DAYS - 1n && response!.TTL > THIRTY_DAYS - 200n,
        String(response!.TTL),
      );
    } finally {
      await client.close();
      await server.stop();
    }
  },
);

test("a renewal that comes after the expiry is answered by 0 when the lease is gone", options, async () => {
  const server = await startEtcd();
  const client = await GrpcClient.connect(server.port);
  try {
    await grantWithKey(client, 1n, 2n);
    await sleep(TTL_MS + 1);
    const ttl = await keepAlive(client, 1n);
    // Whether it waited for the revoke or came after it: no key of an ended lease is left.
    assert.equal(ttl, 0n);
    assert.deepEqual(await keys(client), new Set());
  } finally {
    await client.close();
    await server.stop();
  }
});

test(
  "leases and their keys are there after a restart, killed or not, and can be revoked",
  options,
  async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "etcd-lease-"));
    try {
      let server = await startEtcd({ dataDir });
      let client = await GrpcClient.connect(server.port);
      for (let ID = 1n; ID <= 5n; ID += 1n) await grantWithKey(client, ID, 100n * ID);
      await client.call(KV.method.put, { key: utf8("k1"), lease: 2n });
      await client.call(KV.method.put, { key: utf8("k3") });
      await client.call(leaseRevoke, { ID: 4n });
      for (const signal of ["SIGKILL", "SIGTERM"] as const) {
        await server.stop(signal);
        await client.close();
        server = await startEtcd({ dataDir });
        client = await GrpcClient.connect(server.port);
        const shown: [bigint, bigint, string][] = [];
        for (const ID of [...await leases(client)]) {
          const { response } = await client.call(leaseTimeToLive, { ID, keys: true });
          assert.ok(response!.TTL > response!.grantedTTL - 90n && response!.TTL <= response!.grantedTTL + 1n);
          shown.push([ID, response!.grantedTTL, response!.keys.map(textOf).join(" ")]);
        }
        assert.deepEqual(shown, [[1n, 100n, ""], [2n, 200n, "k1 k2"], [3n, 300n, ""], [5n, 500n, "k5"]]);
      }
      await client.call(leaseRevoke, { ID: 2n });
      assert.deepEqual(await keys(client), new Set([3n, 5n]));
      await client.close();
      await server.stop();
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  },
);

test("a kill while a thousand leases expire loses none and leaves no key behind", options, async () => {
  const dataDir = mkdtempSync(join(tmpdir(), "etcd-lease-"));
  const COUNT = 1_200;
  try {
    let server = await startEtcd({ dataDir });
    let client = await GrpcClient.connect(server.port);
    await grantWithKey(client, 9_999n, 1_000n);
    for (let from = 1; from <= COUNT; from += 100) {
      await Promise.all(
        Array.from({ length: 100 }, (_, i) => grantWithKey(client, BigInt(from + i), 2n)),
      );
    }
    let seen = COUNT + 1;
    const deadlineMs = performance.now() + WAIT_MS_MAX;
    while (seen > COUNT - 50 && performance.now() < deadlineMs) seen = (await leases(client)).size;
    await server.stop("SIGKILL");
    await client.close();
    assert.ok(seen > 1 && seen <= COUNT - 50, `${seen} leases when it was killed`);

    server = await startEtcd({ dataDir });
    client = await GrpcClient.connect(server.port);
    const [found, foundKeys] = [await leases(client), await keys(client)];
    assert.deepEqual(foundKeys, found);
    assert.ok(found.size <= seen && found.has(9_999n));
    await eventually("the others to expire", async () => (await leases(client)).size <= 1);
    assert.deepEqual(await leases(client), new Set([9_999n]));
    assert.deepEqual(await keys(client), new Set([9_999n]));
    await client.close();
    await server.stop();
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
