import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import { utf8 } from "../../src/base/bytes.ts";
import { confChangeOf } from "../../src/raft/conf_change_wire.ts";
import { EMPTY_CONF_STATE } from "../../src/raft/conf_change.ts";
import { RawNode } from "../../src/raft/raw_node.ts";
import type { Ready } from "../../src/raft/ready.ts";
import { EMPTY_HARD_STATE, MemoryStorage } from "../../src/raft/storage.ts";
import { type ConfState, type Entry, EntryType, type HardState } from "../../src/raft/types.ts";

/** A log on disk: what was written, and how much of it a power cut is sure to leave. */
class ModelDisk {
  #records: (HardState | Entry)[] = [];
  #synced = 0;

  write(ready: Ready): void {
    this.#records.push(...ready.entries);
    if (ready.hardState !== undefined) this.#records.push(ready.hardState);
  }

  sync(): void {
    this.#synced = this.#records.length;
  }

  /** Any prefix may be left that holds all that was synced. */
  powerCut(prng: Prng): void {
    this.#records.length = this.#synced + prng.below(this.#records.length - this.#synced + 1);
    this.#synced = this.#records.length;
  }

  wipe(): void {
    this.#records = [];
    this.#synced = 0;
  }

  replay(): { hardState: HardState; entries: Entry[] } {
    let hardState = EMPTY_HARD_STATE;
    const entries: Entry[] = [];
    for (const record of this.#records) {
      if ("vote" in record) {
        hardState = record;
      } else {
        entries.length = record.index - 1;
        entries.push(record);
      }
    }
    return { hardState, entries };
  }
}

/** A state machine with its own durability: after a restart it is at some point at or before where it was. */
class ModelMachine {
  applied: Entry[] = [];
  conf: ConfState = EMPTY_CONF_STATE;
  savedIndex = 0;
  savedConf: ConfState = EMPTY_CONF_STATE;

  save(): void {
    this.savedIndex = this.applied.length;
    this.savedConf = this.conf;
  }

  restart(): void {
    this.applied.length = this.savedIndex;
    this.conf = this.savedConf;
  }
}

/** One member with a disk that takes its time, and a driver that does everything in random order. */
class Run {
  readonly #prng: Prng;
  readonly #disk = new ModelDisk();
  readonly #machine = new ModelMachine();
  #storage = new MemoryStorage();
  #node: RawNode;
  #saving: Ready | undefined;
  #unapplied: Entry[] = [];
  #nextPayload = 1;
  #term = 0;
  #commit = 0;
  /** What was ever applied at an index: none may ever become another. */
  readonly #history: Entry[] = [];
  /** Accepted and not known to be applied. */
  readonly #open = new Map<number, string>();
  acknowledged = 0;
  restarts = 0;
  readsAnswered = 0;

  constructor(seed: number) {
    this.#prng = new Prng(seed);
    this.#node = this.#start();
    this.#node.bootstrap([{ id: 1n, context: utf8("member") }]);
  }

  #start(): RawNode {
    return new RawNode({
      id: 1n,
      storage: this.#storage,
      applied: this.#machine.applied.length,
      prng: this.#prng.fork(),
      maxCommittedBytesPerReady: 200,
      maxUncommittedBytes: 1000,
      preVote: this.#prng.chance(0.5),
    });
  }

  step(): void {
    const draw = this.#prng.below(100);
    if (draw < 35) this.#propose();
    else if (draw < 55) this.#ready();
    else if (draw < 70) this.#finishSave();
    else if (draw < 85) this.#apply();
    else if (draw < 90) this.#node.tick();
    else if (draw < 93) this.#node.campaign();
    else if (draw < 95) this.#read();
    else if (draw < 97) this.#machine.save();
    else if (draw < 98) this.#compact();
    else if (draw < 99) this.#crash();
    this.#check();
  }

  /** Everything that is under way comes to its end, and a proposal goes through. */
  settle(): void {
    const before = this.acknowledged;
    for (let round = 0; round < 100 && this.acknowledged === before; round += 1) {
      this.#node.campaign();
      this.#ready();
      this.#finishSave();
      this.#apply();
      this.#check();
      if (this.#node.isLeader && this.#open.size === 0) this.#propose();
    }
    assert.ok(this.acknowledged > before, "nothing is committed any more");
  }

  #propose(): void {
    const text = `payload ${this.#nextPayload}`;
    const index = this.#node.propose(utf8(text));
    if (typeof index === "string") {
      assert.ok(index === "no leader" || index === "too many uncommitted bytes", index);
      return;
    }
    this.#nextPayload += 1;
    assert.equal(index, this.#node.lastIndex);
    assert.equal(this.#open.has(index), false);
    this.#open.set(index, text);
  }

  #ready(): void {
    const ready = this.#node.ready();
    if (ready === undefined) return;
    assert.equal(ready.messages.length + ready.messagesAfterSave.length, 0);
    if (this.#saving !== undefined) assert.equal(ready.needsSave, false);
    for (const read of ready.readStates) {
      this.readsAnswered += 1;
      assert.ok(read.index >= this.acknowledged, `read at ${read.index} misses ${this.acknowledged}`);
    }
    for (const entry of ready.committed) {
      const durable = this.#disk.replay().entries[entry.index - 1];
      assert.deepEqual(durable, entry, `entry ${entry.index} is handed out, but not on disk`);
      this.#unapplied.push(entry);
    }
    if (!ready.needsSave) return;
    if (ready.entries.length > 0) assert.ok(ready.mustSync);
    this.#saving = ready;
    this.#disk.write(ready);
  }

  #finishSave(): void {
    const ready = this.#saving;
    if (ready === undefined) return;
    this.#saving = undefined;
    if (ready.mustSync || this.#prng.chance(0.2)) this.#disk.sync();
    if (ready.hardState !== undefined) this.#storage.setHardState(ready.hardState);
    this.#storage.append(ready.entries);
    this.#node.saved(ready);
  }

  #apply(): void {
    const count = this.#prng.below(this.#unapplied.length + 1);
    if (count === 0) return;
    for (const entry of this.#unapplied.splice(0, count)) this.#applyEntry(entry);
    this.#node.applied(this.#machine.applied.length);
  }

  #applyEntry(entry: Entry): void {
    assert.equal(entry.index, this.#machine.applied.length + 1);
    this.#machine.applied.push(entry);
    const before = this.#history[entry.index - 1];
    if (before === undefined) this.#history.push(entry);
    else assert.deepEqual(entry, before, `index ${entry.index} was used again`);
    if (entry.type !== EntryType.normal) this.#machine.conf = this.#node.applyConfChange(confChangeOf(entry));
    this.acknowledged = Math.max(this.acknowledged, entry.index);
    const proposed = this.#open.get(entry.index);
    if (proposed !== undefined) {
      assert.deepEqual(entry.data, utf8(proposed));
      this.#open.delete(entry.index);
    }
  }

  #read(): void {
    const refusal = this.#node.readIndex(utf8("read"));
    assert.ok(refusal === undefined || refusal === "no leader", refusal);
  }

  /** Whatever the state machine will not need again after a crash may go. */
  #compact(): void {
    if (this.#machine.savedIndex > 0) this.#storage.compact(this.#prng.below(this.#machine.savedIndex) + 1);
  }

  #crash(): void {
    this.restarts += 1;
    this.#disk.powerCut(this.#prng);
    this.#machine.restart();
    this.#saving = undefined;
    this.#unapplied = [];
    this.#open.clear();
    const { hardState, entries } = this.#disk.replay();
    assert.ok(entries.length >= this.acknowledged, `${entries.length} entries left of ${this.acknowledged}`);
    assert.ok(hardState.term >= this.#term, "the term went back");
    // Entries without a hard state: the save that founded the cluster was cut off. It is founded again.
    const founded = hardState.term > 0;
    if (!founded) this.#disk.wipe();
    const storage = new MemoryStorage();
    if (founded) storage.append(entries);
    // The commit index need not have been synced. What the state machine holds was committed all the same.
    storage.setHardState({ ...hardState, commit: Math.max(hardState.commit, this.#machine.savedIndex) });
    storage.setConfState(this.#machine.savedConf);
    this.#storage = storage;
    this.#commit = 0;
    this.#node = this.#start();
    if (!founded) this.#node.bootstrap([{ id: 1n, context: utf8("member") }]);
  }

  #check(): void {
    const status = this.#node.status();
    assert.ok(status.applied <= status.committed && status.committed <= status.lastIndex);
    assert.ok(status.committed >= this.#commit, "the commit index went back");
    this.#commit = status.committed;
    // A term counts as soon as its vote is durable.
    if (status.role === "leader") {
      assert.ok(status.term >= this.#term);
      this.#term = status.term;
    }
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
