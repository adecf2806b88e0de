import { campaignIfAllowed, isPromotable, onVoteResponse } from "./candidate.ts";
import { checkedConfState, ConfChangeError, membersOf } from "./conf_change.ts";
import { becomeFollower, type Core, send } from "./core.ts";
import {
  type AppendMessage,
  type ConfState,
  type Heartbeat,
  type Message,
  NO_MEMBER,
  type SnapshotMessage,
} from "./types.ts";

/** For followers and candidates: no word from a leader for a while means an election. */
export function tickElection(core: Core): void {
  core.ticksSinceContact += 1;
  if (core.ticksSinceContact < core.electionTimeoutTicks || !isPromotable(core)) return;
  core.ticksSinceContact = 0;
  campaignIfAllowed(core, core.config.preVote ? "pre" : "election");
}

/** For followers and candidates. The message is of this member's term. */
export function stepFollower(core: Core, message: Message): void {
  switch (message.type) {
    case "append":
      followLeader(core, message.from);
      return onAppend(core, message);
    case "heartbeat":
      followLeader(core, message.from);
      return onHeartbeat(core, message);
    case "snapshot":
      followLeader(core, message.from);
      return onSnapshot(core, message);
    case "voteResponse":
    case "preVoteResponse":
      if (core.role !== "follower") onVoteResponse(core, message);
      return;
    case "timeoutNow":
      // No pre-vote: the leader itself gives way. A candidate is campaigning already.
      if (core.role === "follower") campaignIfAllowed(core, "transfer");
      return;
    case "propose":
    case "readIndex":
    case "transferLeader":
      // Passed on to the leader, if there is one to pass it on to.
      if (core.leader !== NO_MEMBER && core.leader !== message.to) {
        send(core, { ...message, to: core.leader });
      }
      return;
    case "readIndexResponse":
      core.readStates.push({ index: message.index, context: message.context });
      return;
    default:
      // Answers to what this member sent when it was leader.
      return;
  }
}

/** Only the leader of the term sends this: a candidate of the same term has lost. */
function followLeader(core: Core, leader: bigint): void {
  if (core.role !== "follower") becomeFollower(core, core.term, leader);
  core.leader = leader;
  core.ticksSinceContact = 0;
}

function onAppend(core: Core, message: AppendMessage): void {
  const log = core.log;
  const { from: to, index, logTerm } = message;
  const answer = { type: "appendResponse", to, from: core.id, term: core.term } as const;
  if (index < log.committed) {
    // An old message: everything committed is here.
    send(core, { ...answer, index: log.committed, reject: false, rejectHint: 0, logTerm: 0 });
    return;
  }
  const last = log.appendAfter({ index, term: logTerm }, message.entries);
  if (last === undefined) {
    const hint = log.lastPossibleMatch({ index: Math.min(index, log.lastIndex), term: logTerm });
    send(core, { ...answer, index, reject: true, rejectHint: hint.index, logTerm: hint.term });
    return;
  }
  // Past `last` this log may differ from the leader's.
  log.commitTo(Math.min(message.commit, last));
  send(core, { ...answer, index: last, reject: false, rejectHint: 0, logTerm: 0 });
}

function onHeartbeat(core: Core, message: Heartbeat): void {
  core.log.commitTo(message.commit);
  const { from: to, context } = message;
  send(core, { type: "heartbeatResponse", to, from: core.id, term: core.term, context });
}

function onSnapshot(core: Core, message: SnapshotMessage): void {
  const installed = restore(core, message);
  send(core, {
    type: "appendResponse",
    to: message.from,
    from: core.id,
    term: core.term,
    index: installed ? core.log.lastIndex : core.log.committed,
    reject: false,
    rejectHint: 0,
    logTerm: 0,
  });
}

/** Starts over from a snapshot. False when there is no need to, or it is not one for this member. */
function restore(core: Core, message: SnapshotMessage): boolean {
  const snapshot = message.snapshot;
  const log = core.log;
  if (snapshot.index <= log.committed) return false;
  const conf = confOf(snapshot.confState);
  if (conf === undefined || !membersOf(conf).includes(core.id)) return false;
  if (log.matches(snapshot)) {
    // The log has all of it, and only lacked the news that it is committed.
    log.commitTo(snapshot.index);
    return false;
  }
  // The configuration follows when the snapshot is installed: until then older entries may be being applied, with
  // changes that belong to the present one.
  log.restore({ ...snapshot, confState: conf });
  return true;
}

function confOf(confState: ConfState): ConfState | undefined {
  try {
    return checkedConfState(confState);
  } catch (error) {
    if (error instanceof ConfChangeError) return undefined;
    throw error;
  }
}
