import assert from "node:assert/strict";
import { test } from "node:test";
import { createClock } from "../../src/runtime/node_compat/clock.ts";

const TIMER_MS_MAX = 20;
/** Cuts every delay of more than 20 ms into pieces, as the real one cuts delays of more than 24 days. */
const clock = createClock({ timerMsMax: TIMER_MS_MAX });

test("monotonicMs() grows and wallMs() is the time of day", async () => {
  const before = clock.monotonicMs();
  await new Promise<void>((resolve) => void clock.after(5, resolve));
  assert.ok(clock.monotonicMs() >= before + 4);
  assert.ok(Math.abs(clock.wallMs() - Date.now()) < 1000);
});

test("after() waits in full when the delay is longer than one timer can be", async () => {
  for (const delayMs of [0, 10, 20, 50, 75]) {
    const before = performance.now();
    let runs = 0;
    await new Promise<void>((resolve) =>
      void clock.after(delayMs, () => {
        runs += 1;
        resolve();
      })
    );
    const tookMs = performance.now() - before;
    assert.ok(tookMs >= delayMs - 2, `${delayMs} ms took ${tookMs}`);
    assert.equal(runs, 1);
  }
});

test("after() with a delay past 2^31 - 1 ms does not run at once", async () => {
  const timer = createClock().after(2 ** 31 + 1000, () => assert.fail("ran"));
  await new Promise((resolve) => setTimeout(resolve, 30));
  timer.cancel();
});

test("cancel() stops timers short, long and periodic", async () => {
  let runs = 0;
  const count = (): void => void (runs += 1);
  const timers = [
    clock.after(5, count),
    clock.after(50, count),
    clock.every(5, count),
    clock.every(30, count),
  ];
  for (const timer of timers) timer.cancel();
  await new Promise((resolve) => setTimeout(resolve, 80));
  assert.equal(runs, 0);
});

test("every() runs again and again, with long periods too", async () => {
  for (const periodMs of [5, 30]) {
    const before = performance.now();
    // A periodic timer alone does not keep the process going.
    const alive = clock.after(5000, () => {});
    await new Promise<void>((resolve) => {
      let runs = 0;
      const timer = clock.every(periodMs, () => {
        runs += 1;
        if (runs < 3) return;
        timer.cancel();
        resolve();
      });
    });
    alive.cancel();
    assert.ok(performance.now() - before >= 3 * periodMs - 5);
  }
});

test("soon() runs in a later turn", async () => {
  let ran = false;
  const done = new Promise<void>((resolve) =>
    clock.soon(() => {
      ran = true;
      resolve();
    })
  );
  await Promise.resolve();
  assert.equal(ran, false);
  await done;
});
