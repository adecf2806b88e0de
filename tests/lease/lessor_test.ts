import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { Lessor } from "../../src/lease/lessor.ts";
import { MemoryLeaseStore } from "../harness/model_lessor.ts";

const DAY_SECONDS = 86_400;
const noKeys = (): void => assert.fail("there are no keys to delete");

function newLessor(store = new MemoryLeaseStore(), checkpointIntervalMs?: number): Lessor {
  const lessor = new Lessor({ store, ttlMinSeconds: 2, checkpointIntervalMs });
  lessor.restore();
  return lessor;
}

function leading(store = new MemoryLeaseStore(), checkpointIntervalMs?: number): Lessor {
  const lessor = newLessor(store, checkpointIntervalMs);
  lessor.promote(1_000, 0);
  return lessor;
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof EtcdError);
    return error.code;
  }
  return "ok";
}

test("grant() raises a short TTL, refuses one past 9e9 seconds, an id in use and the id 0", () => {
  const lessor = leading();
  assert.equal(lessor.grant(1n, 1n, 0).ttlSeconds, 2);
  assert.equal(lessor.grant(2n, 0n, 0).ttlSeconds, 2);
  assert.equal(lessor.grant(3n, -(2n ** 63n), 0).ttlSeconds, 2);
  assert.equal(lessor.grant(-5n, 9_000_000_000n, 0).ttlSeconds, 9_000_000_000);
  assert.equal(codeOf(() => lessor.grant(4n, 9_000_000_001n, 0)), "leaseTtlTooLarge");
  assert.equal(codeOf(() => lessor.grant(4n, 2n ** 63n - 1n, 0)), "leaseTtlTooLarge");
  assert.equal(codeOf(() => lessor.grant(1n, 10n, 0)), "leaseExists");
  assert.equal(codeOf(() => lessor.grant(0n, 10n, 0)), "leaseNotFound");
  assert.deepEqual(lessor.list().map(({ id }) => id), [1n, 2n, 3n, -5n]);
});

test("a lease of 30 days and one of 285 years end when they should and not before", () => {
  const lessor = leading();
  lessor.grant(1n, BigInt(30 * DAY_SECONDS), 500);
  lessor.grant(2n, 9_000_000_000n, 500);
  const endMs = 500 + 30 * DAY_SECONDS * 1_000;
  assert.deepEqual(lessor.takeExpired(2 ** 31, 10, 3_000), []);
  assert.deepEqual(lessor.takeExpired(endMs - 1, 10, 3_000), []);
  assert.deepEqual(lessor.takeExpired(endMs, 10, 3_000).map(({ id }) => id), [1n]);
  lessor.revoke(1n, noKeys);
  assert.deepEqual(lessor.takeExpired(500 + 9e12 - 1, 10, 3_000), []);
  assert.deepEqual(lessor.takeExpired(500 + 9e12, 10, 3_000).map(({ id }) => id), [2n]);
});

test("takeExpired() gives a bounded number, the oldest first, and each again only after the retry time", () => {
  const lessor = leading();
  for (let id = 1n; id <= 10n; id += 1n) lessor.grant(id, 2n + id, 0);
  const ids = (nowMs: number, max: number): bigint[] =>
    lessor.takeExpired(nowMs, max, 3_000).map(({ id }) => id);
  assert.deepEqual(ids(60_000, 4), [1n, 2n, 3n, 4n]);
  assert.deepEqual(ids(60_000, 100), [5n, 6n, 7n, 8n, 9n, 10n]);
  assert.deepEqual(ids(62_999, 100), []);
  lessor.revoke(3n, noKeys);
  assert.equal(ids(63_000, 100).length, 9);
});

test("renew() gives the whole TTL again, and what it costs the queue is paid when the old time comes", () => {
  const lessor = leading();
  const lease = lessor.grant(1n, 10n, 0);
  lessor.renew(lease, 9_999);
  assert.deepEqual(lessor.takeExpired(10_000, 10, 3_000), []);
  assert.deepEqual(lessor.takeExpired(19_998, 10, 3_000), []);
  assert.equal(lessor.takeExpired(19_999, 10, 3_000).length, 1);
  assert.equal(lessor.renewed, 1);
});

test("revoke() deletes the keys sorted by their bytes, at once, when the lease is gone already", () => {
  const store = new MemoryLeaseStore();
  const lessor = leading(store);
  lessor.grant(7n, 10n, 0);
  const keys = [
    utf8("b"),
    Uint8Array.of(0xff, 0),
    Uint8Array.of(0xff),
    utf8("a"),
    utf8("é"),
    new Uint8Array(0),
  ];
  for (const key of keys) lessor.attach(7n, key);
  const deleted: string[] = [];
  lessor.revoke(7n, (sorted) => {
    assert.equal(lessor.exists(7n), false);
    assert.equal(store.rows.size, 0);
    for (const key of sorted) {
      assert.equal(lessor.leaseOf(key), 0n);
      deleted.push([...key].join(","));
    }
  });
  assert.deepEqual(deleted, ["", "97", "98", "195,169", "255", "255,0"]);
  assert.equal(codeOf(() => lessor.revoke(7n, noKeys)), "leaseNotFound");
  assert.equal(lessor.revoked, 1);
});

test("attach() and detach() pass over leases that are not there or do not hold the key", () => {
  const lessor = leading();
  lessor.attach(9n, utf8("k"));
  assert.equal(lessor.leaseOf(utf8("k")), 0n);
  lessor.grant(1n, 10n, 0);
  lessor.grant(2n, 10n, 0);
  lessor.attach(1n, utf8("k"));
  lessor.detach(2n, utf8("k"));
  assert.equal(lessor.leaseOf(utf8("k")), 1n);
  lessor.detach(1n, utf8("k"));
  assert.equal(lessor.leaseOf(utf8("k")), 0n);
  assert.deepEqual(lessor.keysOf(lessor.get(1n)!), []);
});

test("a key longer than an engine's argument list finds its lease", () => {
  const lessor = leading();
  lessor.grant(1n, 10n, 0);
  const key = Uint8Array.from({ length: 300_000 }, (_, i) => i % 251);
  lessor.attach(1n, key);
  assert.equal(lessor.leaseOf(key), 1n);
  assert.deepEqual(lessor.keysOf(lessor.get(1n)!), [key]);
});

test("a member that does not lead ends no lease; one that begins to lead gives each its TTL and an election", () => {
  const store = new MemoryLeaseStore();
  const lessor = newLessor(store);
  const lease = lessor.grant(1n, 10n, 0);
  assert.equal(lease.expiryMs, Infinity);
  assert.deepEqual(lessor.takeExpired(1e15, 10, 3_000), []);
  lessor.promote(1_000, 50_000);
  assert.equal(lease.expiryMs, 61_000);
  lessor.demote();
  assert.equal(lease.expiryMs, Infinity);
  assert.deepEqual(lessor.takeExpired(1e15, 10, 3_000), []);
  lessor.promote(1_000, 70_000);
  assert.deepEqual(lessor.takeExpired(80_999, 10, 3_000), []);
  assert.equal(lessor.takeExpired(81_000, 10, 3_000).length, 1);
});

test("a renewal soon after an election ends before the time that the election gave", () => {
  const lessor = newLessor();
  const lease = lessor.grant(1n, 10n, 0);
  lessor.promote(60_000, 0);
  lessor.renew(lease, 1_000);
  assert.equal(lessor.takeExpired(11_000, 10, 3_000).length, 1);
});

test("promote() spreads leases that would end together, 750 to the second", () => {
  const lessor = newLessor();
  for (let id = 1n; id <= 3_000n; id += 1n) lessor.grant(id, 10n, 0);
  lessor.promote(1_000, 0);
  assert.equal(lessor.takeExpired(10_999, 9_999, 30_000).length, 0);
  const perSecond = [11_999, 12_999, 13_999, 14_999].map((nowMs) =>
    lessor.takeExpired(nowMs, 9_999, 30_000).length
  );
  assert.deepEqual(perSecond, [750, 750, 750, 750]);
});

test("promote() does not spread fewer leases than may end in a second anyway", () => {
  const lessor = newLessor();
  for (let id = 1n; id <= 999n; id += 1n) lessor.grant(id, 10n, 0);
  lessor.promote(1_000, 0);
  assert.equal(lessor.takeExpired(11_000, 9_999, 3_000).length, 999);
});

test("a restart finds the leases with their TTL and checkpoint, raised to what is the least by now", () => {
  const store = new MemoryLeaseStore();
  const before = leading(store);
  before.grant(1n, 100n, 0);
  before.grant(2n, 2n, 0);
  before.checkpoint(1n, 40n, 0);
  const after = new Lessor({ store, ttlMinSeconds: 5 });
  after.restore();
  assert.deepEqual(
    after.list().map(({ id, ttlSeconds, remainingSeconds }) => [id, ttlSeconds, remainingSeconds]),
    [[1n, 100, 40], [2n, 5, 0]],
  );
  after.promote(1_000, 0);
  assert.equal(after.get(1n)!.expiryMs, 41_000);
  assert.equal(after.get(2n)!.expiryMs, 6_000);
});

test("checkpoints are made of what is left, every interval, of leases longer than that", () => {
  const lessor = leading(new MemoryLeaseStore(), 300_000);
  lessor.grant(1n, 1_000n, 0);
  lessor.grant(2n, 300n, 0);
  lessor.grant(3n, 1_000n, 0);
  assert.deepEqual(lessor.takeCheckpoints(299_999, 10), []);
  assert.deepEqual(lessor.takeCheckpoints(300_000, 1), [{ id: 1n, remainingSeconds: 700 }]);
  assert.deepEqual(lessor.takeCheckpoints(300_500, 10), [{ id: 3n, remainingSeconds: 700 }]);
  lessor.checkpoint(1n, 700n, 300_600);
  assert.deepEqual(lessor.takeCheckpoints(600_499, 10), []);
  assert.deepEqual(lessor.takeCheckpoints(600_600, 10), [
    { id: 3n, remainingSeconds: 400 },
    { id: 1n, remainingSeconds: 400 },
  ]);
});

test("no checkpoint is made without an interval, of an ended lease, or by a member that does not lead", () => {
  const silent = leading();
  silent.grant(1n, 1_000n, 0);
  assert.deepEqual(silent.takeCheckpoints(1e9, 10), []);
  const lessor = leading(new MemoryLeaseStore(), 300_000);
  lessor.grant(1n, 400n, 0);
  lessor.grant(2n, 1_000n, 0);
  assert.deepEqual(lessor.takeCheckpoints(400_000, 10), [{ id: 2n, remainingSeconds: 600 }]);
  lessor.demote();
  assert.deepEqual(lessor.takeCheckpoints(1e9, 10), []);
  lessor.promote(1_000, 400_000);
  lessor.revoke(2n, () => {});
  assert.deepEqual(lessor.takeCheckpoints(1e6, 10).map(({ id }) => id).filter((id) => id === 2n), []);
  lessor.checkpoint(77n, 5n, 0); // A lease that is gone.
  assert.equal(lessor.exists(77n), false);
});

test("counters say what happened", () => {
  const lessor = leading();
  lessor.grant(1n, 3n, 0);
  lessor.grant(2n, 100n, 0);
  lessor.revoke(1n, noKeys);
  assert.deepEqual([lessor.granted, lessor.revoked, lessor.renewed, lessor.expired], [2, 1, 0, 0]);
  assert.equal(lessor.ttls.sum, 103);
  assert.equal(lessor.size, 1);
});
