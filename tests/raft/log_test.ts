import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { EMPTY_CONF_STATE } from "../../src/raft/conf_change.ts";
import { RaftLog } from "../../src/raft/log.ts";
import { MemoryStorage } from "../../src/raft/storage.ts";
import { type Entry, EntryType } from "../../src/raft/types.ts";

const voters = { ...EMPTY_CONF_STATE, voters: [1n] };

function entry(index: number, term: number): Entry {
  return { term, index, type: EntryType.normal, data: EMPTY_BYTES };
}

/** A log whose entries, from 1 on, have these terms; the first `durable` are in storage. */
function logOf(terms: readonly number[], durable: number = terms.length): RaftLog {
  const storage = new MemoryStorage();
  storage.append(terms.slice(0, durable).map((term, i) => entry(i + 1, term)));
  const log = new RaftLog(storage, { committed: 0, applied: 0 });
  for (let i = durable; i < terms.length; i += 1) log.append(entry(i + 1, terms[i]!));
  return log;
}

function termsOf(log: RaftLog): (number | undefined)[] {
  return Array.from({ length: log.lastIndex }, (_, i) => log.term(i + 1));
}

test("RaftLog agrees with a plain array while saves overtake replacements", () => {
  const prng = new Prng(1);
  let replacedWhileSaving = 0;
  for (let round = 0; round < 300; round += 1) {
    const log = logOf([]);
    const storage = log.storage as MemoryStorage;
    let terms: number[] = [];
    let term = 1;
    let saving: readonly Entry[] | undefined;
    for (let step = 0; step < 50; step += 1) {
      const draw = prng.below(10);
      if (draw < 2) {
        log.append(entry(terms.length + 1, term));
        terms.push(term);
      } else if (draw < 5) {
        // A leader of a later term replaces what is not committed.
        term += 1;
        const previous = log.committed + prng.below(terms.length - log.committed + 1);
        const batch = Array.from({ length: 1 + prng.below(4) }, (_, i) => entry(previous + 1 + i, term));
        if (saving !== undefined && previous < saving.at(-1)!.index) replacedWhileSaving += 1;
        const last = log.appendAfter({ index: previous, term: terms[previous - 1] ?? 0 }, batch);
        assert.equal(last, previous + batch.length);
        terms = [...terms.slice(0, previous), ...batch.map((sent) => sent.term)];
      } else if (draw < 7 && saving === undefined && log.unstable.somethingToSave) {
        saving = log.unstable.takeEntries();
        assert.ok(saving.length > 0);
      } else if (draw < 9 && saving !== undefined) {
        storage.append(saving);
        log.unstable.saved(saving.at(-1)!.index, saving.at(-1)!.term);
        saving = undefined;
      } else if (draw === 9) {
        log.commitTo(log.committed + prng.below(Math.min(2, terms.length - log.committed + 1)));
        for (const taken of log.takeCommitted(60)) {
          assert.equal(
            storage.term(taken.index),
            taken.term,
            `entry ${taken.index} handed out before it is durable`,
          );
          assert.equal(taken.term, terms[taken.index - 1]);
        }
        log.appliedTo(log.applying);
      }
      assert.deepEqual(termsOf(log), terms);
      assert.equal(log.term(terms.length + 1), undefined);
      assert.deepEqual(log.slice(1, terms.length + 1, Infinity).map((found) => found.term), terms);
      // Whatever counts as durable is in storage as it is in the log.
      for (let index = 1; index <= log.stableIndex; index += 1) {
        assert.equal(storage.term(index), terms[index - 1], `stable ${index} of ${log.stableIndex}`);
      }
    }
  }
  assert.ok(replacedWhileSaving > 100, `${replacedWhileSaving}`);
});

test("RaftLog.appendAfter keeps what agrees, even when more follows", () => {
  const log = logOf([1, 1, 2, 2]);
  // An old message that repeats a prefix cuts nothing off.
  assert.equal(log.appendAfter({ index: 1, term: 1 }, [entry(2, 1)]), 2);
  assert.deepEqual(termsOf(log), [1, 1, 2, 2]);
  assert.equal(log.appendAfter({ index: 2, term: 1 }, []), 2);
  assert.equal(log.appendAfter({ index: 2, term: 2 }, [entry(3, 3)]), undefined);
  assert.equal(log.appendAfter({ index: 9, term: 2 }, [entry(10, 3)]), undefined);
  assert.equal(log.appendAfter({ index: 2, term: 1 }, [entry(3, 2), entry(4, 3)]), 4);
  assert.deepEqual(termsOf(log), [1, 1, 2, 3]);
});

test("RaftLog.appendAfter never replaces a committed entry", () => {
  const log = logOf([1, 1, 1]);
  log.commitTo(2);
  assert.throws(
    () => log.appendAfter({ index: 1, term: 1 }, [entry(2, 2)]),
    /conflicts with the committed 2/,
  );
});

test("RaftLog.isUpToDate compares the term first, then the length", () => {
  const log = logOf([1, 2, 2]);
  const upToDate = (term: number, index: number) => log.isUpToDate({ term, index });
  assert.deepEqual([upToDate(3, 1), upToDate(2, 3), upToDate(2, 4)], [true, true, true]);
  assert.deepEqual([upToDate(2, 2), upToDate(1, 9), upToDate(0, 0)], [false, false, false]);
});

test("RaftLog.lastPossibleMatch passes over terms that the other log cannot have", () => {
  const leader = logOf([1, 3, 3, 3, 5, 5, 5, 5, 5]);
  assert.deepEqual(leader.lastPossibleMatch({ index: 6, term: 2 }), { index: 1, term: 1 });
  assert.deepEqual(leader.lastPossibleMatch({ index: 6, term: 5 }), { index: 6, term: 5 });
  const follower = logOf([1, 3, 3, 4, 4, 5, 5, 5, 6]);
  assert.deepEqual(follower.lastPossibleMatch({ index: 8, term: 3 }), { index: 3, term: 3 });
  assert.deepEqual(follower.lastPossibleMatch({ index: 8, term: 0 }), { index: 0, term: 0 });
});

test("RaftLog.slice cuts to the limit across storage and unstable", () => {
  for (let durable = 0; durable <= 5; durable += 1) {
    const log = logOf([1, 1, 1, 1, 1], durable);
    // An entry without data counts 32 bytes.
    const counts = [0, 32, 63, 64, 95, 96, 128, 159, 160].map((bytesMax) => log.slice(1, 6, bytesMax).length);
    assert.deepEqual(counts, [1, 1, 1, 2, 2, 3, 4, 4, 5], `${durable} durable`);
    assert.deepEqual(log.slice(2, 5, Infinity).map((found) => found.index), [2, 3, 4]);
    assert.deepEqual(log.slice(3, 3, Infinity), []);
  }
});

test("RaftLog refuses a commit past its end, which means that entries were lost", () => {
  assert.throws(() => logOf([1, 1]).commitTo(3), /tocommit\(3\) is out of range \[lastIndex\(2\)\]/);
  const storage = new MemoryStorage();
  assert.throws(
    () => new RaftLog(storage, { committed: 1, applied: 0 }),
    /commit 1 is past the last entry 0/,
  );
  storage.append([entry(1, 1)]);
  assert.throws(() => new RaftLog(storage, { committed: 0, applied: 1 }), /applied 1 is past commit 0/);
});

test("RaftLog.appliedTo takes no more than what was handed out", () => {
  const log = logOf([1, 1, 1]);
  log.commitTo(3);
  assert.equal(log.takeCommitted(64).length, 2);
  assert.deepEqual(log.takeCommitted(64), []);
  assert.throws(() => log.appliedTo(3), /only 2 was handed out/);
  log.appliedTo(1);
  assert.deepEqual(log.takeCommitted(64), []);
  log.appliedTo(2);
  assert.throws(() => log.appliedTo(1), /applied up to 1 after 2/);
  assert.equal(log.takeCommitted(64)[0]?.index, 3);
});

test("RaftLog hands out nothing behind a snapshot until it is installed", () => {
  const log = logOf([1, 1]);
  log.restore({ index: 5, term: 2, confState: voters, data: EMPTY_BYTES });
  assert.deepEqual([log.firstIndex, log.lastIndex, log.committed], [6, 5, 5]);
  assert.deepEqual([log.term(5), log.term(2)], [2, undefined]);
  assert.equal(log.appendAfter({ index: 5, term: 2 }, [entry(6, 2)]), 6);
  log.commitTo(6);
  assert.equal(log.hasNextCommitted, false);
  const snapshot = log.unstable.takeSnapshot()!;
  assert.equal(log.unstable.takeSnapshot(), undefined);
  const storage = log.storage as MemoryStorage;
  storage.applySnapshot(snapshot);
  storage.append(log.unstable.takeEntries());
  log.savedSnapshot(5);
  log.unstable.saved(6, 2);
  assert.deepEqual(log.takeCommitted(1000).map((taken) => taken.index), [6]);
});
