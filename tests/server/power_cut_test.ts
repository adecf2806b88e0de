import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { textOf } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { KeyValueSchema } from "../../src/gen/mvccpb/kv_pb.ts";
import { EtcdError } from "../../src/base/errors.ts";
import { StoreImage } from "../harness/crash_backend.ts";
import { changingOperations, CrashFiles, type Operation } from "../harness/crash_files.ts";
import { afterPowerCut, CrashMember, type Disk } from "../harness/crash_member.ts";
import { within } from "../harness/deadline.ts";

const SEED = Number(process.env["SEED"] ?? 1);
/** Each cut leaves a disk that is drawn anew this often. */
const DRAWS = Number(process.env["CRASH_ROUNDS"] ?? 3);
const STEPS = 40;
const PUTS_PER_STEP_MAX = 5;
/** Another commit of the store is due. */
const COMMIT_MS = 100;
/** The log is purged. */
const PURGE_MS = 30_000;

/** What a run was told before it ended. */
interface Told {
  /** Which run it was. */
  readonly run: number;
  /** Values by the revision that the reply gave. */
  readonly acknowledged: Map<number, string>;
  readonly sent: Set<string>;
  compacted: number;
  /** The fault has ended it. */
  ended: boolean;
}

/** Puts in batches of all sizes, with compactions, commits of the store and purges of the log in between. */
async function runScenario(member: CrashMember, prng: Prng, told: Told): Promise<void> {
  await member.start();
  for (let step = 0; step < STEPS; step += 1) {
    const puts = Array.from({ length: 1 + prng.below(PUTS_PER_STEP_MAX) }, async () => {
      const value = `${told.run}/${told.sent.size}:`.padEnd(prng.below(500), "x");
      told.sent.add(value);
      const { header } = await member.put(`key ${prng.below(8)}`, value);
      told.acknowledged.set(header.revision, value);
    });
    await Promise.all(puts);
    if (prng.chance(0.2)) {
      const revision = member.server.store.currentRevision - 2;
      if (revision > told.compacted) {
        await member.server.compact(revision);
        told.compacted = revision;
      }
    }
    if (prng.chance(0.1)) member.clock.advance(COMMIT_MS);
    if (prng.chance(0.12)) member.clock.advance(PURGE_MS);
  }
  await member.server.stop();
}

/** Ends with the scenario, or with the fault. */
async function runUntilFault(disk: Disk, run: number): Promise<Told> {
  const told: Told = {
    run,
    acknowledged: new Map(),
    sent: new Set(),
    compacted: -1,
    ended: false,
  };
  const member = new CrashMember(disk);
  const failure = member.failure.then((error) => Promise.reject(error));
  const scenario = runScenario(member, new Prng(SEED + run), told).catch((error) => {
    // A server that has met the fault answers no more, and says why.
    if (!(error instanceof EtcdError && error.code === "stopped")) throw error;
    return within("the server's failure", failure);
  });
  // Opening throws what the disk throws; later on the server says it.
  await Promise.race([scenario, failure]).catch((error) => {
    checkFault(error);
    told.ended = true;
  });
  return told;
}

/** Throws what is not the fault of the disk. */
function checkFault(error: unknown): void {
  for (let each = error as Error | undefined; each !== undefined; each = each.cause as Error | undefined) {
    if (each.name === "PowerCut" || each.message.endsWith("injected failure")) return;
  }
  throw error;
}

/** What two runs were told, one after the other. */
function both(first: Told, second: Told): Told {
  for (const revision of second.acknowledged.keys()) {
    assert.ok(
      !first.acknowledged.has(revision),
      `Revision ${revision} was acknowledged before the cut already`,
    );
  }
  return {
    run: second.run,
    sent: new Set([...first.sent, ...second.sent]),
    acknowledged: new Map([...first.acknowledged, ...second.acknowledged]),
    compacted: Math.max(first.compacted, second.compacted),
    ended: second.ended,
  };
}

/** The disk has what was acknowledged, nothing that was not sent, and a server goes on from it. */
async function assertRecovered(disk: Disk, told: Told): Promise<void> {
  const member = new CrashMember(disk);
  void member.failure.then((error) => assert.fail(String(error)));
  await member.start();
  const { store } = member.server;
  const found = new Map<number, string>();
  store.backend.scanRevisions({ main: 0, sub: 0 }, Infinity, (main, _sub, tombstone, keyValue) => {
    if (!tombstone) found.set(main, textOf(fromBinary(KeyValueSchema, keyValue).value));
    return true;
  });
  const compacted = store.compactRevision;
  const current = store.currentRevision;
  assert.ok(compacted >= told.compacted, `Compacted at ${compacted}, and ${told.compacted} was acknowledged`);
  for (const [revision, value] of told.acknowledged) {
    assert.ok(revision <= current, `Revision ${revision} was acknowledged, and the store is at ${current}`);
    if (revision > compacted) assert.equal(found.get(revision), value, `Revision ${revision}`);
  }
  for (const value of found.values()) assert.ok(told.sent.has(value), `Nobody sent ${value}`);
  assert.equal(new Set(found.values()).size, found.size, "A put took place twice");
  for (let revision = Math.max(2, compacted + 1); revision <= current; revision += 1) {
    assert.ok(found.has(revision), `Revision ${revision} is missing`);
  }
  const { header } = await member.put("after", "the cut");
  assert.equal(header.revision, current + 1);
  await member.server.stop();
}

const operationSets: readonly (readonly Operation[])[] = [["sync", "syncDirectory", "rename"], [
  "write",
  "create",
]];

for (const operations of operationSets) {
  test(`EtcdServer recovers what it acknowledged after a power cut at any ${operations.join(", ")}`, async () => {
    const prng = new Prng(SEED);
    const counted = new Set(operations);
    let cuts = 0;
    for (let cutAt = 1;; cutAt += 1) {
      const disk = { files: new CrashFiles({ cutAt, operations: counted }), image: new StoreImage() };
      const told = await runUntilFault(disk, 1);
      if (disk.files.operationCount < cutAt) break;
      cuts += 1;
      for (let draw = 0; draw < DRAWS; draw += 1) {
        try {
          // The power may fail in the start after it, too.
          const second = afterPowerCut(disk, prng, { cutAt: 1 + prng.below(8) });
          const toldThen = await runUntilFault(second, 2);
          await assertRecovered(afterPowerCut(second, prng), both(told, toldThen));
        } catch (error) {
          throw new Error(`SEED=${SEED}, cut at operation ${cutAt}, draw ${draw}`, { cause: error });
        }
      }
    }
    console.log(`${cuts} cuts`);
    assert.ok(cuts > 40, `The scenario has only ${cuts} operations`);
  });
}

for (const failWith of ["io", "no space"] as const) {
  test(`EtcdServer ends at a disk error or goes on without one (${failWith}), and loses nothing`, async () => {
    const prng = new Prng(SEED);
    let ended = 0;
    let failAt = 1;
    for (;; failAt += 1) {
      const files = new CrashFiles({ failAt, failWith, operations: changingOperations });
      const disk = { files, image: new StoreImage() };
      try {
        const told = await runUntilFault(disk, 1);
        if (files.operationCount < failAt) break;
        if (told.ended) ended += 1;
        await assertRecovered({ files: files.afterExit(), image: disk.image.afterPowerCut(prng) }, told);
      } catch (error) {
        throw new Error(`SEED=${SEED}, failure at operation ${failAt}`, { cause: error });
      }
    }
    console.log(`${failAt - 1} failures, of which ${ended} ended the server`);
    assert.ok(ended > failAt / 2, `Only ${ended} of ${failAt - 1} failures ended the server`);
  });
}
