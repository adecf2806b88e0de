import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { endOf } from "../harness/child_process.ts";

const runtime = await loadRuntime();
const script = fileURLToPath(new URL("testdata/signalled.ts", import.meta.url));

/** Runs the script on this same runtime. */
async function run(
  how: string,
): Promise<{ code: number | null; signal: string | null; out: string; err: string }> {
  const options = { node: [], bun: ["run"], deno: ["run", "-A", "--no-check"] }[runtime.process.runtime.name];
  const child = spawn(process.execPath, [...options, script, how], { stdio: ["ignore", "pipe", "pipe"] });
  const text = { out: "", err: "" };
  child.stdout.on("data", (data: Uint8Array) => {
    text.out += new TextDecoder().decode(data);
    if (text.out === "ready\n") child.kill("SIGTERM");
  });
  child.stderr.on("data", (data: Uint8Array) => {
    text.err += new TextDecoder().decode(data);
  });
  const ended = await endOf(child, `"${how}"`, () => text.out.slice(0, 100) + text.err);
  return { ...ended, ...text };
}

test("process tells about itself", () => {
  const { process: own } = runtime;
  assert.equal(own.pid, process.pid);
  assert.ok(["node", "bun", "deno"].includes(own.runtime.name));
  assert.match(own.runtime.version, /^\d+\.\d+\.\d+/);
  assert.ok(own.residentBytes() > 1e6);
  assert.ok(own.cpuSeconds() > 0);
  assert.equal(own.env["PATH"], process.env["PATH"]);
  if (own.platform !== "linux") return;
  assert.ok((own.openFiles() ?? 0) > 2);
  assert.ok((own.openFilesMax() ?? 0) > (own.openFiles() ?? 0));
});

test("a handled signal can be raised again with its default action", async () => {
  const { code, signal, out } = await run("raise");
  assert.deepEqual({ code, signal, out }, { code: null, signal: "SIGTERM", out: "ready\nhandled\n" });
});

test("exit() ends with the code after everything written has left", async () => {
  const { code, out, err } = await run("exit");
  assert.equal(code, 7);
  assert.equal(out.length, 1_000_001);
  assert.equal(err, "ü€\n");
});

test("entropy fills with bytes that differ", () => {
  const [a, b] = [new Uint8Array(32), new Uint8Array(32)];
  runtime.entropy.fill(a);
  runtime.entropy.fill(b);
  assert.notDeepEqual(a, b);
  assert.notDeepEqual(a, new Uint8Array(32));
});
