import { becomeFollower, type Core, send, startRole } from "./core.ts";
import { becomeLeader } from "./leader.ts";
import { EntryType, type HardState, NO_MEMBER, type VoteResponse } from "./types.ts";

/** "pre": asks first whether the election can be won; "transfer": the leader wants it. */
export type Campaign = "pre" | "election" | "transfer";

/** Campaigns if this member may. False when it leads already, has no vote, or is behind its configuration. */
export function campaignIfAllowed(core: Core, kind: Campaign): boolean {
  if (core.role === "leader" || !isPromotable(core) || hasUnappliedConfChange(core)) return false;
  campaign(core, kind);
  return true;
}

/** A voter whose log is its own: a snapshot that is still being installed may bring another configuration. */
export function isPromotable(core: Core): boolean {
  return core.tracker.isVoter(core.id) && core.log.unstable.snapshot === undefined;
}

/** The quorum that is asked must be the one that the committed log says. */
function hasUnappliedConfChange(core: Core): boolean {
  const log = core.log;
  let index = log.applied + 1;
  while (index <= log.committed) {
    const page = log.slice(index, log.committed + 1, core.config.maxCommittedBytesPerReady);
    if (page.some((entry) => entry.type !== EntryType.normal)) return true;
    index += page.length;
  }
  return false;
}

function campaign(core: Core, kind: Campaign): void {
  if (kind === "pre") becomePreCandidate(core);
  else becomeCandidate(core);
  const last = core.log.lastId;
  for (const to of core.tracker.voters) {
    if (to === core.id) continue;
    send(core, {
      type: kind === "pre" ? "preVote" : "vote",
      to,
      from: core.id,
      // Nothing changes for a pre-vote, here or there: it asks about the term that would come.
      term: kind === "pre" ? core.term + 1 : core.term,
      index: last.index,
      logTerm: last.term,
      transfer: kind === "transfer",
    });
  }
  // A pre-vote promises nothing. The real vote for itself counts when it is durable: see `ownVoteSaved`.
  if (kind === "pre") countVote(core, core.id, true);
}

function becomePreCandidate(core: Core): void {
  core.role = "preCandidate";
  core.leader = NO_MEMBER;
  core.tracker.clearVotes();
}

function becomeCandidate(core: Core): void {
  startRole(core, "candidate", core.term + 1);
  core.vote = core.id;
}

/** A hard state is durable: when it holds this candidate's vote for itself, that is counted. */
export function ownVoteSaved(core: Core, saved: HardState): void {
  if (core.role !== "candidate" || saved.term !== core.term || saved.vote !== core.id) return;
  countVote(core, core.id, true);
}

export function onVoteResponse(core: Core, message: VoteResponse): void {
  // In the term of its election a candidate may still get answers to its pre-vote.
  if (message.type !== (core.role === "preCandidate" ? "preVoteResponse" : "voteResponse")) return;
  countVote(core, message.from, !message.reject);
}

function countVote(core: Core, from: bigint, granted: boolean): void {
  core.tracker.recordVote(from, granted);
  const result = core.tracker.tallyVotes();
  if (result === "lost") becomeFollower(core, core.term, NO_MEMBER);
  else if (result === "won" && core.role === "preCandidate") campaign(core, "election");
  else if (result === "won") becomeLeader(core);
}
