import type { RaftIndex, Term } from "../base/units.ts";
import { checkedConfState } from "./conf_change.ts";
import type { RaftConfig } from "./config.ts";
import { RaftLog } from "./log.ts";
import { ReadQueue } from "./read_only.ts";
import type { Progress } from "./tracker/progress.ts";
import { Tracker } from "./tracker/tracker.ts";
import {
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  NO_MEMBER,
  type ReadState,
  type Role,
} from "./types.ts";

/** Why a proposal or a read was not taken up. It has no effect then, now or later. */
export type Refusal =
  | "no leader"
  | "leader transfer in progress"
  | "not a member"
  | "too many uncommitted bytes"
  | "too many pending reads"
  | "conf change in progress"
  | "conf change does not fit";

/**
 * The state of one member, shared by the functions of its roles. They change it; nothing else does. No clock,
 * no I/O: what happened comes in as calls, what is to be done gathers in the fields that a Ready is made of.
 */
export class Core {
  readonly id: bigint;
  readonly config: RaftConfig;
  readonly log: RaftLog;
  readonly tracker: Tracker;
  /** This member's own progress; undefined when it is not in the configuration. */
  self: Progress | undefined;

  term: Term;
  /** Invariant: given once per term, and durable before anyone is told. */
  vote: bigint;
  role: Role = "follower";
  /** 0 when it is not known. */
  leader: bigint = NO_MEMBER;

  /** Since a leader, or a candidate that got our vote, was heard of; on a leader, since it checked its quorum. */
  ticksSinceContact = 0;
  ticksSinceHeartbeat = 0;
  /** Drawn from [electionTicks, 2 * electionTicks) at every change of role, so that few campaign at once. */
  electionTimeoutTicks = 0;

  /** The member that a leader is handing over to, or 0. */
  transferee: bigint = NO_MEMBER;
  /**
   * The last configuration change in the log may be here, or is before. Invariant: a leader appends another
   * only when this is applied, which also means that an entry of its own term is.
   */
  pendingConfIndex: RaftIndex = 0;
  /** Data of a leader's proposals that are not committed; too low after an election, never too high. */
  uncommittedBytes = 0;
  /** Proposals for the leader, sent together with the next Ready. */
  forwarding: Entry[] = [];
  forwardingBytes = 0;
  /** Followers lack entries or news of a commit: sent together with the next Ready. */
  replicationDue = false;
  /** Reads wait for heartbeats: sent together with the next Ready. */
  heartbeatsDue = false;

  reads: ReadQueue = new ReadQueue();
  /** Reads that came before an entry of this term was committed. */
  earlyReads: { readonly from: bigint; readonly context: Uint8Array }[] = [];

  messages: Message[] = [];
  messagesAfterSave: Message[] = [];
  readStates: ReadState[] = [];

  constructor(config: RaftConfig) {
    const { hardState, confState } = config.storage.initialState();
    this.id = config.id;
    this.config = config;
    this.log = new RaftLog(config.storage, { committed: hardState.commit, applied: config.applied });
    this.tracker = new Tracker({ countMax: config.maxInflightMessages, bytesMax: config.maxInflightBytes });
    this.term = hardState.term;
    this.vote = hardState.vote;
    setConf(this, checkedConfState(confState));
    becomeFollower(this, this.term, NO_MEMBER);
  }
}

export function hardStateOf(core: Core): HardState {
  return { term: core.term, vote: core.vote, commit: core.log.committed };
}

/**
 * Queues a message. Votes and acknowledgements promise that something is durable, so they wait until it is; a
 * refusal waits as well, because what it rests on may be as new.
 */
export function send(core: Core, message: Message): void {
  const promises = message.type === "appendResponse" || message.type === "voteResponse" ||
    message.type === "preVoteResponse";
  (promises ? core.messagesAfterSave : core.messages).push(message);
}

/** Puts a configuration in force, without the consequences that it has for a leader. */
export function setConf(core: Core, conf: ConfState): void {
  core.tracker.setConf(conf, core.log.lastIndex);
  core.self = core.tracker.progress.get(core.id);
}

export function becomeFollower(core: Core, term: Term, leader: bigint): void {
  startRole(core, "follower", term);
  core.leader = leader;
}

/** Everything that belonged to the former role or term is forgotten; a new term also frees the vote. */
export function startRole(core: Core, role: Role, term: Term): void {
  if (core.term !== term) {
    core.term = term;
    core.vote = NO_MEMBER;
  }
  core.role = role;
  core.leader = NO_MEMBER;
  core.ticksSinceContact = 0;
  core.ticksSinceHeartbeat = 0;
  core.electionTimeoutTicks = core.config.electionTicks + core.config.prng.below(core.config.electionTicks);
  core.transferee = NO_MEMBER;
  core.pendingConfIndex = 0;
  core.uncommittedBytes = 0;
  core.replicationDue = false;
  core.heartbeatsDue = false;
  core.tracker.reset(core.log.lastIndex);
  core.reads = new ReadQueue();
  core.earlyReads = [];
}
