import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { bucketNames } from "../../src/mvcc/backend.ts";
import { WAIT_MS_MAX } from "../harness/deadline.ts";
import { dumpBackend } from "./backend_suite.ts";
import { applyEntry } from "./entry_script.ts";
import { inDirectory, openLmdb, runtimeCommand } from "./lmdb_harness.ts";

interface Outcome {
  /** Undefined when a signal ended the process, or it could not be started. */
  readonly status: number | undefined;
  readonly out: string;
}

/** What one run of the child applies at most after its last commit that can have succeeded. */
const ENTRIES_IN_FLIGHT_MAX = 1000;
const PREPARED_ENTRIES = 50;
const child = fileURLToPath(new URL("./entry_child.ts", import.meta.url));
const smallBuckets = bucketNames.filter((name) => name !== "key");

function run(command: string, args: readonly string[]): Outcome {
  const done = spawnSync(command, args, {
    encoding: "utf8",
    // One thread commits, so that a fault at the n-th call is the n-th of all: strace counts by thread.
    env: { ...process.env, UV_THREADPOOL_SIZE: "1" },
    stdio: ["ignore", "pipe", "ignore"],
    timeout: WAIT_MS_MAX,
    killSignal: "SIGKILL",
  });
  if ((done.error as { readonly code?: string } | undefined)?.code === "ETIMEDOUT") {
    throw new Error(`${command} ${args.join(" ")} goes on after ${WAIT_MS_MAX} ms:\n${done.stdout}`);
  }
  return { status: done.status ?? undefined, out: done.stdout ?? "" };
}

function runChild(args: readonly string[], before: readonly string[] = []): Outcome {
  const [command, ...rest] = [...before, ...runtimeCommand(child), ...args];
  return run(command!, rest);
}

function skipUnless(probe: Outcome, reason: string): string | false {
  return probe.status === 0 ? false : reason;
}

const strace = ["strace", "-f", "-qq", "-o", "/dev/null"];
const noStrace = skipUnless(
  run(strace[0]!, [...strace.slice(1), "true"]),
  "strace is missing or may not trace",
);
const noMount = skipUnless(run("unshare", ["--mount", "true"]), "not allowed to mount a tmpfs");

/**
 * The child has reported its failure and committed nothing more; returns the index that it took for durable.
 * Or the native side aborted: when a page cannot be written, lmdb-js 3.5.6 prints more than 100 characters
 * into a buffer of 100. Then nothing may be known, and `least` is returned.
 */
function assertEnded(outcome: Outcome, least: number): number {
  const { status, out } = outcome;
  assert.notEqual(status, 0, out);
  assert.ok(!out.includes("end"), out);
  const reported = /fatal (\d+)/.exec(out)?.[1];
  if (status === 3) assert.match(out, new RegExp(`fatal ${reported}\ndurable ${reported}\n`));
  return Number(reported ?? least);
}

/** Everything there is belongs to whole entries; returns the index of the last one. */
async function assertPrefix(directory: string): Promise<number> {
  const backend = openLmdb(directory);
  const { durableIndex } = backend;
  const model = new MemoryBackend();
  for (let index = 1; index <= durableIndex; index += 1) applyEntry(model, index);
  assert.deepEqual(dumpBackend(backend, smallBuckets), dumpBackend(model, smallBuckets));
  await backend.close();
  return durableIndex;
}

const faults = ["fdatasync:error=EIO:when=1+", "fdatasync:error=EIO:when=4", "pwrite64:error=EIO:when=7"];

for (const fault of faults) {
  test(
    `LmdbBackend ends at the first failed commit: ${fault}`,
    { skip: noStrace },
    () =>
      inDirectory(async (directory) => {
        assert.match(runChild([directory, String(PREPARED_ENTRIES)]).out, /end/);
        const calls = fault.slice(0, fault.indexOf(":"));
        const broken = runChild([directory], [...strace, "-e", `trace=${calls}`, "-e", `inject=${fault}`]);
        const reported = assertEnded(broken, PREPARED_ENTRIES);
        const found = await assertPrefix(directory);
        // The failed batch may be there, whole: nobody knows how far its last write or sync came.
        assert.ok(found >= reported, `Entry ${reported} was durable, and the last one is ${found}`);
        if (broken.status === 3) {
          assert.ok(found < reported + ENTRIES_IN_FLIGHT_MAX, `Entry ${found} was committed after a failure`);
        }
      }),
  );
}

test(
  "LmdbBackend ends on a full disk and keeps what was durable",
  { skip: noMount },
  () =>
    inDirectory(async (directory) => {
      const disk = `${directory}/disk`;
      mkdirSync(disk);
      const mounted = run("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", disk]);
      if (mounted.status !== 0) return console.log("skipped: not allowed to mount a tmpfs");
      try {
        const reported = assertEnded(runChild([`${disk}/db`]), 1);
        const found = await assertPrefix(`${disk}/db`);
        assert.ok(found >= reported, `Entry ${reported} was durable, and the last one is ${found}`);

        // There is no room for a copy either: the old file stays, and no half of a new one.
        const backend = openLmdb(`${disk}/db`);
        await assert.rejects(backend.defragment());
        await backend.close();
        assert.deepEqual(readdirSync(`${disk}/db`).sort(), ["data.mdb", "data.mdb-lock"]);
        assert.equal(await assertPrefix(`${disk}/db`), found);
      } finally {
        run("umount", [disk]);
      }
    }),
);
