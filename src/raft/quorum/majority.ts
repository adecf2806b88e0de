import type { RaftIndex } from "../../base/units.ts";
import type { VoteResult } from "./vote.ts";

/** The highest index that is durable on a member, 0 when none is known. */
export type AckedIndex = (id: bigint) => RaftIndex;
/** A member's vote, or undefined before it has voted. */
export type VoteOf = (id: bigint) => boolean | undefined;

/** How many of `count` voters are a majority. */
export function majorityOf(count: number): number {
  return Math.floor(count / 2) + 1;
}

/**
 * The highest index that a majority of the voters has. Without voters it is Infinity, so that the empty
 * half of a joint configuration has no say.
 *
 * Example: voters at 7, 3 and 5 have committed 5, since two of the three have 5 or more.
 */
export function majorityCommitted(voters: readonly bigint[], acked: AckedIndex): RaftIndex {
  if (voters.length === 0) return Infinity;
  if (voters.length === 1) return acked(voters[0]!);
  const indexes = voters.map(acked).sort((a, b) => b - a);
  return indexes[majorityOf(voters.length) - 1]!;
}

/** Whether a majority said yes, can still do so, or cannot any more. Without voters it is won. */
export function majorityVote(voters: readonly bigint[], voteOf: VoteOf): VoteResult {
  if (voters.length === 0) return "won";
  let yes = 0;
  let missing = 0;
  for (const id of voters) {
    const vote = voteOf(id);
    if (vote === undefined) missing += 1;
    else if (vote) yes += 1;
  }
  const needed = majorityOf(voters.length);
  if (yes >= needed) return "won";
  return yes + missing >= needed ? "pending" : "lost";
}
