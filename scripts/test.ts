/**
 * Runs the test suite on Node, Bun and Deno and prints one total. Arguments: runtimes (`node`, `bun`,
 * `deno`; all by default) and test files or folders (`tests` by default).
 *
 *     npm test
 *     node scripts/test.ts bun tests/mvcc
 *
 * Every file runs in a process of its own, so that a hung or aborted one is a failure with a name. What a
 * file printed is shown when it fails, and the failed tests are named once more above the total.
 *
 * A test named in tests/conformance/known_failing.<runtime>.txt must fail there: one that passes is
 * reported too, so that the lists stay true.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";

const runtimes = ["node", "bun", "deno"] as const;
type Runtime = (typeof runtimes)[number];

type Result = "passed" | "failed" | "skipped";

interface Outcome {
  readonly name: string;
  readonly result: Result;
}

interface FileRun {
  readonly outcomes: readonly Outcome[];
  /** Why the process itself failed, whatever its tests reported. */
  readonly trouble: string | undefined;
  readonly output: string;
}

const FILE_TIMEOUT_MS = 8 * 60_000;
/** Of a test on Bun, whose own is 5 s. The others have none: there the file is what is given up. */
const TEST_TIMEOUT_MS = 5 * 60_000;
const OUTPUT_MAX_BYTES = 1 << 20;
const SHOWN_LINES_MAX = 80;
const FILES_AT_ONCE = Math.max(2, Math.floor(availableParallelism() / 2));

const reports = mkdtempSync(join(tmpdir(), "etcd-test-"));
const children = new Set<number>();
const failures: string[] = [];
const counts: Record<Result, number> = { passed: 0, failed: 0, skipped: 0 };

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => {
    for (const pid of children) endGroup(pid);
    process.exit(1);
  });
}
process.on("exit", () => rmSync(reports, { recursive: true, force: true }));

const chosen = process.argv.slice(2).filter(isRuntime);
const paths = process.argv.slice(2).filter((argument) => !isRuntime(argument));
const files = testFiles(paths.length > 0 ? paths : ["tests"]);
for (const runtime of chosen.length > 0 ? chosen : runtimes) await runOn(runtime);
for (const failure of failures) console.log(failure);
const { passed, failed, skipped } = counts;
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);

function isRuntime(argument: string): argument is Runtime {
  return (runtimes as readonly string[]).includes(argument);
}

function testFiles(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    if (!statSync(path).isDirectory()) return [path];
    return readdirSync(path, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith("_test.ts"))
      .map((name) => join(path, name));
  }).sort();
}

async function runOn(runtime: Runtime): Promise<void> {
  console.log(`== ${runtime}: ${files.length} files`);
  const knownFailing = readKnownFailing(runtime);
  const waiting = [...files];
  const workers = Array.from({ length: FILES_AT_ONCE }, async (_, worker) => {
    for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
      showProgress(`${files.length - waiting.length}/${files.length} ${file}`);
      tally(runtime, file, await runFile(runtime, file, worker), knownFailing);
    }
  });
  await Promise.all(workers);
  showProgress("");
}

function tally(runtime: Runtime, file: string, run: FileRun, knownFailing: Set<string>): void {
  const found: string[] = [];
  for (const { name, result } of run.outcomes) {
    const expectedToFail = knownFailing.delete(name);
    if (result === "skipped") counts.skipped += 1;
    else if ((result === "failed") === expectedToFail) counts.passed += 1;
    else found.push(expectedToFail ? `passes although listed as failing: ${name}` : name);
  }
  const reported = run.outcomes.some((outcome) => outcome.result === "failed");
  if (run.trouble !== undefined && !reported) found.push(run.trouble);
  if (found.length === 0) return;
  counts.failed += found.length;
  failures.push(...found.map((text) => `failed on ${runtime}: ${file}: ${text}`));
  showProgress("");
  console.log(`-- ${runtime}: ${file}`);
  console.log(run.output.trimEnd().split("\n").slice(-SHOWN_LINES_MAX).join("\n"));
}

function runFile(runtime: Runtime, file: string, worker: number): Promise<FileRun> {
  const report = join(reports, `${runtime}-${file.replaceAll("/", "-")}.xml`);
  const [command, ...args] = commandLine(runtime, report, file);
  return new Promise((resolve) => {
    // A group of its own: what a hung test started ends with it.
    const child = spawn(command!, args, {
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
      // Files that run at once take ports of their own: a port found free may be another's a moment later.
      env: { ...process.env, NO_COLOR: "1", TEST_PORTS: `${worker}/${FILES_AT_ONCE}` },
    });
    const pid = child.pid!;
    children.add(pid);
    let output = "";
    const gather = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-OUTPUT_MAX_BYTES);
    };
    child.stdout.on("data", gather);
    child.stderr.on("data", gather);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup(pid);
    }, FILE_TIMEOUT_MS);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      children.delete(pid);
      endGroup(pid);
      // Not "close": a process that a test left behind may hold the pipes.
      setImmediate(() => {
        const outcomes = existsSync(report) ? readReport(readFileSync(report, "utf8")) : [];
        const trouble = timedOut
          ? `not done after ${FILE_TIMEOUT_MS / 60_000} minutes`
          : code !== 0
          ? `the runner ended with ${code ?? signal} and no failed test`
          : outcomes.length === 0
          ? "no test reported"
          : undefined;
        resolve({ outcomes, trouble, output });
      });
    });
  });
}

function endGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nothing of the group is left.
  }
}

function showProgress(text: string): void {
  if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${text}`);
}

function commandLine(runtime: Runtime, report: string, file: string): string[] {
  const binary = join("node_modules", ".bin", runtime);
  switch (runtime) {
    case "node":
      return [
        binary,
        "--test",
        "--test-reporter=spec",
        "--test-reporter-destination=stdout",
        "--test-reporter=junit",
        `--test-reporter-destination=${report}`,
        file,
      ];
    case "bun":
      return [
        binary,
        "test",
        `--timeout=${TEST_TIMEOUT_MS}`,
        "--reporter=junit",
        `--reporter-outfile=${report}`,
        `./${file}`,
      ];
    case "deno":
      return [binary, "test", "-A", "--no-check", "--quiet", `--junit-path=${report}`, file];
  }
}

function readReport(xml: string): Outcome[] {
  const cases = xml.matchAll(/<testcase\b([^>]*?)(\/>|>([\s\S]*?)<\/testcase>)/g);
  return [...cases].map(([, attributes, , body = ""]) => {
    const name = unescapeXml(/\bname="([^"]*)"/.exec(attributes!)?.[1] ?? "");
    const result = /<(failure|error)\b/.test(body)
      ? "failed"
      : /<skipped\b/.test(body)
      ? "skipped"
      : "passed";
    return { name, result };
  });
}

function unescapeXml(text: string): string {
  const entities: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, name) => {
    if (decimal !== undefined) return String.fromCodePoint(Number(decimal));
    if (hex !== undefined) return String.fromCodePoint(parseInt(hex, 16));
    return entities[name] ?? whole;
  });
}

/** Lines of "<test name> # reason". */
function readKnownFailing(runtime: Runtime): Set<string> {
  const path = `tests/conformance/known_failing.${runtime}.txt`;
  const lines = existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
  return new Set(
    lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => line.split(" # ")[0]!.trim()),
  );
}
