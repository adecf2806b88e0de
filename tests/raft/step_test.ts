import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { EMPTY_CONF_STATE } from "../../src/raft/conf_change.ts";
import { RawNode } from "../../src/raft/raw_node.ts";
import { MemoryStorage } from "../../src/raft/storage.ts";
import {
  type AppendMessage,
  type AppendResponse,
  type Entry,
  EntryType,
  type Message,
} from "../../src/raft/types.ts";

// Messages as no script brings them about: from another log, another member's mistake, or an attacker.

const voters = [1n, 2n, 3n];

function entry(index: number, term: number, data = EMPTY_BYTES): Entry {
  return { term, index, type: EntryType.normal, data };
}

/** Member 1 of three, with a log of these terms from index 1 on. */
function member(terms: readonly number[], commit = 0): { node: RawNode; storage: MemoryStorage } {
  const storage = new MemoryStorage();
  storage.append(terms.map((term, i) => entry(i + 1, term)));
  storage.setHardState({ term: terms.at(-1) ?? 0, vote: 0n, commit });
  storage.setConfState({ ...EMPTY_CONF_STATE, voters });
  const node = new RawNode({
    id: 1n,
    storage,
    applied: 0,
    prng: new Prng(1),
    checkQuorum: false,
    preVote: false,
  });
  return { node, storage };
}

/** Does all there is to do, and gives the messages. */
function drain(node: RawNode, storage: MemoryStorage): Message[] {
  const messages: Message[] = [];
  for (let ready = node.ready(); ready !== undefined; ready = node.ready()) {
    if (ready.snapshot !== undefined) storage.applySnapshot(ready.snapshot);
    storage.append(ready.entries);
    messages.push(...ready.messages, ...ready.messagesAfterSave);
    node.advance(ready);
  }
  return messages;
}

function leader(terms: readonly number[]): { node: RawNode; storage: MemoryStorage } {
  const { node, storage } = member(terms);
  assert.ok(node.campaign());
  drain(node, storage);
  node.step({ type: "voteResponse", to: 1n, from: 2n, term: node.term, reject: false });
  assert.ok(node.isLeader);
  drain(node, storage);
  return { node, storage };
}

function append(fields: Partial<AppendMessage>): AppendMessage {
  return {
    type: "append",
    to: 1n,
    from: 2n,
    term: 5,
    index: 0,
    logTerm: 0,
    entries: [],
    commit: 0,
    ...fields,
  };
}

function response(fields: Partial<AppendResponse>): AppendResponse {
  return {
    type: "appendResponse",
    to: 1n,
    from: 2n,
    term: 6,
    index: 0,
    reject: false,
    rejectHint: 0,
    logTerm: 0,
    ...fields,
  };
}

test("a follower commits no further than what the message shows to be the leader's", () => {
  const { node, storage } = member([1, 1, 4, 4], 1);
  node.step(append({ index: 2, logTerm: 1, commit: 4 }));
  assert.equal(node.commitIndex, 2);
  node.step(append({ index: 2, logTerm: 1, commit: 4, entries: [entry(3, 5)] }));
  assert.equal(node.commitIndex, 3);
  drain(node, storage);
  assert.deepEqual([storage.lastIndex, storage.term(3)], [3, 5]);
});

test("a follower answers an old message with what it has committed", () => {
  const { node, storage } = member([1, 1, 1], 3);
  node.step(append({ index: 1, logTerm: 1, entries: [entry(2, 1)] }));
  const [answer] = drain(node, storage);
  assert.deepEqual(answer, response({ to: 2n, from: 1n, term: 5, index: 3 }));
});

test("a follower's refusal names the last index at which the logs may agree", () => {
  const { node, storage } = member([1, 3, 3, 4, 4, 5, 5, 5, 6]);
  node.step(append({ term: 7, index: 8, logTerm: 3 }));
  const [answer] = drain(node, storage);
  assert.deepEqual(
    answer,
    response({ to: 2n, from: 1n, term: 7, index: 8, reject: true, rejectHint: 3, logTerm: 3 }),
  );
});

test("a leader probes once per term of its log, not once per entry", () => {
  const { node, storage } = leader([1, 3, 3, 3, 5, 5, 5, 5, 5]);
  // The follower has 1 1 1 1 2 2: nothing between 2 and 6 can agree.
  node.step(response({ index: 9, reject: true, rejectHint: 6, logTerm: 2 }));
  const probe = drain(node, storage).find((message) => message.to === 2n);
  assert.ok(probe?.type === "append");
  assert.deepEqual([probe.index, probe.logTerm, probe.entries.length], [1, 1, 9]);
});

test("a leader takes an empty log for what it is", () => {
  const { node, storage } = leader([1, 1, 1]);
  node.step(response({ term: 2, index: 3, reject: true, rejectHint: 0, logTerm: 0 }));
  const probe = drain(node, storage).find((message) => message.to === 2n);
  assert.ok(probe?.type === "append");
  assert.deepEqual([probe.index, probe.entries.length], [0, 4]);
});

test("a leader passes over acknowledgements of entries that it does not have, and of strangers", () => {
  const { node } = leader([5, 5]);
  const before = node.commitIndex;
  node.step(response({ index: 99 }));
  node.step(response({ index: 3, from: 9n }));
  node.step(response({ index: 3, from: 1n }));
  node.step(response({ index: 99, reject: true, rejectHint: 98, logTerm: 5 }));
  assert.equal(node.commitIndex, before);
  node.step(response({ index: 3 }));
  assert.equal(node.commitIndex, 3);
});

test("messages for another member, or without a term, are passed over", () => {
  const { node } = member([1]);
  const before = node.status();
  node.step(append({ to: 2n }));
  node.step(append({ term: 0 }));
  node.step({ type: "vote", to: 1n, from: 2n, term: 0, index: 9, logTerm: 9, transfer: true });
  assert.deepEqual(node.status(), before);
  assert.equal(node.ready(), undefined);
});

test("a snapshot that is old, not for this member, or makes no sense is not installed", () => {
  const snapshot = {
    index: 9,
    term: 4,
    confState: { ...EMPTY_CONF_STATE, voters },
    data: utf8("state"),
  };
  const cases = [
    { ...snapshot, index: 1 },
    { ...snapshot, confState: { ...EMPTY_CONF_STATE, voters: [2n, 3n] } },
    { ...snapshot, confState: { ...EMPTY_CONF_STATE, voters, learners: [1n] } },
    { ...snapshot, confState: EMPTY_CONF_STATE },
  ];
  for (const wrong of cases) {
    const { node, storage } = member([1, 1], 2);
    node.step({ type: "snapshot", to: 1n, from: 2n, term: 5, snapshot: wrong });
    const [answer] = drain(node, storage);
    assert.deepEqual(answer, response({ to: 2n, from: 1n, term: 5, index: 2 }));
    assert.equal(node.lastIndex, 2);
  }
  const { node, storage } = member([1, 1], 2);
  for (const ready of [node.ready()!]) node.advance(ready);
  node.step({ type: "snapshot", to: 1n, from: 2n, term: 5, snapshot });
  const [answer] = drain(node, storage);
  assert.deepEqual(answer, response({ to: 2n, from: 1n, term: 5, index: 9 }));
  assert.deepEqual([node.lastIndex, node.commitIndex, node.appliedIndex], [9, 9, 9]);
});

test("a snapshot of what the log has already only moves the commit index", () => {
  const { node, storage } = member([1, 1, 4], 1);
  const confState = { ...EMPTY_CONF_STATE, voters };
  const snapshot = { index: 3, term: 4, confState, data: EMPTY_BYTES };
  node.step({ type: "snapshot", to: 1n, from: 2n, term: 5, snapshot });
  const ready = node.ready()!;
  assert.equal(ready.snapshot, undefined);
  assert.equal(node.commitIndex, 3);
  node.advance(ready);
  assert.deepEqual(drain(node, storage), []);
});

test("a heartbeat that commits what this member lost stops it", () => {
  const { node } = member([1, 1]);
  const heartbeat = { type: "heartbeat", to: 1n, from: 2n, term: 5, context: EMPTY_BYTES } as const;
  assert.throws(
    () => node.step({ ...heartbeat, commit: 3 }),
    /tocommit\(3\) is out of range \[lastIndex\(2\)\]/,
  );
});

test("RawNode refuses what a driver must not do", () => {
  const { node, storage } = member([], 0);
  assert.throws(() => node.bootstrap([]), /without members/);
  const ready = (node.campaign(), node.ready()!);
  node.saved(ready);
  assert.throws(() => node.saved(ready), /not being saved/);
  storage.append([entry(1, 1)]);
  const restarted = new RawNode({ id: 1n, storage, applied: 0, prng: new Prng(1) });
  assert.throws(() => restarted.bootstrap([{ id: 1n, context: EMPTY_BYTES }]), /ends at 1/);
});
