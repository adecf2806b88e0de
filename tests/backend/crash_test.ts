import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { readConsistentIndex } from "../../src/backend/schema/meta_table.ts";
import { bucketNames } from "../../src/mvcc/backend.ts";
import { endOf } from "../harness/child_process.ts";
import { dumpBackend } from "./backend_suite.ts";
import { applyEntry, Dice } from "./entry_script.ts";
import { inDirectory, openLmdb, runtimeCommand, sleep } from "./lmdb_harness.ts";

const CRASHES = 6;
const child = fileURLToPath(new URL("./entry_child.ts", import.meta.url));
const smallBuckets = bucketNames.filter((name) => name !== "key");

/** Starts the child, waits until it has opened its database and kills it some time later. */
async function runAndKill(args: readonly string[], afterMs: number): Promise<void> {
  const [command, ...script] = runtimeCommand(child);
  const running = spawn(command, [...script, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  running.stdout.on("data", (text) => {
    if (printed === "") void sleep(afterMs).then(() => running.kill("SIGKILL"));
    printed += String(text);
  });
  await endOf(running, "the child", () => printed);
  assert.ok(!printed.includes("fatal"), printed);
}

for (const mode of ["", "defrag"]) {
  test(`LmdbBackend is a prefix of whole entries after kill -9 ${mode === "" ? "" : "during defragmentation"}`, () =>
    inDirectory(async (directory) => {
      const dice = new Dice(mode.length + 1);
      const model = new MemoryBackend();
      let before = 0;
      for (let crash = 0; crash < CRASHES; crash += 1) {
        await runAndKill([directory, "Infinity", mode], 5 + dice.below(120));
        const backend = openLmdb(directory);
        const { index } = readConsistentIndex(backend);
        assert.ok(index >= before, `Index went back from ${before} to ${index}`);
        for (let at = before + 1; at <= index; at += 1) applyEntry(model, at);
        assert.deepEqual(dumpBackend(backend, smallBuckets), dumpBackend(model, smallBuckets));
        assert.equal(backend.durableIndex, index);
        assert.ok(!existsSync(`${directory}/data.mdb.defrag`));
        await backend.close();
        before = index;
      }
      assert.ok(before > 0, "No entry has become durable in any run");
    }));
}
