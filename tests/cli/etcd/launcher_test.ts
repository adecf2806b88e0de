import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import * as library from "../../../mod.ts";
import { runtimeCommand } from "../../harness/etcd_process.ts";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const { bin, dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

/** A project with this package in its node_modules, as npm would put it there. */
const project = mkdtempSync(join(realpathSync(tmpdir()), "etcd-launcher-"));
const installed = join(project, "node_modules", "etcd-ts");
for (const name of ["src", "mod.ts", "package.json"]) {
  cpSync(join(root, name), join(installed, name), { recursive: true });
}
for (const name of Object.keys(dependencies)) linkDependency(project, name);
writeFileSync(join(project, "package.json"), JSON.stringify({ dependencies: { "etcd-ts": "*" } }));
const deno = "deno" in process.versions && "Deno loads no TypeScript from node_modules";
after(() => rmSync(project, { recursive: true }));

test("the launcher runs the package on Node where npm installs it", () => {
  const node = join(root, "node_modules", ".bin", "node");
  assert.match(run(node, [join(installed, bin.etcd), "--version"]), /^etcd Version: \d+\.\d+\.\d+\n/);
});

test("a program imports all of the package from where npm installs it", { skip: deno }, () => {
  const program = join(project, "program.mjs");
  writeFileSync(
    program,
    `import * as library from "etcd-ts";
     const etcd = await library.startEtcd({ dataDir: "data", listenClientUrls: [], listenPeerUrls: [] });
     await etcd.close();
     console.log(JSON.stringify(Object.keys(library).sort()));`,
  );
  const [command, ...args] = runtimeCommand();
  const output = run(command!, [...args, program]);
  assert.deepEqual(JSON.parse(output.trim().split("\n").at(-1)!), Object.keys(library).sort());
});

function run(command: string, args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: project,
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, NODE_OPTIONS: "" },
  });
  assert.equal(status, 0, stderr);
  return stdout;
}

function linkDependency(directory: string, name: string): void {
  const target = join(directory, "node_modules", name);
  mkdirSync(dirname(target), { recursive: true });
  symlinkSync(join(root, "node_modules", name), target);
}
