import { test } from "node:test";
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const BUF = "node_modules/.bin/buf";
const skip = existsSync(BUF) ? false : "buf is not installed";

function buf(...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(BUF, args, { encoding: "utf8" });
  assert.equal(status, 0, `buf ${args.join(" ")}\n${stdout}${stderr}`);
}

function typescriptUnder(directory: string): Map<string, string> {
  const paths = readdirSync(directory, { recursive: true, encoding: "utf8" });
  const sources = paths.filter((path) => path.endsWith(".ts")).sort();
  return new Map(sources.map((path) => [path, readFileSync(join(directory, path), "utf8")]));
}

test("buf lint has nothing to say about the protos", { skip }, () => {
  buf("lint");
});

test("buf breaking finds nothing that the baseline has and the protos lack", { skip }, () => {
  buf("breaking", "--against", "proto/baseline.binpb");
});

test("src/gen is what buf generate makes of the protos", { skip, timeout: 300_000 }, () => {
  const directory = mkdtempSync(join(tmpdir(), "generate-"));
  try {
    buf("generate", "-o", directory);
    const made = typescriptUnder(join(directory, "src/gen"));
    const checkedIn = typescriptUnder("src/gen");
    assert.deepEqual([...checkedIn.keys()], [...made.keys()]);
    for (const [path, text] of made) {
      assert.ok(checkedIn.get(path) === text, `${path} is stale: run buf generate`);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
