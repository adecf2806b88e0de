import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { FileError } from "../../src/ports/files.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { within } from "../harness/deadline.ts";
import { withDirectory } from "./support.ts";

const { files } = await loadRuntime();
const root = fileURLToPath(new URL("../../", import.meta.url));
const commands = {
  node: [join(root, "node_modules/.bin/node")],
  bun: [join(root, "node_modules/.bin/bun"), "run"],
  deno: [join(root, "node_modules/.bin/deno"), "run", "-A", "--no-check"],
} as const;
const runtimes = ["node", "bun", "deno"] as const;

/** Starts a process that takes the lock, says "locked" or "refused", and keeps what it has. */
async function holder(runtime: (typeof runtimes)[number], path: string): Promise<[ChildProcess, string]> {
  const [command, ...args] = commands[runtime];
  const child = spawn(command, [...args, join(root, "tests/runtime/testdata/hold_lock.ts"), path], {
    stdio: ["ignore", "pipe", "inherit"],
    env: process.env,
  });
  const said = new Promise<string>((resolve, reject) => {
    child.stdout!.once("data", (data: Uint8Array) => resolve(new TextDecoder().decode(data).trim()));
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`exit ${code} without a word`)));
  });
  return [child, await within("a word of the process", said)];
}

async function kill(child: ChildProcess): Promise<void> {
  const exited = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGKILL");
  await within("a killed process to be gone", exited);
}

const isLocked = (error: unknown): boolean => error instanceof FileError && error.kind === "locked";

test("lock() excludes a second one in this process until release()", async () => {
  await withDirectory((directory) => {
    const path = join(directory, "lock");
    const lock = files.lock(path);
    assert.throws(() => files.lock(path), isLocked);
    lock.release();
    lock.release();
    files.lock(path).release();
    assert.throws(
      () => files.lock(join(directory, "none", "lock")),
      (error) => error instanceof FileError && error.kind !== "locked",
    );
  });
});

for (const runtime of runtimes) {
  test(`lock() excludes a process on ${runtime}, and is free when that is killed`, async () => {
    await withDirectory(async (directory) => {
      const path = join(directory, "lock");
      const [owner, said] = await holder(runtime, path);
      assert.equal(said, "locked");
      assert.throws(() => files.lock(path), isLocked);
      await kill(owner);
      const lock = files.lock(path);
      const [rival, rivalSaid] = await holder(runtime, path);
      assert.equal(rivalSaid, "refused");
      await kill(rival);
      lock.release();
    });
  });
}
