import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { runEtcd } from "../../../src/cli/etcd/main.ts";
import { FileError, type Files } from "../../../src/ports/files.ts";
import type { Process } from "../../../src/ports/process.ts";
import type { Runtime } from "../../../src/ports/runtime.ts";
import { loadRuntime } from "../../../src/runtime/detect.ts";
import { eventually } from "../../harness/deadline.ts";
import { replay, runScript, scriptsUnder } from "../../harness/datadriven.ts";

const real = await loadRuntime();

class Exit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit ${code}`);
    this.code = code;
  }
}

interface Outcome {
  readonly out: string;
  readonly err: string;
  readonly code: number;
}

/** Runs the command in this process, with arguments, environment and c.yml of its own, until it exits. */
async function run(args: readonly string[], env: Record<string, string> = {}, yaml = ""): Promise<Outcome> {
  let out = "";
  let err = "";
  const process: Process = {
    ...real.process,
    args,
    env,
    defaultHost: () => undefined,
    onSignal() {},
    exit(code) {
      throw new Exit(code);
    },
    writeOut: (text) => void (out += text),
    writeErr: (text) => void (err += text),
  };
  const files: Files = {
    ...real.files,
    exists: () => false,
    read(path) {
      if (path === "c.yml") return new TextEncoder().encode(yaml);
      throw new FileError("not found", path, `${path}: no such file`);
    },
    makeDirectory: (path) => assert.fail(`the server began to make ${path}`),
    openWrite: (path) => assert.fail(`the server began to write ${path}`),
  };
  const runtime: Runtime = { ...real, process, files };
  try {
    await runEtcd(runtime);
  } catch (error) {
    if (error instanceof Exit) return { out, err, code: error.code };
    throw error;
  }
  throw new Error("the command did not exit");
}

/** "ETCD_NAME=x etcd --name=y", and the lines of c.yml. */
function runCase(input: string): Promise<Outcome> {
  const [line, ...yaml] = input.split("\n") as [string, ...string[]];
  const [environment, command] = line.split(/(?<=^|\s)etcd(?=\s|$)/) as [string, string];
  const env = Object.fromEntries(environment.split(" ").filter(Boolean).map((pair) => pair.split("=", 2)));
  return run(command.split(" ").filter(Boolean), env, yaml.map((each) => `${each}\n`).join(""));
}

const BORING = /^(?:Running http|it isn't recommended to use default name|'data-dir' was empty)/;
const TELLING = /^recognized and used|increased to minimum/;

function describe({ out, err, code }: Outcome): string {
  const lines = [
    ...describeLines(err),
    ...describeLines(out).map((line) => `out: ${line}`),
    `exit ${code}`,
  ];
  return lines.join("\n");
}

function describeLines(text: string): string[] {
  return text.replace(/Usage:\n[^]*/, "<usage>\n").split("\n").filter(Boolean).flatMap((line) => {
    if (!line.startsWith("{")) return [line.replace(/^\d{4}-\d\d-\d\dT[\d:.]+Z/, "TS")];
    const { level, msg, ts, stacktrace, kind: _, ...fields } = JSON.parse(line) as Record<string, string>;
    assert.match(ts!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/);
    assert.equal(stacktrace, undefined, line);
    if (BORING.test(msg!) || (level === "info" && !TELLING.test(msg!))) return [];
    return [
      `${level} ${msg}` + Object.entries(fields).map(([k, v]) => ` ${k}=${JSON.stringify(v)}`).join(""),
    ];
  });
}

test("the first signal closes the member, the second ends the process at once", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-signals-"));
  const handlers = new Map<string, () => void>();
  const raised: string[] = [];
  let err = "";
  const process: Process = {
    ...real.process,
    args: [
      `--data-dir=${directory}/data`,
      "--listen-client-urls=http://127.0.0.1:0",
      "--advertise-client-urls=http://127.0.0.1:0",
      "--listen-peer-urls=http://127.0.0.1:0",
    ],
    env: {},
    onSignal: (signal, run) => void handlers.set(signal, run),
    raise: (signal) => void raised.push(signal),
    exit: (code) => assert.fail(`exit ${code}: ${err}`),
    writeErr: (text) => void (err += text),
  };
  await runEtcd({ ...real, process });
  handlers.get("SIGTERM")!();
  assert.deepEqual(raised, []);
  handlers.get("SIGINT")!();
  assert.deepEqual(raised, ["SIGINT"]);
  await eventually("the second signal", () => raised.length >= 2, () => err);
  assert.deepEqual(raised, ["SIGINT", "SIGTERM"]);
  assert.match(err, /"msg":"closed etcd server"/);
  rmSync(directory, { recursive: true });
});

for (const script of scriptsUnder("tests/cli/etcd/testdata")) {
  test(`etcd's command lines: ${script.name}`, async () => {
    // A script's handler answers at once, so the cases are run before.
    const outcomes = new Map<string, string>();
    const inputs: string[] = [];
    replay(readFileSync(script.path, "utf8"), script.path, ({ input }) => {
      inputs.push(input);
      return "";
    }, false);
    for (const input of inputs) outcomes.set(input, describe(await runCase(input)));
    runScript(script, ({ input }) => outcomes.get(input)!);
  });
}
