/**
 * Runs the test suite on Node, Bun and Deno and prints one total. Arguments: runtimes (`node`, `bun`,
 * `deno`; all by default) and test files or folders (`tests` by default).
 *
 *     npm test
 *     node scripts/test.ts bun tests/mvcc
 *
 * A test named in tests/conformance/known_failing.<runtime>.txt must fail there: one that passes is
 * reported too, so that the lists stay true.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const runtimes = ["node", "bun", "deno"] as const;
type Runtime = (typeof runtimes)[number];

interface Outcome {
  readonly name: string;
  readonly result: "passed" | "failed" | "skipped";
}

/** A hung suite is a failure, not a hung build. */
const RUNTIME_TIMEOUT_MS = 30 * 60_000;

const reports = mkdtempSync(join(tmpdir(), "etcd-test-"));
let passed = 0;
let failed = 0;
let skipped = 0;
try {
  const chosen = process.argv.slice(2).filter(isRuntime);
  const paths = process.argv.slice(2).filter((argument) => !isRuntime(argument));
  const files = testFiles(paths.length > 0 ? paths : ["tests"]);
  for (const runtime of chosen.length > 0 ? chosen : runtimes) runOn(runtime, files);
} finally {
  rmSync(reports, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;

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

function runOn(runtime: Runtime, files: readonly string[]): void {
  const report = join(reports, `${runtime}.xml`);
  console.log(`\n== ${runtime}: ${files.length} files`);
  const [command, ...args] = commandLine(runtime, report, files);
  const run = spawnSync(command!, args, { stdio: "inherit", timeout: RUNTIME_TIMEOUT_MS });
  const outcomes = existsSync(report) ? readReport(readFileSync(report, "utf8")) : [];
  const knownFailing = readKnownFailing(runtime);
  const before = failed;
  for (const { name, result } of outcomes) {
    const expectedToFail = knownFailing.delete(name);
    if (result === "skipped") skipped += 1;
    else if ((result === "failed") === expectedToFail) passed += 1;
    else {
      failed += 1;
      console.log(`${runtime}: ${expectedToFail ? "passes although listed as failing" : "failed"}: ${name}`);
    }
  }
  const expected = outcomes.some((outcome) => outcome.result === "failed");
  if (failed === before && run.status !== 0 && !expected) {
    failed += 1;
    console.log(`${runtime}: the runner ended with status ${run.status ?? run.signal} and no failed test`);
  }
}

function commandLine(runtime: Runtime, report: string, files: readonly string[]): string[] {
  const binary = join("node_modules", ".bin", runtime);
  switch (runtime) {
    case "node":
      return [
        binary,
        "--test",
        "--test-concurrency=2",
        "--test-reporter=dot",
        "--test-reporter-destination=stdout",
        "--test-reporter=junit",
        `--test-reporter-destination=${report}`,
        ...files,
      ];
    case "bun":
      return [
        binary,
        "test",
        "--timeout=120000",
        "--only-failures",
        "--reporter=junit",
        `--reporter-outfile=${report}`,
        ...files.map((file) => `./${file}`),
      ];
    case "deno":
      return [
        binary,
        "test",
        "-A",
        "--no-check",
        "--quiet",
        "--reporter=dot",
        `--junit-path=${report}`,
        ...files,
      ];
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
