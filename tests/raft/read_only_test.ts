import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { EMPTY_CONF_STATE } from "../../src/raft/conf_change.ts";
import { decodePosition, encodePosition, ReadQueue } from "../../src/raft/read_only.ts";
import { Tracker } from "../../src/raft/tracker/tracker.ts";

function tracker(voters: bigint[], votersOutgoing: bigint[] = []): Tracker {
  const result = new Tracker({ countMax: 1, bytesMax: 1 });
  result.setConf({ ...EMPTY_CONF_STATE, voters, votersOutgoing }, 1);
  return result;
}

function queueOf(count: number): ReadQueue {
  const queue = new ReadQueue();
  // Every read has the same context: whatever clients choose, answers are told apart.
  for (let i = 1; i <= count; i += 1) queue.add({ from: 1n, context: utf8("same"), index: i });
  return queue;
}

test("ReadQueue confirms with a quorum everything up to the position that was answered", () => {
  const voters = tracker([1n, 2n, 3n]);
  const queue = queueOf(5);
  queue.acknowledged(1n, 5);
  assert.deepEqual(queue.takeConfirmed(voters), []);
  queue.acknowledged(2n, 3);
  assert.deepEqual(queue.takeConfirmed(voters).map((read) => read.index), [1, 2, 3]);
  // The same answer again confirms nothing more, and neither does a read that came after it was sent.
  queue.add({ from: 1n, context: utf8("same"), index: 6 });
  queue.acknowledged(2n, 3);
  assert.deepEqual(queue.takeConfirmed(voters), []);
  queue.acknowledged(3n, 6);
  assert.deepEqual(queue.takeConfirmed(voters).map((read) => read.index), [4, 5]);
  assert.equal(queue.length, 1);
  assert.equal(queue.position, 6);
});

test("ReadQueue passes over answers to positions that were never sent", () => {
  const queue = queueOf(2);
  queue.acknowledged(1n, 2);
  queue.acknowledged(2n, 99);
  assert.deepEqual(queue.takeConfirmed(tracker([1n, 2n, 3n])), []);
});

test("ReadQueue needs both halves of a joint configuration, and no learner", () => {
  const joint = tracker([1n, 2n], [1n, 3n, 4n]);
  const queue = queueOf(1);
  for (const id of [1n, 2n, 9n]) queue.acknowledged(id, 1);
  assert.deepEqual(queue.takeConfirmed(joint), []);
  queue.acknowledged(4n, 1);
  assert.equal(queue.takeConfirmed(joint).length, 1);
});

test("positions are 64 bits, little-endian", () => {
  assert.deepEqual([...encodePosition(0x0102)], [2, 1, 0, 0, 0, 0, 0, 0]);
  assert.equal(decodePosition(encodePosition(2 ** 40 + 5)), 2 ** 40 + 5);
  assert.equal(decodePosition(utf8("")), undefined);
  assert.equal(decodePosition(utf8("123456789")), undefined);
  assert.equal(decodePosition(new Uint8Array(8).fill(255)), undefined);
});
