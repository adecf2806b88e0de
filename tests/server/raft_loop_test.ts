import { create } from "@bufbuild/protobuf";
import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { PutRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { RawNode } from "../../src/raft/raw_node.ts";
import { MemoryStorage } from "../../src/raft/storage.ts";
import { type Entry, EntryType } from "../../src/raft/types.ts";
import { Proposal } from "../../src/server/proposals.ts";
import { RaftLoop } from "../../src/server/raft_loop.ts";
import { ManualClock } from "../harness/manual_clock.ts";

const MEMBER = 1n;
const put = create(PutRequestSchema);

/** A leader of one whose saves end when the test says so. */
class Fixture {
  readonly clock = new ManualClock();
  readonly storage = new MemoryStorage();
  readonly node: RawNode;
  readonly loop: RaftLoop;
  /** Numbers of entries of each save. */
  readonly saves: number[] = [];
  /** "a" for each entry applied, "!" for each flush. */
  trace = "";
  #finishSave: (() => void) | undefined;

  constructor() {
    const { clock, storage } = this;
    this.node = new RawNode({ id: MEMBER, storage, applied: 0, prng: new Prng(1) });
    this.node.bootstrap([{ id: MEMBER, context: EMPTY_BYTES }]);
    this.loop = new RaftLoop({
      node: this.node,
      storage,
      log: { save: (_state, entries, { sync }) => sync ? this.#save(entries) : Promise.resolve() },
      clock,
      tickMs: 100,
      requestTimeoutMs: 5_000,
      apply: (entry, proposal) => this.#apply(entry, proposal),
      roomToApply: () => undefined,
      flush: () => this.trace += "!",
      onApplied: () => {},
      onSoftState: () => {},
      onReadStates: () => {},
      onFatal: (error) => {
        throw error;
      },
    });
  }

  async lead(): Promise<void> {
    this.loop.start();
    while (this.node.appliedIndex < 2) {
      if (this.node.leader === 0n) this.node.campaign();
      this.loop.wake();
      await turn();
      this.finishSave();
      await turn();
    }
    this.saves.length = 0;
    this.trace = "";
  }

  propose(count: number): void {
    for (let i = 0; i < count; i += 1) {
      this.loop.propose(utf8(`entry ${i}`), new Proposal("put", put, this.clock.monotonicMs()));
    }
  }

  finishSave(): void {
    const finish = this.#finishSave;
    this.#finishSave = undefined;
    finish?.();
  }

  async stop(): Promise<void> {
    this.finishSave();
    await this.loop.stop();
  }

  #save(entries: readonly Entry[]): Promise<void> {
    this.saves.push(entries.length);
    return new Promise((resolve) => this.#finishSave = resolve);
  }

  #apply(entry: Entry, proposal: Proposal | undefined): void {
    if (entry.type !== EntryType.normal || entry.data.length === 0) return;
    assert.equal(proposal?.index, entry.index);
    this.trace += "a";
  }
}

test("RaftLoop begins a save in the middle of a turn that brings many requests", async () => {
  const fixture = new Fixture();
  await fixture.lead();
  fixture.propose(63);
  assert.deepEqual(fixture.saves, []);
  fixture.propose(100);
  assert.deepEqual(fixture.saves, [64]);
  await turn();
  assert.deepEqual(fixture.saves, [64], "one save at a time");
  fixture.finishSave();
  await turn();
  assert.deepEqual(fixture.saves, [64, 99]);
  await fixture.stop();
});

test("RaftLoop has answers leave in the middle of a large batch, and at its end", async () => {
  const fixture = new Fixture();
  await fixture.lead();
  fixture.propose(64);
  fixture.propose(150);
  fixture.finishSave();
  await turn();
  assert.equal(fixture.trace, `${"a".repeat(64)}!!`);
  fixture.finishSave();
  await turn();
  assert.equal(fixture.trace.slice(66), `${"a".repeat(64)}!${"a".repeat(64)}!${"a".repeat(22)}!`);
  await fixture.stop();
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
