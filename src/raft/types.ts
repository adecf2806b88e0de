import type { RaftIndex, Term } from "../base/units.ts";

/** What an entry carries. The numbers are raftpb's, on disk and on the wire. */
export const EntryType = { normal: 0, confChange: 1, confChangeV2: 2 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

/** One position of the replicated log. Immutable once created: batches share it without copying. */
export interface Entry {
  readonly term: Term;
  readonly index: RaftIndex;
  readonly type: EntryType;
  /** Opaque to raft unless `type` is a configuration change. Empty for the entry that opens a term. */
  readonly data: Uint8Array;
}

/** What a member must remember across a restart besides the log. */
export interface HardState {
  readonly term: Term;
  /** The member voted for in `term`, or 0 for none. */
  readonly vote: bigint;
  readonly commit: RaftIndex;
}

/** No member: the vote not given, the leader not known. */
export const NO_MEMBER = 0n;

/** Who takes part. Sorted ids; the outgoing half is empty outside of a joint configuration. */
export interface ConfState {
  readonly voters: readonly bigint[];
  readonly learners: readonly bigint[];
  readonly votersOutgoing: readonly bigint[];
  /** Voters of the outgoing half that become learners when the joint configuration is left. */
  readonly learnersNext: readonly bigint[];
  /** The leader leaves the joint configuration by itself as soon as it is applied. */
  readonly autoLeave: boolean;
}

/** The state machine at `index`, in place of all entries up to it. `data` is opaque to raft. */
export interface Snapshot {
  readonly index: RaftIndex;
  readonly term: Term;
  readonly confState: ConfState;
  readonly data: Uint8Array;
}
