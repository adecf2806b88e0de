import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));

test("the launcher runs the package on Node where npm installs it", () => {
  const directory = mkdtempSync(join(realpathSync(tmpdir()), "etcd-launcher-"));
  try {
    const installed = join(directory, "node_modules", "etcd-ts");
    const { bin, dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    for (const name of ["src", "mod.ts", "package.json"]) {
      cpSync(join(root, name), join(installed, name), { recursive: true });
    }
    for (const name of Object.keys(dependencies)) linkDependency(directory, name);
    const node = join(root, "node_modules", ".bin", "node");
    const { status, stdout, stderr } = spawnSync(node, [join(installed, bin.etcd), "--version"], {
      encoding: "utf8",
      timeout: 60_000,
    });
    assert.equal(status, 0, stderr);
    assert.match(stdout, /^etcd Version: \d+\.\d+\.\d+\n/);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

function linkDependency(directory: string, name: string): void {
  const target = join(directory, "node_modules", name);
  mkdirSync(dirname(target), { recursive: true });
  symlinkSync(join(root, "node_modules", name), target);
}
