import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../../src/base/prng.ts";
import { Inflights } from "../../../src/raft/tracker/inflights.ts";
import { Progress } from "../../../src/raft/tracker/progress.ts";

test("Inflights agrees with a plain queue", () => {
  const prng = new Prng(1);
  for (let round = 0; round < 100; round += 1) {
    const countMax = 1 + prng.below(20);
    const bytesMax = 1 + prng.below(100);
    const inflights = new Inflights({ countMax, bytesMax });
    let queue: { index: number; bytes: number }[] = [];
    let index = 0;
    for (let step = 0; step < 200; step += 1) {
      const bytes = queue.reduce((sum, sent) => sum + sent.bytes, 0);
      assert.equal(inflights.count, queue.length);
      assert.equal(inflights.full, queue.length === countMax || bytes >= bytesMax);
      if (prng.chance(0.02)) {
        inflights.clear();
        queue = [];
      } else if (prng.chance(0.6)) {
        index += 1 + prng.below(3);
        const sent = { index, bytes: prng.below(30) };
        if (inflights.full) {
          assert.throws(() => inflights.add(sent.index, sent.bytes), /under way/);
        } else {
          inflights.add(sent.index, sent.bytes);
          queue.push(sent);
        }
      } else {
        const acked = Math.max(0, index - prng.below(15));
        inflights.freeTo(acked);
        queue = queue.filter((sent) => sent.index > acked);
      }
    }
  }
});

function progress(match: number, next: number, countMax = 10): Progress {
  const member = new Progress(next, { countMax, bytesMax: 1000 });
  member.acknowledged(match);
  member.next = next;
  return member;
}

test("Progress probes with one message at a time, and streams as far as the window goes", () => {
  const member = progress(0, 5, 2);
  member.sent(3, 100);
  assert.deepEqual([member.mayNotSend, member.next], [true, 5]);
  assert.equal(member.acknowledged(7), true);
  assert.deepEqual([member.mayNotSend, member.next, member.match], [false, 8, 7]);
  member.becomeReplicate();
  member.sent(2, 10);
  assert.deepEqual([member.next, member.mayNotSend], [10, false]);
  member.sent(1, 10);
  assert.deepEqual([member.next, member.mayNotSend], [11, true]);
  assert.equal(member.acknowledged(9), true);
  member.inflights.freeTo(9);
  assert.equal(member.mayNotSend, false);
  assert.equal(member.acknowledged(9), false);
});

test("Progress.rejected takes back what was not accepted, unless the answer is stale", () => {
  const streaming = progress(5, 6);
  streaming.becomeReplicate();
  streaming.sent(4, 10);
  assert.equal(streaming.rejected(5, 5), false);
  assert.equal(streaming.rejected(8, 3), true);
  assert.equal(streaming.next, 6);
  const probing = progress(2, 10);
  assert.equal(probing.rejected(8, 4), false);
  assert.equal(probing.rejected(9, 4), true);
  assert.equal(probing.next, 5);
  assert.equal(probing.rejected(4, 0), true);
  assert.equal(probing.next, 3, "never below what is known to match");
});

test("Progress goes on after a snapshot where it ends, after a failed one where it was", () => {
  const arrived = progress(3, 4);
  arrived.becomeSnapshot(10);
  assert.equal(arrived.mayNotSend, true);
  arrived.becomeProbe();
  assert.deepEqual([arrived.state, arrived.next], ["probe", 11]);
  const failed = progress(3, 4);
  failed.becomeSnapshot(10);
  failed.abortSnapshot();
  assert.deepEqual([failed.state, failed.next, failed.pendingSnapshot], ["probe", 4, 0]);
  assert.throws(() => {
    failed.becomeSnapshot(10);
    failed.sent(1, 1);
  }, /waits for a snapshot/);
});

test("Progress.wantsCommit is about news that the member can use", () => {
  const member = progress(5, 6);
  member.becomeReplicate();
  member.sent(2, 10);
  member.sentCommit = 5;
  assert.equal(member.wantsCommit(6), true);
  assert.equal(member.wantsCommit(5), false);
  member.sentCommit = 7;
  assert.equal(member.wantsCommit(8), false, "it has been sent no entry past 7");
});
