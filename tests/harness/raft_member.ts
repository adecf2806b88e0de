import assert from "node:assert/strict";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import type { Prng } from "../../src/base/prng.ts";
import { EMPTY_CONF_STATE } from "../../src/raft/conf_change.ts";
import { confChangeOf } from "../../src/raft/conf_change_wire.ts";
import type { RaftOptions } from "../../src/raft/config.ts";
import { RawNode } from "../../src/raft/raw_node.ts";
import type { Ready } from "../../src/raft/ready.ts";
import { EMPTY_HARD_STATE, MemoryStorage } from "../../src/raft/storage.ts";
import {
  type ConfState,
  type Entry,
  EntryType,
  type HardState,
  type Message,
  type Snapshot,
} from "../../src/raft/types.ts";

export interface DiskContent {
  readonly hardState: HardState;
  readonly snapshot: Snapshot | undefined;
  /** Those after the snapshot. */
  readonly entries: readonly Entry[];
}

/** A log on disk: what was written, and how much of it a power cut is sure to leave. */
export class ModelDisk {
  #records: (HardState | Entry | Snapshot)[] = [];
  #synced = 0;

  write(ready: Ready): void {
    if (ready.snapshot !== undefined) this.#records.push(ready.snapshot);
    for (const entry of ready.entries) this.#records.push(entry);
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

  /** What the synced records say; with "written", the others too. */
  content(which: "synced" | "written" = "synced"): DiskContent {
    let hardState = EMPTY_HARD_STATE;
    let snapshot: Snapshot | undefined;
    let entries: Entry[] = [];
    const count = which === "synced" ? this.#synced : this.#records.length;
    for (const record of this.#records.slice(0, count)) {
      if ("vote" in record) {
        hardState = record;
      } else if ("confState" in record) {
        snapshot = record;
        entries = [];
      } else {
        const at = record.index - (snapshot?.index ?? 0) - 1;
        assert.ok(at >= 0 && at <= entries.length, `entry ${record.index} written out of order`);
        entries.length = at;
        entries.push(record);
      }
    }
    return { hardState, snapshot, entries };
  }
}

/** What a member's state machine holds: the data of the normal entries, and the configuration. */
interface MachineState {
  readonly index: number;
  readonly texts: readonly string[];
  readonly conf: ConfState;
}

const EMPTY_MACHINE: MachineState = { index: 0, texts: [], conf: EMPTY_CONF_STATE };

/** One member with disk, storage and state machine; its driver's steps can be taken one by one, in any legal order. */
export class RaftMember {
  readonly id: bigint;
  readonly disk: ModelDisk = new ModelDisk();
  readonly #options: Omit<RaftOptions, "id" | "storage" | "applied">;
  storage: MemoryStorage = new MemoryStorage();
  node: RawNode;
  machine: MachineState = EMPTY_MACHINE;
  /** What of the state machine survives a crash. */
  #checkpoint: MachineState = EMPTY_MACHINE;
  #saving: Ready | undefined;
  #unapplied: Entry[] = [];
  /** Called with every entry as it is applied. */
  onApply: (entry: Entry) => void = () => {};

  constructor(id: bigint, options: Omit<RaftOptions, "id" | "storage" | "applied">) {
    this.id = id;
    this.#options = options;
    this.node = this.#start();
  }

  #start(): RawNode {
    return new RawNode({
      ...this.#options,
      prng: this.#options.prng.fork(),
      id: this.id,
      storage: this.storage,
      applied: this.machine.index,
    });
  }

  /** Starts from a snapshot instead of from nothing. */
  startAt(snapshot: Snapshot): void {
    this.storage.applySnapshot(snapshot);
    this.storage.setHardState({ term: snapshot.term, vote: 0n, commit: snapshot.index });
    this.machine = stateIn(snapshot);
    this.#checkpoint = this.machine;
    this.node = this.#start();
    this.disk.write({
      ...NO_READY,
      snapshot,
      hardState: { term: snapshot.term, vote: 0n, commit: snapshot.index },
    });
    this.disk.sync();
  }

  get isSaving(): boolean {
    return this.#saving !== undefined;
  }

  get unappliedCount(): number {
    return this.#unapplied.length;
  }

  /** Takes a Ready, writes what it has to be written, and queues what it has to be applied. Send its messages. */
  takeReady(): Ready | undefined {
    const ready = this.node.ready();
    if (ready === undefined) return undefined;
    if (this.#saving !== undefined) {
      assert.equal(ready.needsSave, false, "a second save while one is under way");
      assert.equal(ready.messagesAfterSave.length, 0);
    }
    if (ready.needsSave) {
      this.#saving = ready;
      this.disk.write(ready);
    } else {
      assert.equal(ready.messagesAfterSave.length, 0);
    }
    this.#unapplied.push(...ready.committed);
    return ready;
  }

  /** The save under way is done; gives the messages that waited for it. */
  finishSave(): readonly Message[] {
    const ready = this.#saving;
    if (ready === undefined) return [];
    this.#saving = undefined;
    if (ready.mustSync) this.disk.sync();
    if (ready.snapshot !== undefined) {
      this.storage.applySnapshot(ready.snapshot);
      this.machine = stateIn(ready.snapshot);
      this.#checkpoint = this.machine;
    }
    if (ready.hardState !== undefined) this.storage.setHardState(ready.hardState);
    this.storage.append(ready.entries);
    this.node.saved(ready);
    return ready.messagesAfterSave;
  }

  /** Applies up to so many of the queued entries. */
  apply(countMax: number = Infinity): void {
    const count = Math.min(countMax, this.#unapplied.length);
    if (count === 0) return;
    for (const entry of this.#unapplied.splice(0, count)) this.#applyEntry(entry);
    this.node.applied(this.machine.index);
  }

  #applyEntry(entry: Entry): void {
    assert.equal(entry.index, this.machine.index + 1, "applied out of order");
    let { texts, conf } = this.machine;
    if (entry.type !== EntryType.normal) conf = this.node.applyConfChange(confChangeOf(entry));
    else if (entry.data.length > 0) texts = [...texts, textOf(entry.data)];
    this.machine = { index: entry.index, texts, conf };
    this.onApply(entry);
  }

  /** The state machine reaches its own disk. */
  checkpoint(): void {
    this.#checkpoint = this.machine;
  }

  get checkpointIndex(): number {
    return this.#checkpoint.index;
  }

  /** Drops the log up to `index`, which the checkpoint covers; a snapshot of the checkpoint takes its place. */
  compact(index: number): void {
    assert.ok(index <= this.#checkpoint.index);
    const { index: at, conf, texts } = this.#checkpoint;
    this.storage.createSnapshot(at, conf, utf8(JSON.stringify(texts)));
    this.storage.compact(index);
  }

  /** The state machine as it is now. */
  freshSnapshot(): Snapshot {
    const { index, conf, texts } = this.machine;
    const term = this.storage.term(index);
    assert.ok(term !== undefined, `no term for the applied ${index}`);
    return { index, term, confState: conf, data: utf8(JSON.stringify(texts)) };
  }

  /** Power off and on. What was not synced may be gone. */
  crash(prng: Prng): void {
    this.disk.powerCut(prng);
    this.#saving = undefined;
    this.#unapplied = [];
    const { hardState, snapshot, entries } = this.disk.content();
    this.machine = this.#checkpoint;
    if (snapshot !== undefined && snapshot.index > this.machine.index) this.machine = stateIn(snapshot);
    this.storage = new MemoryStorage();
    if (snapshot !== undefined) this.storage.applySnapshot(snapshot);
    this.storage.append(entries);
    // The commit index need not have been synced; what the state machine holds was committed all the same.
    this.storage.setHardState({ ...hardState, commit: Math.max(hardState.commit, this.machine.index) });
    this.storage.setConfState(this.machine.conf);
    this.node = this.#start();
  }
}

const NO_READY: Ready = {
  softState: undefined,
  hardState: undefined,
  snapshot: undefined,
  entries: [],
  mustSync: true,
  needsSave: true,
  messages: [],
  messagesAfterSave: [],
  committed: [],
  readStates: [],
};

function stateIn(snapshot: Snapshot): MachineState {
  const texts = snapshot.data.length === 0 ? [] : JSON.parse(textOf(snapshot.data)) as string[];
  return { index: snapshot.index, texts, conf: snapshot.confState };
}
