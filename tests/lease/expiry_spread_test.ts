import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import { spreadExpiries } from "../../src/lease/expiry_spread.ts";
import { Lease } from "../../src/lease/lease.ts";

function leasesAt(expiries: readonly number[]): Lease[] {
  return expiries.map((expiryMs, i) => {
    const lease = new Lease(BigInt(i + 1), 10);
    lease.expiryMs = expiryMs;
    return lease;
  });
}

test("spreadExpiries() does what its example says", () => {
  const leases = leasesAt([10_000, 10_100, 10_200, 10_300, 15_000]);
  spreadExpiries(leases, 2);
  assert.deepEqual(leases.map(({ expiryMs }) => expiryMs), [10_000, 10_100, 11_000, 11_100, 15_000]);
});

test("spreadExpiries() bounds every second, shortens nothing and delays no more than it must", () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const prng = new Prng(seed);
    const perSecond = 1 + prng.below(20);
    const before = Array.from({ length: 300 }, () => prng.below(20_000)).sort((a, b) => a - b);
    const leases = leasesAt(before);
    spreadExpiries(leases, perSecond);
    const after = leases.map(({ expiryMs }) => expiryMs);
    after.forEach((expiryMs, i) => {
      assert.ok(expiryMs >= before[i]!, `SEED=${seed}: lease ${i} ends early`);
      const inWindow = after.filter((other) => other >= expiryMs && other < expiryMs + 1_000).length;
      assert.ok(inWindow <= perSecond, `SEED=${seed}: ${inWindow} leases end within a second`);
      // One that was put off follows a full second.
      if (expiryMs > before[i]!) assert.equal(expiryMs, after[i - perSecond]! + 1_000, `SEED=${seed}`);
    });
  }
});
