import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import {
  changeConf,
  changeSimple,
  checkedConfState,
  ConfChangeError,
  EMPTY_CONF_STATE,
  enterJoint,
  isJoint,
  leaveJoint,
  membersOf,
} from "../../src/raft/conf_change.ts";
import { majorityOf } from "../../src/raft/quorum/majority.ts";
import {
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfState,
} from "../../src/raft/types.ts";

const types = Object.values(ConfChangeType);

function change(text: string): ConfChangeSingle[] {
  const named = { v: ConfChangeType.addVoter, l: ConfChangeType.addLearner, r: ConfChangeType.remove };
  return text.split(" ").map((word) => ({
    type: named[word[0] as "v" | "l" | "r"],
    nodeId: BigInt(word.slice(1)),
  }));
}

function conf(voters: bigint[], more: Partial<ConfState> = {}): ConfState {
  return { ...EMPTY_CONF_STATE, voters, ...more };
}

function randomChanges(prng: Prng, count: number): ConfChangeSingle[] {
  return Array.from({ length: count }, () => ({
    type: types[prng.below(types.length)]!,
    nodeId: BigInt(prng.below(6)),
  }));
}

function attempt(run: () => ConfState): ConfState | undefined {
  try {
    return run();
  } catch (error) {
    assert.ok(error instanceof ConfChangeError);
    return undefined;
  }
}

/** Every two majorities share a member. */
function majoritiesOverlap(a: readonly bigint[], b: readonly bigint[]): boolean {
  const all = [...new Set([...a, ...b])];
  // Two majorities that share nobody need this many members in all.
  const shared = a.filter((id) => b.includes(id)).length;
  const [needA, needB] = [majorityOf(a.length), majorityOf(b.length)];
  const onlyA = a.length - shared;
  const onlyB = b.length - shared;
  const takenA = Math.max(0, needA - onlyA);
  const takenB = Math.max(0, needB - onlyB);
  return all.length > 0 && takenA + takenB > shared;
}

test("changeSimple keeps the majorities of before and after overlapping", () => {
  const prng = new Prng(1);
  let changed = 0;
  for (let round = 0; round < 300; round += 1) {
    let now = conf([1n]);
    for (let step = 0; step < 20; step += 1) {
      const next = attempt(() => changeSimple(now, randomChanges(prng, 1 + prng.below(3))));
      if (next === undefined) continue;
      assert.ok(majoritiesOverlap(now.voters, next.voters), `${now.voters} to ${next.voters}`);
      assert.ok(!isJoint(next));
      if (next.voters.length !== now.voters.length) changed += 1;
      now = next;
    }
  }
  assert.ok(changed > 300, `${changed}`);
});

test("a joint change that is left comes to the same as the changes one by one", () => {
  const prng = new Prng(2);
  let compared = 0;
  for (let round = 0; round < 2000; round += 1) {
    const start = attempt(() => changeSimple(conf([1n, 2n]), randomChanges(prng, 1))) ?? conf([1n, 2n]);
    const changes = randomChanges(prng, 1 + prng.below(5));
    const joint = attempt(() => leaveJoint(enterJoint(start, changes, prng.chance(0.5))));
    let single: ConfState | undefined = start;
    for (const one of changes) {
      const before: ConfState | undefined = single;
      single = before === undefined ? undefined : attempt(() => changeSimple(before, [one]));
    }
    // One by one the last voter may be gone for a moment; then only the joint way is open.
    if (joint === undefined || single === undefined) continue;
    assert.deepEqual(
      joint,
      single,
      `${JSON.stringify(changes, (_, v) => typeof v === "bigint" ? `${v}` : v)}`,
    );
    compared += 1;
  }
  assert.ok(compared > 1000, `${compared}`);
});

test("enterJoint keeps the old voters as the outgoing half until leaveJoint", () => {
  const prng = new Prng(3);
  for (let round = 0; round < 2000; round += 1) {
    const start = attempt(() => changeSimple(conf([1n, 2n, 3n]), randomChanges(prng, 1))) ?? conf([1n]);
    const joint = attempt(() => enterJoint(start, randomChanges(prng, 3), true));
    if (joint === undefined) continue;
    assert.deepEqual(joint.votersOutgoing, start.voters);
    assert.deepEqual(checkedConfState(joint), joint);
    const left = leaveJoint(joint);
    assert.deepEqual(left.voters, joint.voters);
    assert.deepEqual(left.votersOutgoing, []);
    assert.equal(left.autoLeave, false);
    // Who is in neither list of the new configuration is gone, and nobody else is.
    assert.deepEqual(membersOf(left), membersOf({ ...joint, votersOutgoing: joint.learnersNext }));
    for (const id of joint.learnersNext) assert.ok(left.learners.includes(id));
  }
});

test("a voter that is demoted in a joint configuration learns only once it has left the outgoing half", () => {
  const joint = enterJoint(conf([1n, 2n]), change("l2 v3"), false);
  assert.deepEqual(joint, {
    voters: [1n, 3n],
    votersOutgoing: [1n, 2n],
    learners: [],
    learnersNext: [2n],
    autoLeave: false,
  });
  assert.deepEqual(leaveJoint(joint), conf([1n, 3n], { learners: [2n] }));
});

test("changeConf chooses between simple, joint and leaving", () => {
  const via = (from: ConfState, text: string, transition: ConfChangeTransition) =>
    changeConf(from, {
      transition,
      changes: text === "" ? [] : change(text),
      context: EMPTY_BYTES,
    });
  const { auto, jointImplicit, jointExplicit } = ConfChangeTransition;
  assert.deepEqual(via(conf([1n]), "v2", auto), conf([1n, 2n]));
  const implicit = conf([1n, 2n], { votersOutgoing: [1n], autoLeave: true });
  assert.deepEqual(via(conf([1n]), "v2", jointImplicit), implicit);
  assert.deepEqual(via(conf([1n]), "v2", jointExplicit), { ...implicit, autoLeave: false });
  assert.deepEqual(via(conf([1n]), "v2 v3", auto), { ...implicit, voters: [1n, 2n, 3n] });
  assert.deepEqual(via(implicit, "", auto), conf([1n, 2n]));
});

test("changes that do not fit are refused", () => {
  const joint = conf([1n, 2n], { votersOutgoing: [1n] });
  assert.throws(() => changeSimple(conf([1n]), change("r1")), /removed all voters/);
  assert.throws(() => changeSimple(conf([1n]), change("l1")), /removed all voters/);
  assert.throws(() => changeSimple(conf([1n]), change("v2 v3")), /more than one voter/);
  assert.throws(() => changeSimple(joint, change("v3")), /in joint config/);
  assert.throws(() => enterJoint(joint, change("v3"), true), /already joint/);
  assert.throws(() => enterJoint(EMPTY_CONF_STATE, change("v3"), true), /zero-voter/);
  assert.throws(() => leaveJoint(conf([1n])), /non-joint/);
  assert.throws(() => changeSimple(conf([1n]), [{ type: 9 as ConfChangeType, nodeId: 2n }]), /conf type 9/);
});

test("member 0 stands for a change that was refused, and changes nothing", () => {
  assert.deepEqual(changeSimple(conf([1n]), change("v0")), conf([1n]));
  assert.deepEqual(changeSimple(conf([1n]), change("r0")), conf([1n]));
});

test("checkedConfState refuses configurations that no change leads to", () => {
  const bad: Partial<ConfState>[] = [
    { learners: [1n] },
    { learners: [0n] },
    { learnersNext: [2n] },
    { autoLeave: true },
    { votersOutgoing: [1n, 2n], learnersNext: [1n] },
    { votersOutgoing: [2n], learners: [2n] },
    { voters: [], votersOutgoing: [1n] },
  ];
  for (const more of bad) assert.throws(() => checkedConfState(conf([1n], more)), ConfChangeError);
  assert.deepEqual(checkedConfState(conf([3n, 1n, 2n, 1n])), conf([1n, 2n, 3n]));
});
