import assert from "node:assert/strict";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import type { RaftIndex, Term } from "../../src/base/units.ts";
import type { FileErrorKind } from "../../src/ports/files.ts";
import { WalError } from "../../src/wal/decoder.ts";
import { newestSnapshot } from "../../src/wal/replay.ts";
import { walExists } from "../../src/wal/segment.ts";
import { createWal, type OpenedWal, openWal, type Wal } from "../../src/wal/wal.ts";
import { changingOperations, CrashFiles, type Operation, PowerCut } from "../harness/crash_files.ts";
import {
  applySave,
  BEGINNING,
  CONF_STATE,
  describe,
  DIR,
  EMPTY_LOG,
  entry,
  type LogContent,
  METADATA,
  PARENT,
  type Save,
  state,
} from "./scenario.ts";

const OPTIONS = { segmentBytes: 8192 };
const SNAPSHOT = { index: 6 as RaftIndex, term: 1 as Term, confState: CONF_STATE };

/** What a run has reached when it ends, at its end or by a fault. */
interface Progress {
  created: boolean;
  snapshotSaved: boolean;
  /** The log after the last save that was acknowledged. */
  acknowledged: LogContent;
  /** The save that was not acknowledged, if one had begun. */
  inFlight: Save | undefined;
  wal: Wal | undefined;
}

/** Saves of all sizes, over several segments, some replacing entries, with a snapshot and a purge in between. */
async function runScenario(files: CrashFiles, seed: number, progress: Progress): Promise<void> {
  const prng = new Prng(seed);
  files.makeDirectory(PARENT);
  files.syncDirectory("/data");
  files.syncDirectory("/");
  const wal = progress.wal = createWal(files, DIR, METADATA, OPTIONS);
  progress.created = true;
  await continueScenario(wal, prng, progress, 1, 24);
  await wal.close();
}

async function continueScenario(
  wal: Wal,
  prng: Prng,
  progress: Progress,
  term: number,
  steps: number,
): Promise<void> {
  let unsaved: Save["hardState"];
  for (let step = 1; step <= steps; step += 1) {
    const { entries, hardState } = progress.acknowledged;
    const commit = hardState?.commit ?? 0;
    if (prng.chance(0.2)) {
      unsaved = state(Math.max(term, hardState?.term ?? 0), commit + prng.below(entries.length - commit + 1));
      await wal.save(unsaved, [], { sync: false });
    }
    const replaces = prng.chance(0.15);
    if (replaces) term += 1;
    const from = replaces ? (unsaved?.commit ?? commit) + 1 : entries.length + 1;
    const save = {
      entries: Array.from({ length: 1 + prng.below(6) }, (_, i) => {
        const size = prng.chance(0.2) ? prng.below(3000) : prng.below(300);
        return entry(from + i, term, `${step}:`.padEnd(size, "x"));
      }),
      hardState: replaces || prng.chance(0.5) ? state(term, unsaved?.commit ?? commit) : unsaved,
    };
    progress.inFlight = save;
    if (prng.chance(0.3)) await wal.saveNow(save.hardState, save.entries);
    else await wal.save(save.hardState, save.entries, { sync: true });
    unsaved = undefined;
    progress.acknowledged = applySave(progress.acknowledged, save);
    progress.inFlight = undefined;
    if (step === 12) {
      await wal.saveSnapshot(SNAPSHOT);
      progress.snapshotSaved = true;
    }
  }
}

function newProgress(): Progress {
  return {
    created: false,
    snapshotSaved: false,
    acknowledged: EMPTY_LOG,
    inFlight: undefined,
    wal: undefined,
  };
}

/** What may be found after a crash: what was acknowledged and any number of the first records in flight. */
function allowedContents({ acknowledged, inFlight }: Progress): Set<string> {
  const allowed = new Set([describe(acknowledged)]);
  if (inFlight === undefined) return allowed;
  for (let records = 1; records <= inFlight.entries.length + 1; records += 1) {
    allowed.add(describe(applySave(acknowledged, inFlight, records)));
  }
  return allowed;
}

/** Opens what is left and checks it; undefined when the log had not been made. */
function recover(files: CrashFiles, progress: Progress, what: string): OpenedWal | undefined {
  if (!walExists(files, DIR)) {
    assert.ok(!progress.created, `${what}: the log is gone`);
    return undefined;
  }
  let opened: OpenedWal;
  try {
    opened = openWal(files, DIR, BEGINNING, OPTIONS);
  } catch (error) {
    throw new Error(`${what}: ${error}`, { cause: error });
  }
  assert.ok(allowedContents(progress).has(describe(opened)), `${what}: found\n${describe(opened)}`);
  assert.deepEqual(opened.metadata, METADATA);
  if (progress.snapshotSaved && (opened.hardState?.commit ?? 0) >= SNAPSHOT.index) {
    assert.equal(newestSnapshot(files, DIR, SNAPSHOT.index)?.index, SNAPSHOT.index, what);
  }
  return opened;
}

async function operationsOf(seed: number, operations: ReadonlySet<Operation>): Promise<number> {
  const files = new CrashFiles({ operations });
  await runScenario(files, seed, newProgress());
  return files.operationCount;
}

test("openWal finds every acknowledged entry after a power cut in any operation", async () => {
  let tornLogs = 0;
  for (let seed = 1; seed <= 3; seed += 1) {
    const operations = await operationsOf(seed, changingOperations);
    assert.ok(operations > 60, `${operations} operations`);
    for (let cutAt = 1; cutAt <= operations; cutAt += 1) {
      const files = new CrashFiles({ cutAt });
      const progress = newProgress();
      // A cut while the next file is made ahead of time, with nothing left to save, stops nobody.
      await runScenario(files, seed, progress).catch((error) =>
        assert.ok(causeOf(error) instanceof PowerCut, error)
      );
      const prng = new Prng(seed * 1000 + cutAt);
      for (let image = 0; image < 6; image += 1) {
        const what = `seed ${seed}, cut ${cutAt}, image ${image}`;
        const after = files.afterPowerCut(prng);
        const opened = recover(after, progress, what);
        if (after.exists(DIR) && after.list(DIR).some((name) => name.endsWith(".broken"))) tornLogs += 1;
        if (opened === undefined) {
          createWal(after, DIR, METADATA, OPTIONS);
          continue;
        }
        // The log goes on, and the power fails again in what follows.
        await crashAgain(after, opened, prng, what);
      }
    }
  }
  assert.ok(tornLogs > 50, `only ${tornLogs} of the images had a torn record`);
});

/** Goes on with a recovered log until a second power cut, and recovers again. */
async function crashAgain(after: CrashFiles, opened: OpenedWal, prng: Prng, what: string): Promise<void> {
  await opened.wal.close();
  const progress = newProgress();
  progress.created = true;
  progress.acknowledged = { hardState: opened.hardState, entries: opened.entries };
  const files = after.afterExit({ cutAt: 1 + prng.below(14) });
  const term = Math.max(opened.entries.at(-1)?.term ?? 1, opened.hardState?.term ?? 1);
  try {
    const { wal } = openWal(files, DIR, BEGINNING, OPTIONS);
    await continueScenario(wal, prng, progress, term + 1, 5);
    await wal.close();
  } catch (error) {
    if (!(causeOf(error) instanceof PowerCut)) throw error;
  }
  const reopened = recover(files.afterPowerCut(prng), progress, `${what}, second cut`);
  await reopened!.wal.close();
}

test("openWal makes durable what a process left unsynced before it relies on it", async () => {
  for (let cutAt = 1; cutAt <= 80; cutAt += 1) {
    const files = new CrashFiles({ failAt: cutAt, failWith: "io", operations: new Set(["write", "create"]) });
    const progress = newProgress();
    await runScenario(files, 5, progress).catch(() => {});
    const restarted = files.afterExit();
    if (!walExists(restarted, DIR)) continue;
    const opened = recover(restarted, progress, `failure ${cutAt}`)!;
    progress.acknowledged = { hardState: opened.hardState, entries: opened.entries };
    progress.inFlight = undefined;
    const again = recover(restarted.afterPowerCut(new Prng(cutAt)), progress, `failure ${cutAt}, then cut`);
    await again!.wal.close();
  }
});

for (const failWith of ["io", "no space"] satisfies FileErrorKind[]) {
  test(`save stops for good and loses nothing acknowledged when any operation fails with "${failWith}"`, async () => {
    const operations: ReadonlySet<Operation> = new Set([...changingOperations, "list", "open", "read"]);
    const count = await operationsOf(6, operations);
    for (let failAt = 1; failAt <= count; failAt += 1) {
      const what = `failure ${failAt}`;
      const files = new CrashFiles({ failAt, failWith, operations });
      const progress = newProgress();
      let failure: unknown;
      await runScenario(files, 6, progress).catch((error) => failure = error);
      if (failure instanceof WalError) {
        // The process has to end, and whoever goes on all the same is refused.
        assert.equal(failure.kind, "broken", what);
        const { wal } = progress;
        assert.throws(() => wal!.saveNow(undefined, [entry(1, 9)]), { kind: "broken" }, what);
        await assert.rejects(wal!.save(undefined, [entry(1, 9)], { sync: true }), { kind: "broken" }, what);
        await assert.rejects(wal!.saveSnapshot(SNAPSHOT), { kind: "broken" }, what);
        await wal!.close();
      } else if (failure === undefined) {
        // Only what can be done again may fail without a word: making the next file ahead of time.
        assert.equal(progress.inFlight, undefined, what);
      } else assert.equal((failure as Error).name, "FileError", what);
      recover(files.afterPowerCut(new Prng(failAt)), progress, what);
    }
  });
}

test("openWal throws and harms nothing when any operation fails", async () => {
  const operations: ReadonlySet<Operation> = new Set([...changingOperations, "list", "open", "read"]);
  for (let seed = 1; seed <= 3; seed += 1) {
    const written = new CrashFiles({ cutAt: await operationsOf(seed, changingOperations) - 7 });
    const progress = newProgress();
    await runScenario(written, seed, progress).catch(() => {});
    const crashed = written.afterPowerCut(new Prng(seed));
    for (let failAt = 1;; failAt += 1) {
      const files = crashed.afterExit({ failAt, operations });
      let opened: OpenedWal | undefined;
      try {
        opened = openWal(files, DIR, BEGINNING, OPTIONS);
      } catch (error) {
        assert.equal((error as Error).name, "FileError", `seed ${seed}, failure ${failAt}`);
      }
      await opened?.wal.close();
      assert.ok(opened === undefined || files.operationCount < failAt);
      await recover(files.afterPowerCut(new Prng(failAt)), progress, `seed ${seed}, failure ${failAt}`)!.wal
        .close();
      if (opened !== undefined) {
        assert.ok(failAt > 10);
        break;
      }
    }
  }
});

function causeOf(error: unknown): unknown {
  return error instanceof WalError ? error.cause : error;
}
