import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import { ExpiryQueue } from "../../src/lease/expiry_queue.ts";
import { Lease } from "../../src/lease/lease.ts";

test("ExpiryQueue gives the earliest first whatever was moved and removed", () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const prng = new Prng(seed);
    const queue = new ExpiryQueue();
    const leases = Array.from({ length: 40 }, (_, i) => new Lease(BigInt(i + 1), 10));
    const inside = new Set<Lease>();
    for (let step = 0; step < 400; step += 1) {
      const lease = leases[prng.below(leases.length)]!;
      if (prng.chance(0.3)) {
        queue.remove(lease);
        inside.delete(lease);
      } else {
        queue.schedule(lease, prng.below(100));
        inside.add(lease);
      }
      assert.equal(queue.length, inside.size, `SEED=${seed} step ${step}`);
      const earliest = Math.min(...[...inside].map(({ dueMs }) => dueMs));
      assert.equal(queue.first?.dueMs ?? Infinity, earliest, `SEED=${seed} step ${step}`);
    }
    for (let last = -Infinity; queue.first !== undefined;) {
      const { first } = queue;
      assert.ok(first.dueMs >= last, `SEED=${seed}`);
      last = first.dueMs;
      queue.remove(first);
      assert.equal(first.queueSlot, -1);
    }
  }
});

test("ExpiryQueue.clear() lets its leases go, so that they can be scheduled again", () => {
  const queue = new ExpiryQueue();
  const [a, b] = [new Lease(1n, 10), new Lease(2n, 10)];
  queue.schedule(a, 1);
  queue.schedule(b, 2);
  queue.clear();
  assert.equal(queue.first, undefined);
  queue.remove(a); // Passed over.
  queue.schedule(b, 5);
  assert.equal(queue.first, b);
  assert.equal(queue.length, 1);
});
