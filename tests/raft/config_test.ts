import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import { raftConfig, type RaftOptions } from "../../src/raft/config.ts";
import { MemoryStorage } from "../../src/raft/storage.ts";

const options: RaftOptions = { id: 1n, storage: new MemoryStorage(), applied: 0, prng: new Prng(1) };

test("raftConfig fills in the defaults and keeps what was given", () => {
  const config = raftConfig({ ...options, electionTicks: 7 });
  assert.deepEqual(
    [config.electionTicks, config.heartbeatTicks, config.maxMessageBytes, config.maxInflightMessages],
    [7, 1, 1024 * 1024, 512],
  );
  assert.deepEqual([config.preVote, config.checkQuorum], [true, true]);
});

test("raftConfig refuses options that do not fit", () => {
  const bad: Partial<RaftOptions>[] = [
    { id: 0n },
    { id: -1n },
    { id: 0xffffffffffffffffn },
    { id: 0xfffffffffffffffen },
    { applied: -1 },
    { heartbeatTicks: 0 },
    { electionTicks: 1 },
    { electionTicks: 2.5 },
    { maxInflightMessages: 0 },
    { maxInflightBytes: 1 },
    { maxCommittedBytesPerReady: Number.NaN },
    { maxPendingReads: -5 },
  ];
  for (const wrong of bad) assert.throws(() => raftConfig({ ...options, ...wrong }), RangeError);
  assert.equal(raftConfig({ ...options, id: 0xfffffffffffffffdn }).id, 0xfffffffffffffffdn);
});
