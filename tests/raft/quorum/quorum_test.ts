import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../../src/base/prng.ts";
import { jointCommitted, jointVote } from "../../../src/raft/quorum/joint.ts";
import { majorityCommitted, majorityOf, majorityVote } from "../../../src/raft/quorum/majority.ts";

const ROUNDS = 3000;

function randomVoters(prng: Prng): bigint[] {
  return [1n, 2n, 3n, 4n, 5n, 6n, 7n].filter(() => prng.chance(0.6));
}

function randomAcks(prng: Prng): Map<bigint, number> {
  return new Map([1n, 2n, 3n, 4n, 5n, 6n, 7n].map((id) => [id, prng.below(6)]));
}

function randomVotes(prng: Prng): Map<bigint, boolean | undefined> {
  const choices = [true, false, undefined];
  return new Map([1n, 2n, 3n, 4n, 5n, 6n, 7n].map((id) => [id, choices[prng.below(3)]]));
}

/** The definition, word by word: the highest index that more than half of the voters have. */
function slowCommitted(voters: readonly bigint[], acks: ReadonlyMap<bigint, number>): number {
  for (let index = 6; index > 0; index -= 1) {
    if (voters.filter((id) => acks.get(id)! >= index).length > voters.length / 2) return index;
  }
  return voters.length === 0 ? Infinity : 0;
}

test("majorityOf is the smallest number that overlaps itself", () => {
  assert.deepEqual([1, 2, 3, 4, 5, 6, 7].map(majorityOf), [1, 2, 2, 3, 3, 4, 4]);
});

test("majorityCommitted agrees with the definition", () => {
  const prng = new Prng(1);
  for (let round = 0; round < ROUNDS; round += 1) {
    const voters = randomVoters(prng);
    const acks = randomAcks(prng);
    const committed = majorityCommitted(voters, (id) => acks.get(id)!);
    assert.equal(committed, slowCommitted(voters, acks), `${voters} ${[...acks]}`);
  }
});

test("majorityCommitted does not depend on acks above or below the answer", () => {
  const prng = new Prng(2);
  for (let round = 0; round < ROUNDS; round += 1) {
    const voters = randomVoters(prng);
    if (voters.length === 0) continue;
    const acks = randomAcks(prng);
    const committed = majorityCommitted(voters, (id) => acks.get(id)!);
    const changed = majorityCommitted(voters, (id) => {
      const acked = acks.get(id)!;
      return acked > committed ? acked + prng.below(10) : acked < committed ? prng.below(acked + 1) : acked;
    });
    assert.equal(changed, committed);
  }
});

test("jointCommitted is what both halves have, and one half twice is that half", () => {
  const prng = new Prng(3);
  for (let round = 0; round < ROUNDS; round += 1) {
    const [incoming, outgoing] = [randomVoters(prng), randomVoters(prng)];
    const acks = randomAcks(prng);
    const acked = (id: bigint) => acks.get(id)!;
    const both = Math.min(slowCommitted(incoming, acks), slowCommitted(outgoing, acks));
    assert.equal(jointCommitted({ incoming, outgoing }, acked), both);
    assert.equal(jointCommitted({ incoming: outgoing, outgoing: incoming }, acked), both);
    assert.equal(
      jointCommitted({ incoming, outgoing: incoming }, acked),
      jointCommitted({ incoming, outgoing: [] }, acked),
    );
  }
});

test("majorityVote is decided exactly when no further vote can change it", () => {
  const prng = new Prng(4);
  for (let round = 0; round < ROUNDS; round += 1) {
    const voters = randomVoters(prng);
    const votes = randomVotes(prng);
    const result = majorityVote(voters, (id) => votes.get(id));
    const wonIfRest = (rest: boolean) =>
      voters.length === 0 || voters.filter((id) => votes.get(id) ?? rest).length > voters.length / 2;
    const expected = wonIfRest(false) ? "won" : wonIfRest(true) ? "pending" : "lost";
    assert.equal(result, expected, `${voters} ${[...votes]}`);
  }
});

test("jointVote needs both halves and is lost with one", () => {
  const prng = new Prng(5);
  const seen = new Set<string>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const [incoming, outgoing] = [randomVoters(prng), randomVoters(prng)];
    const votes = randomVotes(prng);
    const voteOf = (id: bigint) => votes.get(id);
    const halves = [majorityVote(incoming, voteOf), majorityVote(outgoing, voteOf)];
    const expected = halves.includes("lost") ? "lost" : halves.includes("pending") ? "pending" : "won";
    assert.equal(jointVote({ incoming, outgoing }, voteOf), expected);
    seen.add(expected);
  }
  assert.equal(seen.size, 3);
});

test("two won elections in one term share a voter that voted for both, so cannot be", () => {
  const prng = new Prng(6);
  for (let round = 0; round < ROUNDS; round += 1) {
    const [incoming, outgoing] = [randomVoters(prng), randomVoters(prng)];
    if (incoming.length === 0) continue;
    const votes = randomVotes(prng);
    const forA = jointVote({ incoming, outgoing }, (id) => votes.get(id));
    const forB = jointVote({ incoming, outgoing }, (id) => {
      const vote = votes.get(id);
      return vote === undefined ? undefined : !vote;
    });
    assert.ok(!(forA === "won" && forB === "won"));
  }
});
