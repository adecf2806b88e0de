import type { RaftIndex } from "../../base/units.ts";
import { type AckedIndex, majorityCommitted, majorityVote, type VoteOf } from "./majority.ts";
import type { VoteResult } from "./vote.ts";

/** Two electorates that must both agree. Outside of a joint configuration `outgoing` is empty. */
export interface JointVoters {
  readonly incoming: readonly bigint[];
  readonly outgoing: readonly bigint[];
}

/** The highest index that a majority of each half has. */
export function jointCommitted(voters: JointVoters, acked: AckedIndex): RaftIndex {
  return Math.min(majorityCommitted(voters.incoming, acked), majorityCommitted(voters.outgoing, acked));
}

/** Won when both halves are won, lost as soon as one is. */
export function jointVote(voters: JointVoters, voteOf: VoteOf): VoteResult {
  const incoming = majorityVote(voters.incoming, voteOf);
  const outgoing = majorityVote(voters.outgoing, voteOf);
  if (incoming === outgoing) return incoming;
  if (incoming === "lost" || outgoing === "lost") return "lost";
  return "pending";
}
