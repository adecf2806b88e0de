import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { LogFile } from "../../src/embed/log_file.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";

const { files } = await loadRuntime();

function inDirectory(body: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "etcd-log-"));
  try {
    body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("LogFile appends to what is there, in a file that only its owner may read", () => {
  inDirectory((directory) => {
    const path = join(directory, "a.log");
    new LogFile(path, files, Date.now).write("one\n");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const again = new LogFile(path, files, Date.now);
    again.write("two\n");
    again.write("three\n");
    assert.equal(readFileSync(path, "utf8"), "one\ntwo\nthree\n");
  });
});

test("LogFile begins a new file when the old one is full, and keeps some", () => {
  inDirectory((directory) => {
    const path = join(directory, "a.log");
    writeFileSync(join(directory, "a-other.log"), "");
    let now = Date.UTC(2026, 0, 1);
    const log = new LogFile(path, files, () => now, { bytesMax: 10, backupsMax: 2 });
    for (const line of ["1234\n", "5678\n", "9\n", "a line longer than the limit\n", "b\n", "c\n"]) {
      log.write(line);
      now += 1000;
    }
    assert.deepEqual(readdirSync(directory).sort(), [
      "a-2026-01-01T00-00-03.000.log",
      "a-2026-01-01T00-00-04.000.log",
      "a-other.log",
      "a.log",
    ]);
    assert.equal(readFileSync(path, "utf8"), "b\nc\n");
    assert.equal(
      readFileSync(join(directory, "a-2026-01-01T00-00-04.000.log"), "utf8"),
      "a line longer than the limit\n",
    );
  });
});

test("LogFile cannot be opened where there is no directory", () => {
  assert.throws(() => new LogFile("missing/a.log", files, Date.now), { name: "FileError" });
});
