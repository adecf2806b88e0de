import { assert } from "../base/assert.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { RaftIndex, Term } from "../base/units.ts";
import { campaignIfAllowed, ownVoteSaved } from "./candidate.ts";
import { changeConf } from "./conf_change.ts";
import { asV2, encodeConfChange, encodeConfChangeV2 } from "./conf_change_wire.ts";
import { raftConfig, type RaftOptions } from "./config.ts";
import { becomeFollower, Core, hardStateOf, type Refusal, send, setConf } from "./core.ts";
import { entryBytes } from "./entry_run.ts";
import {
  acknowledgeSelf,
  flushLeader,
  leaveJointIfDue,
  onConfChange,
  onSnapshotSent,
  onUnreachable,
  proposeAsLeader,
  readAsLeader,
  transferAsLeader,
} from "./leader.ts";
import type { Ready, SoftState } from "./ready.ts";
import { step, tick } from "./step.ts";
import { EMPTY_HARD_STATE } from "./storage.ts";
import type { ProgressState } from "./tracker/progress.ts";
import {
  type ConfChange,
  ConfChangeType,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  EntryType,
  type HardState,
  type Message,
  NO_MEMBER,
  type ReadState,
  type Role,
} from "./types.ts";

const NO_ENTRIES: readonly Entry[] = [];
const NO_MESSAGES: readonly Message[] = [];
const NO_READS: readonly ReadState[] = [];

/** What a proposal came to: its index; 0 when it was passed on to the leader, who will know; or why not. */
export type Proposed = RaftIndex | Refusal;

export interface Status {
  readonly id: bigint;
  readonly term: Term;
  readonly vote: bigint;
  readonly role: Role;
  readonly leader: bigint;
  readonly transferee: bigint;
  readonly committed: RaftIndex;
  readonly applied: RaftIndex;
  readonly lastIndex: RaftIndex;
  readonly ticksSinceContact: number;
  readonly conf: ConfState;
  readonly isLearner: boolean;
  /** On a leader: every member, itself included. */
  readonly progress: ReadonlyMap<bigint, ProgressStatus>;
}

export interface ProgressStatus {
  readonly state: ProgressState;
  readonly match: RaftIndex;
  readonly next: RaftIndex;
  readonly paused: boolean;
  readonly recentlyActive: boolean;
  readonly pendingSnapshot: RaftIndex;
  readonly inflightMessages: number;
  readonly isLearner: boolean;
}

/**
 * One member of a raft group: told of ticks, proposals and messages, it hands out a `Ready`. Everything is
 * synchronous; after any call `ready()` may have work. The log that a member had before is read from
 * `options.storage`, where committed entries after `options.applied` come out again.
 */
export class RawNode {
  readonly #core: Core;
  /** The Ready whose save is under way. */
  #saving: Ready | undefined;
  /** As last handed out. */
  #hardState: HardState;
  #softState: SoftState;

  constructor(options: RaftOptions) {
    this.#core = new Core(raftConfig(options));
    this.#hardState = hardStateOf(this.#core);
    this.#softState = { leader: this.#core.leader, role: this.#core.role };
  }

  /**
   * Begins the log of a new cluster: one configuration change per founding member, each with what the state
   * machine shall know of it, committed in term 1. Every founding member must be given the same list.
   */
  bootstrap(peers: readonly { readonly id: bigint; readonly context: Uint8Array }[]): void {
    const core = this.#core;
    assert(peers.length > 0, "bootstrap without members");
    assert(core.log.lastIndex === 0, "bootstrap of a log that ends at %", core.log.lastIndex);
    becomeFollower(core, 1, NO_MEMBER);
    this.#hardState = EMPTY_HARD_STATE;
    for (const entry of bootstrapEntries(peers)) core.log.append(entry);
    core.log.commitTo(peers.length);
    let conf = core.tracker.conf;
    for (const { id } of peers) conf = changeConf(conf, asV2(addVoter(id, EMPTY_BYTES)));
    // Known from now on, although the entries that say so are applied later: applying them changes nothing.
    setConf(core, conf);
  }

  get isLeader(): boolean {
    return this.#core.role === "leader";
  }

  /** It neither leads nor asks for votes. */
  get isFollower(): boolean {
    return this.#core.role === "follower";
  }

  get term(): Term {
    return this.#core.term;
  }

  /** 0 when it is not known. */
  get leader(): bigint {
    return this.#core.leader;
  }

  get commitIndex(): RaftIndex {
    return this.#core.log.committed;
  }

  get appliedIndex(): RaftIndex {
    return this.#core.log.applied;
  }

  get lastIndex(): RaftIndex {
    return this.#core.log.lastIndex;
  }

  get confState(): ConfState {
    return this.#core.tracker.conf;
  }

  /** Time goes on. Ticks that come late are told one by one; at most one election follows from each timeout. */
  tick(): void {
    tick(this.#core);
  }

  /** Takes in a message from another member. One that is out of place is passed over. */
  step(message: Message): void {
    if (message.to !== this.#core.id) return;
    step(this.#core, message);
  }

  /** Campaigns now, without waiting for a timeout. False when this member leads already or must not. */
  campaign(): boolean {
    return campaignIfAllowed(this.#core, this.#core.config.preVote ? "pre" : "election");
  }

  /**
   * Proposes an entry; `data` is kept, not copied. An index is a place in the log of this leader: the entry
   * has been accepted when that index is handed out committed with this data, and lost when another entry is.
   */
  propose(data: Uint8Array): Proposed {
    const core = this.#core;
    if (core.role === "leader") return proposeAsLeader(core, EntryType.normal, data);
    return this.#forward(EntryType.normal, data);
  }

  /** Proposes a change of the configuration. The leader takes one at a time. */
  proposeConfChange(change: ConfChange | ConfChangeV2): Proposed {
    const core = this.#core;
    const general = "changes" in change;
    const type = general ? EntryType.confChangeV2 : EntryType.confChange;
    const data = general ? encodeConfChangeV2(change) : encodeConfChange(change);
    return core.role === "leader" ? proposeAsLeader(core, type, data) : this.#forward(type, data);
  }

  /**
   * Puts a committed configuration change in force, while its entry is applied, and gives the configuration
   * after it. One that the state machine refuses is given with member 0 instead. Throws `ConfChangeError` for
   * a change that does not fit, which a leader does not let into the log.
   */
  applyConfChange(change: ConfChange | ConfChangeV2): ConfState {
    const core = this.#core;
    const conf = changeConf(core.tracker.conf, "changes" in change ? change : asV2(change));
    setConf(core, conf);
    if (core.role === "leader") onConfChange(core);
    return conf;
  }

  /**
   * Asks for the index that a linearizable read must wait for; it comes in `readStates`, with the context. No
   * answer comes when leadership changes meanwhile: ask again after a while. Undefined, or why it was not asked.
   */
  readIndex(context: Uint8Array): Refusal | undefined {
    const core = this.#core;
    if (core.role === "leader") return readAsLeader(core, core.id, context);
    if (core.leader === NO_MEMBER) return "no leader";
    send(core, { type: "readIndex", to: core.leader, from: core.id, term: 0, context });
    return undefined;
  }

  /** Asks for another voter to lead. Whether it came to pass shows in the soft state, or does not in time. */
  transferLeader(to: bigint): void {
    const core = this.#core;
    if (core.role === "leader") transferAsLeader(core, to);
    else if (core.leader !== NO_MEMBER) {
      send(core, { type: "transferLeader", to: core.leader, from: to, term: core.term });
    }
  }

  /** The transport could not deliver to a member. */
  reportUnreachable(id: bigint): void {
    if (this.#core.role === "leader") onUnreachable(this.#core, id);
  }

  /** The transport has delivered a snapshot to a member, or given up. */
  reportSnapshot(id: bigint, delivered: boolean): void {
    if (this.#core.role === "leader") onSnapshotSent(this.#core, id, delivered);
  }

  /**
   * What is to be done now, or undefined. What is handed out is not handed out again. See `Ready` for the order,
   * and for what may go on at the same time.
   */
  ready(): Ready | undefined {
    const core = this.#core;
    if (core.role === "leader") flushLeader(core);
    if (core.forwarding.length > 0) this.#flushForwarding();

    let messages = core.messages.length > 0 ? core.messages : NO_MESSAGES;
    let messagesAfterSave = NO_MESSAGES;
    let hardState: HardState | undefined;
    let entries = NO_ENTRIES;
    let snapshot = undefined;
    if (this.#saving === undefined && !core.log.snapshotMustWait) {
      hardState = this.#changedHardState();
      if (core.log.unstable.somethingToSave) {
        snapshot = core.log.unstable.takeSnapshot();
        entries = core.log.unstable.takeEntries();
      }
      if (core.messagesAfterSave.length > 0) {
        // With nothing to wait for, they leave at once.
        const waits = hardState !== undefined || snapshot !== undefined || entries.length > 0;
        if (waits) messagesAfterSave = core.messagesAfterSave;
        else {messages = messages.length === 0
            ? core.messagesAfterSave
            : [...messages, ...core.messagesAfterSave];}
        core.messagesAfterSave = [];
      }
    }
    const needsSave = hardState !== undefined || snapshot !== undefined || entries.length > 0;
    const committed = core.log.hasNextCommitted ? this.#takeCommitted() : NO_ENTRIES;
    const readStates = core.readStates.length > 0 ? core.readStates : NO_READS;
    const softState = this.#changedSoftState();
    if (
      !needsSave && messages.length === 0 && committed.length === 0 && readStates.length === 0 &&
      softState === undefined
    ) return undefined;

    if (core.messages.length > 0) core.messages = [];
    if (readStates.length > 0) core.readStates = [];
    const previous = this.#hardState;
    const mustSync = entries.length > 0 || snapshot !== undefined ||
      (hardState !== undefined && (hardState.term !== previous.term || hardState.vote !== previous.vote));
    if (hardState !== undefined) this.#hardState = hardState;
    if (softState !== undefined) this.#softState = softState;
    const ready: Ready = {
      softState,
      hardState,
      snapshot,
      entries,
      mustSync,
      needsSave,
      messages,
      messagesAfterSave,
      committed,
      readStates,
    };
    if (needsSave) this.#saving = ready;
    return ready;
  }

  /**
   * What the Ready had to store is in storage, and durable if it had to be; its snapshot is installed. Only now
   * does this member count towards the quorum for it.
   */
  saved(ready: Ready): void {
    assert(this.#saving === ready, "saved() for a Ready that is not being saved");
    this.#saving = undefined;
    const core = this.#core;
    if (ready.snapshot !== undefined) {
      core.log.savedSnapshot(ready.snapshot.index);
      setConf(core, ready.snapshot.confState);
    }
    const last = ready.entries.at(-1);
    if (last !== undefined) core.log.unstable.saved(last.index, last.term);
    if (ready.hardState !== undefined) ownVoteSaved(core, ready.hardState);
    if (core.role === "leader") acknowledgeSelf(core);
  }

  /** The state machine has applied everything up to `index`, of what was handed out. */
  applied(index: RaftIndex): void {
    const core = this.#core;
    core.log.appliedTo(index);
    if (core.role === "leader") leaveJointIfDue(core);
  }

  /** Everything in the Ready is done: for drivers that do one after the other. */
  advance(ready: Ready): void {
    if (ready.needsSave) this.saved(ready);
    const last = ready.committed.at(-1);
    if (last !== undefined) this.applied(last.index);
  }

  status(): Status {
    const core = this.#core;
    const progress = new Map<bigint, ProgressStatus>();
    if (core.role === "leader") {
      for (const [id, member] of core.tracker.progress) {
        progress.set(id, {
          state: member.state,
          match: member.match,
          next: member.next,
          paused: member.mayNotSend,
          recentlyActive: member.recentlyActive,
          pendingSnapshot: member.pendingSnapshot,
          inflightMessages: member.inflights.count,
          isLearner: core.tracker.isLearner(id),
        });
      }
    }
    return {
      id: core.id,
      term: core.term,
      vote: core.vote,
      role: core.role,
      leader: core.leader,
      transferee: core.transferee,
      committed: core.log.committed,
      applied: core.log.applied,
      lastIndex: core.log.lastIndex,
      ticksSinceContact: core.ticksSinceContact,
      conf: core.tracker.conf,
      isLearner: core.tracker.isLearner(core.id),
      progress,
    };
  }

  #forward(type: EntryType, data: Uint8Array): Proposed {
    const core = this.#core;
    if (core.role !== "follower" || core.leader === NO_MEMBER) return "no leader";
    if (core.forwarding.length > 0 && core.forwardingBytes + data.length > core.config.maxUncommittedBytes) {
      return "too many uncommitted bytes";
    }
    core.forwarding.push({ term: 0, index: 0, type, data });
    core.forwardingBytes += data.length;
    return 0;
  }

  /** Sends the gathered proposals on, in messages of limited size. They are lost when there is no leader by now. */
  #flushForwarding(): void {
    const core = this.#core;
    const gathered = core.forwarding;
    core.forwarding = [];
    core.forwardingBytes = 0;
    if (core.leader === NO_MEMBER || core.role !== "follower") return;
    let from = 0;
    let bytes = 0;
    for (let at = 0; at < gathered.length; at += 1) {
      bytes += entryBytes(gathered[at]!);
      const isLast = at === gathered.length - 1;
      if (!isLast && bytes + entryBytes(gathered[at + 1]!) <= core.config.maxMessageBytes) continue;
      const entries = gathered.slice(from, at + 1);
      send(core, { type: "propose", to: core.leader, from: core.id, term: 0, entries });
      from = at + 1;
      bytes = 0;
    }
  }

  #takeCommitted(): readonly Entry[] {
    const core = this.#core;
    const committed = core.log.takeCommitted(core.config.maxCommittedBytesPerReady);
    if (core.uncommittedBytes > 0) {
      let bytes = 0;
      for (const entry of committed) bytes += entry.data.length;
      core.uncommittedBytes = Math.max(0, core.uncommittedBytes - bytes);
    }
    return committed;
  }

  #changedHardState(): HardState | undefined {
    const core = this.#core;
    const last = this.#hardState;
    const same = last.term === core.term && last.vote === core.vote && last.commit === core.log.committed;
    return same ? undefined : hardStateOf(core);
  }

  #changedSoftState(): SoftState | undefined {
    const core = this.#core;
    const last = this.#softState;
    if (last.leader === core.leader && last.role === core.role) return undefined;
    return { leader: core.leader, role: core.role };
  }
}

/** The first entries of a new cluster's log: each founding member is added in term 1, in the order given. */
export function bootstrapEntries(
  peers: readonly { readonly id: bigint; readonly context: Uint8Array }[],
): Entry[] {
  return peers.map(({ id, context }, position) => ({
    term: 1,
    index: position + 1,
    type: EntryType.confChange,
    data: encodeConfChange(addVoter(id, context)),
  }));
}

function addVoter(nodeId: bigint, context: Uint8Array): ConfChange {
  return { id: 0n, type: ConfChangeType.addVoter, nodeId, context };
}
