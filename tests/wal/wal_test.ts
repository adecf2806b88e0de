import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import type { RaftIndex, Term } from "../../src/base/units.ts";
import type { Entry } from "../../src/raft/types.ts";
import { newestSnapshot } from "../../src/wal/replay.ts";
import { listSegments } from "../../src/wal/segment.ts";
import { createWal, openWal } from "../../src/wal/wal.ts";
import { CrashFiles } from "../harness/crash_files.ts";
import {
  applySave,
  BEGINNING,
  CONF_STATE,
  describe,
  DIR,
  EMPTY_LOG,
  entry,
  type LogContent,
  MEMBER,
  METADATA,
  PARENT,
  state,
} from "./scenario.ts";

const SYNC = { sync: true };

function newFiles(): CrashFiles {
  const files = new CrashFiles();
  files.makeDirectory(PARENT);
  return files;
}

test("openWal returns what was saved", async () => {
  const files = newFiles();
  const wal = createWal(files, DIR, METADATA, { segmentBytes: 4096 });
  await wal.save(state(1, 0), [entry(1, 1, "conf change", 1), entry(2, 1, "")], SYNC);
  assert.equal(wal.saveNow(state(1, 2, 0n), [entry(3, 1), entry(4, 1, "x".repeat(3000), 2)]), undefined);
  await wal.close();

  const opened = openWal(files, DIR, BEGINNING, { segmentBytes: 4096 });
  assert.deepEqual(opened.metadata, METADATA);
  assert.deepEqual(opened.hardState, state(1, 2, 0n));
  assert.deepEqual(opened.entries.map((e: Entry) => [e.index, e.term, e.type, e.data.length]), [
    [1, 1, 1, 11],
    [2, 1, 0, 0],
    [3, 1, 0, 12],
    [4, 1, 2, 3000],
  ]);
  await opened.wal.close();
});

test("createWal refuses a directory that has a log and clears a leftover of itself", async () => {
  const files = newFiles();
  files.makeDirectory(`${DIR}.tmp`);
  files.plant(`${DIR}.tmp/0000000000000000-0000000000000000.wal`, METADATA);
  const wal = createWal(files, DIR, METADATA, { segmentBytes: 4096 });
  assert.equal(files.exists(`${DIR}.tmp`), false);
  assert.throws(() => createWal(files, DIR, METADATA), { name: "FileError", kind: "exists" });
  await wal.close();
});

test("save without sync keeps the hard state in memory until the next save", async () => {
  const files = newFiles();
  const wal = createWal(files, DIR, METADATA, { segmentBytes: 4096 });
  await wal.save(state(1, 0), [entry(1, 1)], SYNC);
  const operations = files.operationCount;
  await wal.save(state(1, 1), [], { sync: false });
  assert.equal(files.operationCount, operations);
  await wal.save(undefined, [entry(2, 1)], SYNC);
  assert.deepEqual(openWal(files, DIR, BEGINNING, { segmentBytes: 4096 }).hardState, state(1, 1));
  await wal.save(state(1, 2), [], { sync: false });
  await wal.close();
  assert.deepEqual(openWal(files, DIR, BEGINNING, { segmentBytes: 4096 }).hardState, state(1, 2));
});

test("segments begin with the index after the last entry and can be purged once released", async () => {
  const files = newFiles();
  const wal = createWal(files, DIR, METADATA, { segmentBytes: 4096 });
  for (let index = 1; index <= 40; index += 1) {
    await wal.save(state(2, index - 1), [entry(index, 2, "v".repeat(1000))], SYNC);
    if (index === 20) {
      await wal.saveSnapshot({ index: 20 as RaftIndex, term: 2 as Term, confState: CONF_STATE });
    }
  }
  const firstIndexes = listSegments(files, DIR).map((segment) => segment.firstIndex);
  assert.deepEqual(firstIndexes, [0, 5, 9, 13, 17, 21, 25, 29, 33, 37]);
  assert.equal(await wal.purge(5), 0, "nothing is released yet");
  wal.releaseTo(20 as RaftIndex);
  assert.equal(await wal.purge(0), 0, "0 keeps all");
  assert.deepEqual(await Promise.all([wal.purge(8), wal.purge(8)]), [2, 2], "one purge, asked for twice");
  const purging = wal.purge(3);
  await wal.close();
  assert.equal(await purging, 1, "the log was closed before the second one");
  assert.deepEqual(listSegments(files, DIR).map((segment) => segment.firstIndex).slice(0, 2), [13, 17]);

  const from = { index: 20 as RaftIndex, term: 2 as Term };
  const opened = openWal(files, DIR, from, { segmentBytes: 4096 });
  assert.deepEqual(opened.entries.map((e) => e.index), Array.from({ length: 20 }, (_, i) => 21 + i));
  await opened.wal.close();
  assert.throws(() => openWal(files, DIR, BEGINNING), { name: "WalError", kind: "not found" });
  assert.throws(() => openWal(files, DIR, { ...from, term: 1 as Term }), { kind: "snapshot mismatch" });
  assert.throws(() => openWal(files, DIR, { ...from, index: 22 as RaftIndex }), {
    kind: "snapshot not found",
  });
  assert.deepEqual(newestSnapshot(files, DIR, 40), { ...from, confState: CONF_STATE });
  assert.equal(newestSnapshot(files, DIR, 19), undefined, "its segment is gone");
});

test("saveSnapshot may be called during a save and moves the log forward", async () => {
  const files = newFiles();
  const wal = createWal(files, DIR, METADATA, { segmentBytes: 4096 });
  const snapshot = { index: 9 as RaftIndex, term: 3 as Term, confState: CONF_STATE };
  await Promise.all([wal.save(state(3, 0), [entry(1, 3)], SYNC), wal.saveSnapshot(snapshot)]);
  assert.equal(wal.lastIndex, 9);
  assert.equal(newestSnapshot(files, DIR, 8)?.index, 0, "index 9 is not committed yet");
  const again = wal.saveSnapshot(snapshot);
  const later = wal.saveNow(state(3, 9), [entry(10, 3)]);
  assert.notEqual(later, undefined, "a write is in flight");
  await Promise.all([again, later]);
  await wal.close();
  const opened = openWal(files, DIR, snapshot, { segmentBytes: 4096 });
  assert.deepEqual(opened.entries.map((e) => e.index), [10]);
  assert.equal(opened.wal.lastIndex, 10);
  await opened.wal.close();
  assert.throws(() => openWal(files, DIR, BEGINNING), { kind: "entries missing" });
});

test("save refuses a second save in flight, entries without sync and use after close", async () => {
  const wal = createWal(newFiles(), DIR, METADATA, { segmentBytes: 4096 });
  const first = wal.save(state(1, 0), [entry(1, 1)], SYNC);
  assert.throws(() => wal.save(undefined, [entry(2, 1)], SYNC), { name: "AssertionError" });
  await first;
  assert.throws(() => wal.save(undefined, [entry(2, 1)], { sync: false }), { name: "AssertionError" });
  await wal.close();
  await wal.close();
  assert.throws(() => wal.saveNow(undefined, [entry(2, 1)]), { name: "AssertionError" });
});

test("openWal agrees with a model after random saves, replacements and restarts", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const prng = new Prng(seed);
    const files = newFiles();
    const options = { segmentBytes: 4096, unsafeNoSync: prng.chance(0.2) };
    let wal = createWal(files, DIR, METADATA, options);
    let content: LogContent = EMPTY_LOG;
    let term = 1;
    for (let step = 0; step < 60; step += 1) {
      const commit = content.hardState?.commit ?? 0;
      const last = content.entries.length;
      const action = prng.below(10);
      if (action === 0) {
        await wal.close();
        const opened = openWal(files.afterExit(), DIR, BEGINNING, options);
        assert.equal(describe(opened), describe(content), `seed ${seed}, step ${step}`);
        await opened.wal.close();
        wal = openWal(files, DIR, BEGINNING, options).wal;
        continue;
      }
      if (action === 1) {
        const hardState = state(term, commit + prng.below(last - commit + 1));
        await wal.save(hardState, [], { sync: false });
        content = applySave(content, { hardState, entries: [] });
        continue;
      }
      // A new leader may replace what is not committed.
      const replaces = prng.chance(0.3);
      if (replaces) term += 1;
      const from = replaces ? commit + 1 + prng.below(last - commit + 1) : last + 1;
      const entries = Array.from({ length: 1 + prng.below(4) }, (_, i) => {
        const size = prng.chance(0.1) ? prng.below(6000) : prng.below(60);
        return entry(from + i, term, String.fromCharCode(97 + prng.below(26)).repeat(size));
      });
      const hardState = replaces || prng.chance(0.5)
        ? state(term, commit, prng.chance(0.5) ? 0n : MEMBER)
        : undefined;
      if (prng.chance(0.5)) await wal.save(hardState, entries, SYNC);
      else await wal.saveNow(hardState, entries);
      content = applySave(content, { hardState, entries });
    }
    await wal.close();
    const opened = openWal(files, DIR, BEGINNING, options);
    assert.equal(describe(opened), describe(content), `seed ${seed}`);
    assert.ok(listSegments(files, DIR).length > 2);
    await opened.wal.close();
  }
});
