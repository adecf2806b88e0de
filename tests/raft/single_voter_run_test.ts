import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { type Entry, EntryType } from "../../src/raft/types.ts";
import { RaftMember } from "../harness/raft_member.ts";

/** One member whose driver does everything in random order, with crashes at any point. */
class Run {
  readonly #prng: Prng;
  readonly #member: RaftMember;
  #nextPayload = 1;
  /** Of the newest leader: durable, so no later one may be below. */
  #term = 0;
  #commit = 0;
  /** What was ever applied at an index: none may ever become another. */
  readonly #history: Entry[] = [];
  /** Accepted since the last crash, and not applied. */
  readonly #open = new Map<number, string>();
  acknowledged = 0;
  restarts = 0;
  readsAnswered = 0;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    this.#member = new RaftMember(1n, {
      prng: this.#prng.fork(),
      maxCommittedBytesPerReady: 200,
      maxUncommittedBytes: 1000,
      preVote: this.#prng.chance(0.5),
    });
    this.#member.onApply = (entry) => this.#onApply(entry);
    this.#bootstrap();
  }

  #bootstrap(): void {
    this.#member.node.bootstrap([{ id: 1n, context: utf8("member") }]);
  }

  step(): void {
    const draw = this.#prng.below(100);
    if (draw < 35) this.#propose();
    else if (draw < 55) this.#ready();
    else if (draw < 70) this.#finishSave();
    else if (draw < 85) this.#member.apply(this.#prng.below(5));
    else if (draw < 90) this.#member.node.tick();
    else if (draw < 93) this.#member.node.campaign();
    else if (draw < 95) this.#read();
    else if (draw < 97) this.#member.checkpoint();
    else if (draw < 98) this.#compact();
    else if (draw < 99) this.#crash();
    this.#check();
  }

  /** Everything that is under way comes to its end, and a proposal goes through. */
  settle(): void {
    const before = this.acknowledged;
    for (let round = 0; round < 100 && this.acknowledged === before; round += 1) {
      this.#member.node.campaign();
      this.#ready();
      this.#finishSave();
      this.#member.apply();
      this.#check();
      if (this.#member.node.isLeader && this.#open.size === 0) this.#propose();
    }
    assert.ok(this.acknowledged > before, "nothing is committed any more");
  }

  #propose(): void {
    const text = `payload ${this.#nextPayload}`;
    const index = this.#member.node.propose(utf8(text));
    if (typeof index === "string") {
      assert.ok(index === "no leader" || index === "too many uncommitted bytes", index);
      return;
    }
    this.#nextPayload += 1;
    assert.equal(index, this.#member.node.lastIndex);
    assert.equal(this.#open.has(index), false);
    this.#open.set(index, text);
  }

  #ready(): void {
    const ready = this.#member.takeReady();
    if (ready === undefined) return;
    assert.equal(ready.messages.length + ready.messagesAfterSave.length, 0);
    for (const read of ready.readStates) {
      this.readsAnswered += 1;
      assert.ok(read.index >= this.acknowledged, `read at ${read.index} misses ${this.acknowledged}`);
    }
    if (ready.entries.length > 0) assert.ok(ready.mustSync);
    if (ready.committed.length === 0) return;
    const durable = this.#member.disk.content().entries;
    for (const entry of ready.committed) {
      assert.deepEqual(
        durable[entry.index - 1],
        entry,
        `entry ${entry.index} is handed out, but not durable`,
      );
    }
  }

  #finishSave(): void {
    // A file system may write by itself what nobody asked it to sync.
    if (this.#prng.chance(0.2)) this.#member.disk.sync();
    assert.deepEqual(this.#member.finishSave(), []);
  }

  #onApply(entry: Entry): void {
    const before = this.#history[entry.index - 1];
    if (before === undefined) this.#history.push(entry);
    else assert.deepEqual(entry, before, `index ${entry.index} was used again`);
    this.acknowledged = Math.max(this.acknowledged, entry.index);
    const proposed = this.#open.get(entry.index);
    if (proposed === undefined) return;
    assert.deepEqual(entry.data, utf8(proposed));
    assert.equal(entry.type, EntryType.normal);
    this.#open.delete(entry.index);
  }

  #read(): void {
    const refusal = this.#member.node.readIndex(utf8("read"));
    assert.ok(refusal === undefined || refusal === "no leader", refusal);
  }

  #compact(): void {
    const index = this.#member.checkpointIndex;
    if (index > 0) this.#member.compact(this.#prng.below(index) + 1);
  }

  #crash(): void {
    this.restarts += 1;
    this.#open.clear();
    this.#commit = 0;
    this.#member.crash(this.#prng);
    const { hardState, entries } = this.#member.disk.content();
    assert.ok(entries.length >= this.acknowledged, `${entries.length} entries left of ${this.acknowledged}`);
    assert.ok(hardState.term >= this.#term, `term ${hardState.term} after ${this.#term}`);
    if (hardState.term > 0) return;
    // Entries without a hard state: the save that founded the cluster was cut off. It is founded again.
    this.#member.disk.wipe();
    this.#member.crash(this.#prng);
    this.#bootstrap();
  }

  #check(): void {
    const status = this.#member.node.status();
    assert.ok(status.applied <= status.committed && status.committed <= status.lastIndex);
    assert.ok(status.committed >= this.#commit, "the commit index went back");
    this.#commit = status.committed;
    if (status.role !== "leader") return;
    assert.ok(status.term >= this.#term);
    this.#term = status.term;
  }
}

test("a single voter keeps what it acknowledged through crashes at any point", () => {
  let restarts = 0;
  let reads = 0;
  for (let seed = 1; seed <= 60; seed += 1) {
    try {
      const run = new Run(seed);
      for (let step = 0; step < 1500; step += 1) run.step();
      run.settle();
      restarts += run.restarts;
      reads += run.readsAnswered;
    } catch (error) {
      throw new Error(`SEED ${seed}`, { cause: error });
    }
  }
  assert.ok(restarts > 300, `${restarts} restarts`);
  assert.ok(reads > 100, `${reads} reads`);
});
