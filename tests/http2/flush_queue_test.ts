import { test } from "node:test";
import assert from "node:assert/strict";
import { FlushQueue } from "../../src/http2/flush_queue.ts";
import { ManualClock } from "./support.ts";

function recorder(log: string[], name: string, onFlush: () => void = () => {}) {
  return {
    flush() {
      log.push(name);
      onFlush();
    },
  };
}

test("FlushQueue flushes in a coming turn what nobody has flushed", () => {
  const clock = new ManualClock();
  const queue = new FlushQueue(clock);
  const log: string[] = [];
  queue.add(recorder(log, "a"));
  queue.add(recorder(log, "b"));
  assert.deepEqual(log, []);
  clock.turn();
  assert.deepEqual(log, ["a", "b"]);
  clock.turn();
  assert.deepEqual(log, ["a", "b"]);
});

test("flushAll() leaves what is added meanwhile to the next turn, and does not nest", () => {
  const clock = new ManualClock();
  const queue = new FlushQueue(clock);
  const log: string[] = [];
  queue.add(recorder(log, "a", () => {
    queue.add(recorder(log, "later"));
    queue.flushAll();
  }));
  queue.add(recorder(log, "b"));
  queue.flushAll();
  assert.deepEqual(log, ["a", "b"]);
  clock.turn();
  assert.deepEqual(log, ["a", "b", "later"]);
});

test("FlushQueue keeps buffers up to 8 MiB", () => {
  const queue = new FlushQueue(new ManualClock());
  const given: Uint8Array[] = Array.from({ length: 9 }, () => new Uint8Array(1 << 20));
  for (const buffer of given) queue.giveBuffer(buffer);
  const taken = given.map(() => queue.takeBuffer());
  assert.equal(taken.filter((buffer) => given.includes(buffer)).length, 8);
  assert.equal(new Set(taken).size, 9);
});
