import type { RaftIndex } from "../../base/units.ts";
import { EMPTY_CONF_STATE, isJoint, isVoter, membersOf } from "../conf_change.ts";
import { jointCommitted, jointVote, type JointVoters } from "../quorum/joint.ts";
import type { VoteResult } from "../quorum/vote.ts";
import type { ConfState } from "../types.ts";
import { Progress } from "./progress.ts";

/** The configuration in force, what is known of each member, and the votes of an election. */
export class Tracker {
  readonly progress: Map<bigint, Progress> = new Map();
  readonly #votes = new Map<bigint, boolean>();
  readonly #limits: { readonly countMax: number; readonly bytesMax: number };
  #conf: ConfState = EMPTY_CONF_STATE;
  #voters: JointVoters = { incoming: [], outgoing: [] };

  constructor(limits: { readonly countMax: number; readonly bytesMax: number }) {
    this.#limits = limits;
  }

  get conf(): ConfState {
    return this.#conf;
  }

  /** Puts a configuration in force. Members that stay keep their progress; new ones are probed from `lastIndex`. */
  setConf(conf: ConfState, lastIndex: RaftIndex): void {
    this.#conf = conf;
    this.#voters = { incoming: conf.voters, outgoing: conf.votersOutgoing };
    const members = new Set(membersOf(conf));
    for (const id of this.progress.keys()) {
      if (!members.has(id)) this.progress.delete(id);
    }
    for (const id of members) {
      if (this.progress.has(id)) continue;
      const progress = new Progress(Math.max(lastIndex, 1), this.#limits);
      // Active until the next check of the quorum: a leader that adds a member must not step down for it.
      progress.recentlyActive = true;
      this.progress.set(id, progress);
    }
  }

  /** Forgets what followers told: their leader has changed. */
  reset(lastIndex: RaftIndex): void {
    this.#votes.clear();
    for (const progress of this.progress.values()) progress.reset(lastIndex + 1);
  }

  isVoter(id: bigint): boolean {
    return isVoter(this.#conf, id);
  }

  isLearner(id: bigint): boolean {
    return this.#conf.learners.includes(id);
  }

  /** The voters of both halves, sorted, each once. */
  get voters(): readonly bigint[] {
    if (!isJoint(this.#conf)) return this.#conf.voters;
    return membersOf({ ...this.#conf, learners: [] });
  }

  /** One voter decides alone. */
  get isSingleton(): boolean {
    return this.#conf.voters.length === 1 && !isJoint(this.#conf);
  }

  /** The highest index that is durable on a quorum. */
  committed(): RaftIndex {
    return jointCommitted(this.#voters, (id) => this.progress.get(id)?.match ?? 0);
  }

  /** Whether a quorum has been heard of since the last check. */
  quorumActive(): boolean {
    return jointVote(this.#voters, (id) => this.progress.get(id)?.recentlyActive ?? false) === "won";
  }

  clearVotes(): void {
    this.#votes.clear();
  }

  /** The first vote of a member counts. */
  recordVote(id: bigint, granted: boolean): void {
    if (!this.#votes.has(id)) this.#votes.set(id, granted);
  }

  tallyVotes(): VoteResult {
    return jointVote(this.#voters, (id) => this.#votes.get(id));
  }

  /** The highest index that a quorum has acknowledged, in any count that members report. */
  quorumIndex(acked: ReadonlyMap<bigint, number>): number {
    return jointCommitted(this.#voters, (id) => acked.get(id) ?? 0);
  }
}
