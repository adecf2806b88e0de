import { becomeFollower, type Core, send } from "./core.ts";
import { stepFollower, tickElection } from "./follower.ts";
import { stepLeader, tickLeader } from "./leader.ts";
import { type Message, NO_MEMBER, type VoteRequest } from "./types.ts";

/** One tick of the logical clock. */
export function tick(core: Core): void {
  if (core.role === "leader") tickLeader(core);
  else tickElection(core);
}

/** Takes in a message from another member. One that makes no sense is passed over. */
export function step(core: Core, message: Message): void {
  if (!meetTerm(core, message)) return;
  if (message.type === "vote" || message.type === "preVote") answerVote(core, message);
  else if (core.role === "leader") stepLeader(core, message);
  else stepFollower(core, message);
}

/** Brings the terms together. False when nothing is left to do for this message. */
function meetTerm(core: Core, message: Message): boolean {
  // Proposals and reads carry no term.
  if (message.term === 0) return message.type === "propose" || message.type === "readIndex";
  if (message.term === core.term) return true;
  return message.term > core.term ? meetHigherTerm(core, message) : meetLowerTerm(core, message);
}

function meetHigherTerm(core: Core, message: Message): boolean {
  if (message.type === "vote" || message.type === "preVote") {
    // The leader is alive as far as this member knows: whoever campaigns was cut off, or removed (thesis, 4.2.3).
    const inLease = core.config.checkQuorum && core.leader !== NO_MEMBER &&
      core.ticksSinceContact < core.config.electionTicks;
    if (inLease && !message.transfer) return false;
  }
  // A pre-vote speaks of a term that has not begun, and so does the answer that grants it.
  if (message.type === "preVote") return true;
  if (message.type === "preVoteResponse" && !message.reject) return true;
  const fromLeader = message.type === "append" || message.type === "heartbeat" || message.type === "snapshot";
  becomeFollower(core, message.term, fromLeader ? message.from : NO_MEMBER);
  return true;
}

function meetLowerTerm(core: Core, message: Message): boolean {
  const { type, from: to } = message;
  const guarded = core.config.checkQuorum || core.config.preVote;
  if (guarded && (type === "heartbeat" || type === "append")) {
    // A leader of the past. Where votes are withheld, this answer is what tells it of the new term; without it, a
    // member that moved on to a higher term alone could neither lead nor follow.
    send(core, {
      type: "appendResponse",
      to,
      from: core.id,
      term: core.term,
      index: 0,
      reject: false,
      rejectHint: 0,
      logTerm: 0,
    });
  } else if (type === "preVote") {
    // Silence could leave a candidate with a longer log but a lower term waiting for ever.
    send(core, { type: "preVoteResponse", to, from: core.id, term: core.term, reject: true });
  }
  return false;
}

/** Learners answer too: one that was promoted may be needed before it has heard of it. */
function answerVote(core: Core, message: VoteRequest): void {
  const free = core.vote === NO_MEMBER && core.leader === NO_MEMBER;
  const mayVote = core.vote === message.from || free ||
    (message.type === "preVote" && message.term > core.term);
  const granted = mayVote && core.log.isUpToDate({ index: message.index, term: message.logTerm });
  send(core, {
    type: message.type === "vote" ? "voteResponse" : "preVoteResponse",
    to: message.from,
    from: core.id,
    // A grant repeats the term that was asked for: the candidate passes over answers from an older one.
    term: granted ? message.term : core.term,
    reject: !granted,
  });
  if (granted && message.type === "vote") {
    core.vote = message.from;
    core.ticksSinceContact = 0;
  }
}
