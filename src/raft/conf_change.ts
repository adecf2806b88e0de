import {
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  type ConfState,
} from "./types.ts";

/** A change that does not fit the configuration. Nothing has been changed. */
export class ConfChangeError extends Error {
  override readonly name = "ConfChangeError";
}

/** A cluster without members, before its first configuration. */
export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export function isJoint(conf: ConfState): boolean {
  return conf.votersOutgoing.length > 0;
}

/** Every member of the configuration, sorted: voters of both halves and learners. */
export function membersOf(conf: ConfState): bigint[] {
  return sorted(new Set([...conf.voters, ...conf.votersOutgoing, ...conf.learners]));
}

/** Has a say in elections and commits: listed in either half of the voters. */
export function isVoter(conf: ConfState, id: bigint): boolean {
  return conf.voters.includes(id) || conf.votersOutgoing.includes(id);
}

/** An empty change leaves the joint configuration. */
export function leavesJoint(change: ConfChangeV2): boolean {
  return change.transition === ConfChangeTransition.auto && change.changes.length === 0;
}

/** Whether the change goes through a joint configuration: asked for, or more than one member changes. */
export function entersJoint(change: ConfChangeV2): boolean {
  return change.transition !== ConfChangeTransition.auto || change.changes.length > 1;
}

/**
 * The configuration after a change, by joint consensus (Raft thesis, 4.3) where it enters or leaves it,
 * else by the single-server rule (4.1) that old and new majorities overlap.
 */
export function changeConf(conf: ConfState, change: ConfChangeV2): ConfState {
  if (leavesJoint(change)) return leaveJoint(conf);
  if (!entersJoint(change)) return changeSimple(conf, change.changes);
  return enterJoint(conf, change.changes, change.transition !== ConfChangeTransition.jointExplicit);
}

/** Changes at most one voter, and any number of learners. */
export function changeSimple(conf: ConfState, changes: readonly ConfChangeSingle[]): ConfState {
  if (isJoint(conf)) throw new ConfChangeError("can't apply simple config change in joint config");
  const draft = draftOf(conf);
  applyAll(draft, changes);
  const kept = conf.voters.filter((id) => draft.voters.has(id)).length;
  if (conf.voters.length + draft.voters.size - 2 * kept > 1) {
    throw new ConfChangeError("more than one voter changed without entering joint config");
  }
  return finish(draft);
}

/** The present voters become the outgoing half; the changes make the incoming one. */
export function enterJoint(
  conf: ConfState,
  changes: readonly ConfChangeSingle[],
  autoLeave: boolean,
): ConfState {
  if (isJoint(conf)) throw new ConfChangeError("config is already joint");
  if (conf.voters.length === 0) throw new ConfChangeError("can't make a zero-voter config joint");
  const draft = draftOf(conf);
  for (const id of draft.voters) draft.votersOutgoing.add(id);
  applyAll(draft, changes);
  draft.autoLeave = autoLeave;
  return finish(draft);
}

/** Drops the outgoing half. Voters that were to become learners do so now. */
export function leaveJoint(conf: ConfState): ConfState {
  if (!isJoint(conf)) throw new ConfChangeError("can't leave a non-joint config");
  const draft = draftOf(conf);
  for (const id of draft.learnersNext) draft.learners.add(id);
  draft.learnersNext.clear();
  draft.votersOutgoing.clear();
  draft.autoLeave = false;
  return finish(draft);
}

/** Checks a configuration from outside (a snapshot, a disk) and gives it sorted. */
export function checkedConfState(conf: ConfState): ConfState {
  return finish(draftOf(conf));
}

interface Draft {
  readonly voters: Set<bigint>;
  readonly learners: Set<bigint>;
  readonly votersOutgoing: Set<bigint>;
  readonly learnersNext: Set<bigint>;
  autoLeave: boolean;
}

function draftOf(conf: ConfState): Draft {
  return {
    voters: new Set(conf.voters),
    learners: new Set(conf.learners),
    votersOutgoing: new Set(conf.votersOutgoing),
    learnersNext: new Set(conf.learnersNext),
    autoLeave: conf.autoLeave,
  };
}

function applyAll(draft: Draft, changes: readonly ConfChangeSingle[]): void {
  for (const change of changes) {
    if (change.nodeId === 0n) continue;
    if (change.type === ConfChangeType.addVoter) makeVoter(draft, change.nodeId);
    else if (change.type === ConfChangeType.addLearner) makeLearner(draft, change.nodeId);
    else if (change.type === ConfChangeType.remove) remove(draft, change.nodeId);
    else if (change.type !== ConfChangeType.update) {
      throw new ConfChangeError(`unexpected conf type ${change.type}`);
    }
  }
  if (draft.voters.size === 0) throw new ConfChangeError("removed all voters");
}

function makeVoter(draft: Draft, id: bigint): void {
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
  draft.voters.add(id);
}

/** A voter of the outgoing half keeps its vote there, and becomes a learner when that half is dropped. */
function makeLearner(draft: Draft, id: bigint): void {
  draft.voters.delete(id);
  if (draft.votersOutgoing.has(id)) draft.learnersNext.add(id);
  else draft.learners.add(id);
}

function remove(draft: Draft, id: bigint): void {
  draft.voters.delete(id);
  draft.learners.delete(id);
  draft.learnersNext.delete(id);
}

function finish(draft: Draft): ConfState {
  const outgoing = draft.votersOutgoing;
  if (draft.learners.has(0n) || draft.voters.has(0n) || outgoing.has(0n)) {
    throw new ConfChangeError("0 is not a member id");
  }
  for (const id of draft.learners) {
    if (draft.voters.has(id) || outgoing.has(id)) throw new ConfChangeError(`${id} is voter and learner`);
  }
  for (const id of draft.learnersNext) {
    if (!outgoing.has(id) || draft.voters.has(id)) {
      throw new ConfChangeError(`${id} is to become a learner, but is no outgoing voter`);
    }
  }
  if (outgoing.size > 0 && draft.voters.size === 0) throw new ConfChangeError("joint config without voters");
  if (outgoing.size === 0 && draft.autoLeave) {
    throw new ConfChangeError("autoLeave in a config that is not joint");
  }
  return {
    voters: sorted(draft.voters),
    learners: sorted(draft.learners),
    votersOutgoing: sorted(outgoing),
    learnersNext: sorted(draft.learnersNext),
    autoLeave: draft.autoLeave,
  };
}

function sorted(ids: Set<bigint>): bigint[] {
  return [...ids].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}
