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

/** What changes for one member. The numbers are raftpb's. */
export const ConfChangeType = { addVoter: 0, remove: 1, update: 2, addLearner: 3 } as const;
export type ConfChangeType = (typeof ConfChangeType)[keyof typeof ConfChangeType];

/** A change of one member, in an entry of type `confChange`. */
export interface ConfChange {
  /** Chosen by the proposer to find its proposal again; 0 for none. */
  readonly id: bigint;
  readonly type: ConfChangeType;
  /** The member, or 0 for a change that was refused while it was applied and changes nothing. */
  readonly nodeId: bigint;
  /** Opaque to raft. */
  readonly context: Uint8Array;
}

/** How a joint configuration is left. The numbers are raftpb's. */
export const ConfChangeTransition = { auto: 0, jointImplicit: 1, jointExplicit: 2 } as const;
export type ConfChangeTransition = (typeof ConfChangeTransition)[keyof typeof ConfChangeTransition];

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeId: bigint;
}

/** Changes of any number of members at once, in an entry of type `confChangeV2`. No changes: leave the joint configuration. */
export interface ConfChangeV2 {
  readonly transition: ConfChangeTransition;
  readonly changes: readonly ConfChangeSingle[];
  readonly context: Uint8Array;
}

interface Envelope {
  readonly to: bigint;
  readonly from: bigint;
  /** The sender's term; the term campaigned for in vote messages; 0 in `propose` and `readIndex`. */
  readonly term: Term;
}

/** Entries that follow the one at `index`, whose term is `logTerm`. Without entries: a probe, or news of `commit`. */
export interface AppendMessage extends Envelope {
  readonly type: "append";
  readonly index: RaftIndex;
  readonly logTerm: Term;
  readonly entries: readonly Entry[];
  readonly commit: RaftIndex;
}

/** Everything up to `index` is durable here; or, rejected, no entry matched at `index`. */
export interface AppendResponse extends Envelope {
  readonly type: "appendResponse";
  readonly index: RaftIndex;
  readonly reject: boolean;
  /** With `reject`: the last index at which the logs may match, and its term in the sender's log. */
  readonly rejectHint: RaftIndex;
  readonly logTerm: Term;
}

export interface VoteRequest extends Envelope {
  readonly type: "vote" | "preVote";
  /** Index and term of the candidate's last entry. */
  readonly index: RaftIndex;
  readonly logTerm: Term;
  /** The leader asked for this campaign, so that its lease does not hinder it. */
  readonly transfer: boolean;
}

export interface VoteResponse extends Envelope {
  readonly type: "voteResponse" | "preVoteResponse";
  readonly reject: boolean;
}

export interface SnapshotMessage extends Envelope {
  readonly type: "snapshot";
  readonly snapshot: Snapshot;
}

export interface Heartbeat extends Envelope {
  readonly type: "heartbeat";
  readonly commit: RaftIndex;
  /** Comes back in the response: how far the reads had queued when it was sent. */
  readonly context: Uint8Array;
}

export interface HeartbeatResponse extends Envelope {
  readonly type: "heartbeatResponse";
  readonly context: Uint8Array;
}

/** Proposals on their way from a follower to the leader; their term and index are 0. */
export interface ProposeMessage extends Envelope {
  readonly type: "propose";
  readonly entries: readonly Entry[];
}

export interface ReadIndexRequest extends Envelope {
  readonly type: "readIndex";
  readonly context: Uint8Array;
}

export interface ReadIndexResponse extends Envelope {
  readonly type: "readIndexResponse";
  readonly index: RaftIndex;
  readonly context: Uint8Array;
}

/** Asks the leader to hand over to `from`, which is the member that shall lead. */
export interface TransferLeader extends Envelope {
  readonly type: "transferLeader";
}

/** Tells a caught-up follower to campaign at once. */
export interface TimeoutNow extends Envelope {
  readonly type: "timeoutNow";
}

/** What members say to each other. */
export type Message =
  | AppendMessage
  | AppendResponse
  | VoteRequest
  | VoteResponse
  | SnapshotMessage
  | Heartbeat
  | HeartbeatResponse
  | ProposeMessage
  | ReadIndexRequest
  | ReadIndexResponse
  | TransferLeader
  | TimeoutNow;

/** A linearizable read may be served once everything up to `index` is applied. */
export interface ReadState {
  readonly index: RaftIndex;
  /** As given to `readIndex`. */
  readonly context: Uint8Array;
}

export type Role = "follower" | "preCandidate" | "candidate" | "leader";
