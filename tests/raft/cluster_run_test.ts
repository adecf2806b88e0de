import assert from "node:assert/strict";
import { test } from "node:test";
import process from "node:process";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { EMPTY_CONF_STATE, isJoint, membersOf } from "../../src/raft/conf_change.ts";
import { majorityOf } from "../../src/raft/quorum/majority.ts";
import {
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfState,
  type Entry,
  EntryType,
  type Message,
} from "../../src/raft/types.ts";
import { RaftMember } from "../harness/raft_member.ts";

const MEMBERS = [1n, 2n, 3n, 4n, 5n];

/** Which faults a run has, and how often: each run draws its own, so that rare mixes come about. */
interface Faults {
  readonly lose: number;
  readonly duplicate: number;
  readonly partition: number;
  readonly crash: number;
  readonly change: number;
  readonly transfer: number;
  readonly compact: number;
  /** How often a save that is under way ends in a step. */
  readonly finishSave: number;
}

/** Members on a network that loses, repeats and reorders, driven in random order; every step is checked. */
class ClusterRun {
  readonly #prng: Prng;
  readonly #members = new Map<bigint, RaftMember>();
  readonly #faults: Faults;
  readonly #network: Message[] = [];
  /** Members on one side hear each other. */
  #side = new Map<bigint, number>();
  #nextPayload = 1;
  /** The entry applied at each index, whoever was first. */
  readonly #applied: Entry[] = [];
  /** The configuration after each applied entry. */
  readonly #confs: ConfState[] = [];
  /** Index of the last configuration change among them. */
  #lastChange = 0;
  readonly #leaders = new Map<number, bigint>();
  readonly #commits = new Map<bigint, number>();
  /** Reads under way: context to the number of entries that were applied somewhere when it was asked. */
  readonly #reads = new Map<string, number>();
  #nextRead = 1;
  stats = { readsAnswered: 0, changes: 0, crashes: 0, snapshots: 0, leaders: 0, joint: 0, applied: 0 };

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    const some = (probability: number) => (this.#prng.chance(0.6) ? probability * this.#prng.fraction() : 0);
    this.#faults = {
      lose: some(0.2),
      duplicate: some(0.1),
      partition: some(0.002),
      crash: some(0.003),
      change: some(0.4),
      transfer: some(0.005),
      compact: some(0.05),
      finishSave: 0.1 + 0.9 * this.#prng.fraction(),
    };
    const voters = MEMBERS.slice(0, 1 + 2 * this.#prng.below(3));
    const options = {
      electionTicks: 3 + this.#prng.below(8),
      preVote: this.#prng.chance(0.7),
      checkQuorum: this.#prng.chance(0.7),
      maxInflightMessages: 1 + this.#prng.below(5),
      maxMessageBytes: 100,
      maxInflightBytes: 400,
      maxCommittedBytesPerReady: 200,
    };
    for (const id of MEMBERS) {
      const member = new RaftMember(id, { ...options, prng: this.#prng.fork() });
      member.onApply = (entry) => this.#onApply(member, entry);
      this.#members.set(id, member);
      if (voters.includes(id)) {
        const confState = { ...EMPTY_CONF_STATE, voters };
        member.startAt({ index: 1, term: 1, confState, data: utf8("[]") });
        this.#confs[1] = confState;
      }
    }
    // Index 1 is the snapshot that everyone starts from.
    this.#applied[1] = { term: 1, index: 1, type: EntryType.normal, data: utf8("") };
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#prng.below(list.length)]!;
  }

  step(): void {
    const leader = [...this.#members.values()].find((found) => found.node.isLeader);
    // The leader has more to do than the others.
    const member = leader !== undefined && this.#prng.chance(0.3)
      ? leader
      : this.#members.get(this.#pick(MEMBERS))!;
    const draw = this.#prng.below(100);
    if (draw < 6) member.node.tick();
    else if (draw < 18) this.#propose(member);
    else if (draw < 21) this.#read(member);
    else if (draw < 41) this.#ready(member);
    else if (draw < 53) {
      if (this.#prng.chance(this.#faults.finishSave)) this.#finishSave(member);
    } else if (draw < 63) member.apply(1 + this.#prng.below(5));
    else for (let i = 0; i < 3; i += 1) this.#deliver();
    this.#disturb(member);
    this.#check(member);
  }

  #disturb(member: RaftMember): void {
    const { partition, crash, change, transfer, compact } = this.#faults;
    if (this.#prng.chance(partition)) {
      this.#side = new Map(MEMBERS.map((id) => [id, this.#prng.chance(0.5) ? 0 : this.#prng.below(3)]));
    } else if (this.#prng.chance(partition * 3)) {
      this.#side.clear();
    }
    if (this.#prng.chance(crash)) this.#crash(member);
    if (this.#prng.chance(change)) this.#change(member);
    if (this.#prng.chance(transfer)) member.node.transferLeader(this.#pick(MEMBERS));
    if (this.#prng.chance(compact)) {
      member.checkpoint();
      if (member.checkpointIndex > 0) member.compact(member.checkpointIndex - this.#prng.below(3));
    }
  }

  #propose(member: RaftMember): void {
    const result = member.node.propose(utf8(`payload ${this.#nextPayload}`));
    if (typeof result === "number") this.#nextPayload += 1;
  }

  #read(member: RaftMember): void {
    const context = `${member.id}/${this.#nextRead}`;
    this.#nextRead += 1;
    if (member.node.readIndex(utf8(context)) === undefined) {
      // Whatever anyone has applied by now may have been acknowledged, so the read must see it.
      this.#reads.set(context, this.#applied.length - 1);
    }
  }

  #ready(member: RaftMember): void {
    const ready = member.takeReady();
    if (ready === undefined) return;
    this.#send(ready.messages);
    if (ready.snapshot !== undefined) this.stats.snapshots += 1;
    for (const read of ready.readStates) {
      const context = textOf(read.context);
      const floor = this.#reads.get(context);
      assert.ok(floor !== undefined && context.startsWith(`${member.id}/`), `read ${context} was not asked`);
      assert.ok(read.index >= floor, `read ${context} at ${read.index} misses what was applied at ${floor}`);
      this.stats.readsAnswered += 1;
    }
  }

  #finishSave(member: RaftMember): void {
    this.#send(member.finishSave());
  }

  #send(messages: readonly Message[]): void {
    for (const message of messages) {
      if (message.type !== "snapshot") {
        this.#network.push(message);
        continue;
      }
      // Drivers send the state of the moment, which is newer than the snapshot that the core knows of.
      const sender = this.#members.get(message.from)!;
      this.#network.push({ ...message, snapshot: sender.freshSnapshot() });
      this.#reportSnapshot(message.from, message.to);
    }
    // What piles up behind a partition is lost in the end.
    if (this.#network.length > 500) this.#network.splice(0, this.#network.length - 500);
  }

  /** A transport tells what became of a snapshot; sometimes it is wrong. */
  #reportSnapshot(from: bigint, to: bigint): void {
    this.#members.get(from)!.node.reportSnapshot(to, this.#prng.chance(0.5));
  }

  #deliver(): void {
    if (this.#network.length === 0) return;
    // Mostly in order, sometimes any.
    const at = this.#prng.chance(0.7) ? 0 : this.#prng.below(this.#network.length);
    const [message] = this.#network.splice(at, 1);
    if (this.#prng.chance(this.#faults.duplicate)) this.#network.push(message!);
    if (this.#prng.chance(this.#faults.lose)) {
      this.#members.get(message!.from)!.node.reportUnreachable(message!.to);
      return;
    }
    if ((this.#side.get(message!.from) ?? 0) !== (this.#side.get(message!.to) ?? 0)) return;
    const member = this.#members.get(message!.to)!;
    member.node.step(message!);
    this.#check(member);
  }

  #change(member: RaftMember): void {
    const types = Object.values(ConfChangeType);
    const changes: ConfChangeSingle[] = [];
    for (let i = 0; i <= this.#prng.below(3); i += 1) {
      changes.push({ type: this.#pick(types), nodeId: this.#pick(MEMBERS) });
    }
    if (this.#prng.chance(0.2)) changes.length = 0;
    const context = utf8("");
    if (changes.length === 1 && this.#prng.chance(0.5)) {
      member.node.proposeConfChange({ id: 1n, ...changes[0]!, context });
    } else {
      const transition = changes.length === 0 ? ConfChangeTransition.auto : this.#prng.below(3);
      member.node.proposeConfChange({ transition: transition as ConfChangeTransition, changes, context });
    }
  }

  #crash(member: RaftMember): void {
    this.stats.crashes += 1;
    this.#commits.set(member.id, 0);
    member.crash(this.#prng);
  }

  #onApply(member: RaftMember, entry: Entry): void {
    const first = this.#applied[entry.index];
    if (first === undefined) {
      assert.equal(entry.index, this.#applied.length, "a gap in what was applied");
      this.#applied.push(entry);
      this.stats.applied += 1;
      this.#confs[entry.index] = member.node.confState;
      if (entry.type !== EntryType.normal) {
        this.stats.changes += 1;
        this.#lastChange = entry.index;
        if (isJoint(member.node.confState)) this.stats.joint += 1;
      }
      this.#checkDurableOnQuorum(entry);
    } else {
      assert.deepEqual(entry, first, `members applied different entries at ${entry.index}`);
      assert.deepEqual(member.node.confState, this.#confs[entry.index]);
    }
  }

  /**
   * Applied means acknowledged: it must be on the disks of a quorum, as of the configuration that the leader had
   * applied. That lacks the last change at most.
   */
  #checkDurableOnQuorum(entry: Entry): void {
    const holders = new Set(MEMBERS.filter((id) => this.#hasDurably(id, entry)));
    const quorum = (voters: readonly bigint[]) =>
      voters.length === 0 || voters.filter((id) => holders.has(id)).length >= majorityOf(voters.length);
    const held = (conf: ConfState) => quorum(conf.voters) && quorum(conf.votersOutgoing);
    const now = this.#confs[entry.index - 1]!;
    const beforeChange = this.#confs[this.#lastChange - 1] ?? now;
    assert.ok(held(now) || held(beforeChange), `entry ${entry.index} is durable only on ${[...holders]}`);
  }

  #hasDurably(id: bigint, entry: Entry): boolean {
    const { snapshot, entries } = this.#members.get(id)!.disk.content();
    const base = snapshot?.index ?? 0;
    return entry.index <= base || entries[entry.index - base - 1]?.term === entry.term;
  }

  #check(member: RaftMember): void {
    const status = member.node.status();
    assert.ok(status.applied <= status.committed && status.committed <= status.lastIndex);
    assert.ok(status.committed >= (this.#commits.get(member.id) ?? 0), "a commit index went back");
    this.#commits.set(member.id, status.committed);
    if (status.role !== "leader") return;
    const leader = this.#leaders.get(status.term);
    if (leader === undefined) {
      this.#leaders.set(status.term, member.id);
      this.stats.leaders += 1;
    } else {
      assert.equal(member.id, leader, `two leaders in term ${status.term}`);
    }
  }

  /** Without faults from now on, there is a leader soon, and what it takes is applied by every member. */
  settle(): void {
    this.#side.clear();
    this.#network.length = 0;
    const goal = utf8("the end");
    let proposed = false;
    for (let round = 0; round < 400; round += 1) {
      // A leader may have been on its way out of the configuration, and its proposals with it.
      if (round % 50 === 0) proposed = false;
      for (const member of this.#members.values()) member.node.tick();
      for (let turn = 0; turn < 10; turn += 1) {
        for (const member of this.#members.values()) {
          this.#ready(member);
          this.#finishSave(member);
          member.apply();
          if (member.node.isLeader && !proposed) {
            proposed = typeof member.node.propose(goal) === "number" && this.#isEstablished(member);
          }
        }
        const waiting = this.#network.splice(0);
        for (const message of waiting) {
          this.#members.get(message.to)!.node.step(message);
          this.#check(this.#members.get(message.to)!);
        }
      }
      if (this.#converged()) return;
    }
    const states = [...this.#members.values()].map((member) => JSON.stringify(member.node.status(), plain));
    throw new Error(`no convergence\n${states.join("\n")}`);
  }

  /** Has committed in its term: nobody is about to take over. */
  #isEstablished(member: RaftMember): boolean {
    const { applied, term } = member.node.status();
    return this.#applied[applied]?.term === term;
  }

  #converged(): boolean {
    const last = this.#applied.length - 1;
    const conf = this.#confs[last]!;
    const ended = this.#applied.some((entry) => entry !== undefined && textOf(entry.data) === "the end");
    // Members that were removed are told nothing any more.
    return ended && membersOf(conf).every((id) => this.#members.get(id)!.machine.index === last);
  }
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === "bigint") return `${value}`;
  return value instanceof Map ? [...value] : value;
}

const RUNS = Number(process.env["RAFT_RUNS"] ?? "60");
const FIRST_SEED = Number(process.env["SEED"] ?? "1");

test("a cluster keeps raft's promises under any mix of faults, and recovers from them", () => {
  const total = { readsAnswered: 0, changes: 0, crashes: 0, snapshots: 0, leaders: 0, joint: 0, applied: 0 };
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed += 1) {
    const run = new ClusterRun(seed);
    try {
      for (let step = 0; step < 6000; step += 1) run.step();
      run.settle();
    } catch (error) {
      throw new Error(`SEED=${seed}: ${(error as Error).message}`, { cause: error });
    }
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += run.stats[key];
  }
  if (RUNS < 50) return;
  // The runs went where they were meant to go.
  if (process.env["STATS"]) console.log(total);
  for (const [what, count] of Object.entries(total)) assert.ok(count > RUNS / 3, `${what}: ${count}`);
});
