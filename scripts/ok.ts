/**
 * The one gate before a commit: layout rules, format, lint, types, protos, generated code, tests.
 * `--without-tests` leaves the last step out.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { tidyComplaints } from "./tidy.ts";

const bin = (name: string): string => join("node_modules", ".bin", name);

const steps: readonly (readonly [name: string, command: readonly string[]])[] = [
  ["format", [bin("deno"), "fmt", "--check", "--quiet"]],
  ["lint", [bin("deno"), "lint", "--quiet"]],
  ["types", [bin("tsc"), "-p", "."]],
  ["protos", [bin("buf"), "lint"]],
  ["proto compatibility", [bin("buf"), "breaking", "--against", "proto/baseline.binpb"]],
  ...(process.argv.includes("--without-tests") ? [] : [["tests", [bin("node"), "scripts/test.ts"]] as const]),
];

const complaints = tidyComplaints(".");
for (const complaint of complaints) console.log(complaint);
console.log(`${complaints.length === 0 ? "ok  " : "FAIL"} layout`);
let failed = complaints.length > 0;
for (const [name, [command, ...args]] of steps) {
  const { status } = spawnSync(command!, args, { stdio: "inherit" });
  console.log(`${status === 0 ? "ok  " : "FAIL"} ${name}`);
  failed ||= status !== 0;
}
process.exitCode = failed ? 1 : 0;
