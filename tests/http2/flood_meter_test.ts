import { test } from "node:test";
import assert from "node:assert/strict";
import { FloodMeter } from "../../src/http2/flood_meter.ts";

/** How many can be taken at once, up to 100. */
function drain(meter: FloodMeter, nowMs: number): number {
  let taken = 0;
  while (taken < 100 && meter.take(nowMs)) taken += 1;
  return taken;
}

test("FloodMeter allows a burst, and what time has put back", () => {
  const meter = new FloodMeter({ burst: 5, perSecond: 1, nowMs: 0 });
  assert.equal(drain(meter, 0), 5);
  assert.equal(drain(meter, 900), 0);
  assert.equal(drain(meter, 2_000), 2);
  assert.equal(drain(meter, 1_000), 0); // A clock behind gives nothing.
  assert.equal(drain(meter, 1_000_000), 5);
});

test("FloodMeter is paid back by work, up to the burst", () => {
  const meter = new FloodMeter({ burst: 5, perSecond: 0, nowMs: 0 });
  drain(meter, 0);
  meter.earn(2);
  assert.equal(drain(meter, 0), 2);
  for (let i = 0; i < 50; i += 1) meter.earn(1);
  assert.equal(drain(meter, 0), 5);
});

test("FloodMeter without bound is never empty", () => {
  const meter = new FloodMeter({ burst: Infinity, perSecond: 0, nowMs: 0 });
  assert.equal(drain(meter, 0), 100);
});
