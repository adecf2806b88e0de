import assert from "node:assert/strict";
import { chmodSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { FileError } from "../../src/ports/files.ts";
import type { FileErrorKind } from "../../src/ports/files.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { withDirectory } from "./support.ts";

const { files } = await loadRuntime();

function ofKind(kind: FileErrorKind, path: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof FileError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.equal(error.path, path);
    return true;
  };
}

test("a file is written at positions, synced and read back", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "0.wal");
    const file = files.openWrite(path, { create: true, mode: 0o640 });
    await file.writeAt(utf8("world"), 6);
    file.writeAtSync(utf8("hello "), 0);
    await file.sync();
    file.syncNow();
    await file.writeAt(new Uint8Array(0), 3);
    files.syncDirectory(directory);
    assert.equal(statSync(path).mode & 0o777, 0o640);
    assert.equal(readFileSync(path, "latin1"), "hello world");
    file.truncate(5);
    file.close();
    const again = files.openWrite(path, { create: false });
    again.writeAtSync(utf8("J"), 0);
    again.truncate(8);
    again.close();
    const reader = files.openRead(path);
    assert.equal(reader.sizeBytes, 8);
    assert.deepEqual(reader.readAt(0, 100), utf8("Jello\0\0\0"));
    assert.deepEqual(reader.readAt(4, 1), utf8("o"));
    assert.deepEqual(reader.readAt(8, 1), new Uint8Array(0));
    assert.deepEqual(reader.readAt(1000, 1), new Uint8Array(0));
    reader.close();
    assert.deepEqual(files.read(path, 8), utf8("Jello\0\0\0"));
    assert.throws(() => files.read(path, 7), ofKind("io", path));
  });
});

test("writes of many megabytes arrive whole", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "big");
    const bytes = new Uint8Array(20_000_000);
    for (let i = 0; i < bytes.length; i += 1) bytes[i] = (i * 31) >>> 3;
    const file = files.openWrite(path, { create: true });
    await file.writeAt(bytes, 1);
    file.writeAtSync(bytes.subarray(0, 1000), bytes.length + 1);
    file.close();
    const back = files.read(path, 30_000_000);
    assert.equal(back.length, bytes.length + 1001);
    assert.equal(Buffer.compare(back.subarray(1, bytes.length + 1), bytes), 0);
  });
});

test("directories are made, listed, and their entries renamed and removed", async () => {
  await withDirectory(async (directory) => {
    const member = join(directory, "data", "member");
    files.makeDirectory(member, 0o700);
    files.makeDirectory(member, 0o700);
    assert.equal(statSync(member).mode & 0o777, 0o700);
    for (const name of ["b", "a", "d", "c"]) files.openWrite(join(member, name), { create: true }).close();
    assert.deepEqual(files.list(member), ["a", "b", "c", "d"]);
    files.rename(join(member, "c"), join(member, "a"));
    files.remove(join(member, "b"));
    files.remove(join(member, "b"));
    await files.removeAside(join(member, "d"));
    await files.removeAside(join(member, "d"));
    files.syncDirectory(member);
    assert.deepEqual(files.list(member), ["a"]);
    assert.equal(files.exists(join(member, "a")), true);
    assert.equal(files.exists(join(member, "b")), false);
  });
});

test("errors have their kind", async () => {
  await withDirectory(async (directory) => {
    const path = join(directory, "f");
    const missing = join(directory, "none", "f");
    files.openWrite(path, { create: true }).close();
    assert.throws(() => files.openWrite(path, { create: true }), ofKind("exists", path));
    assert.throws(() => files.openWrite(missing, { create: true }), ofKind("not found", missing));
    assert.throws(() => files.openWrite(missing, { create: false }), ofKind("not found", missing));
    assert.throws(() => files.openRead(missing), ofKind("not found", missing));
    assert.throws(() => files.read(missing, 1), ofKind("not found", missing));
    assert.throws(() => files.list(missing), ofKind("not found", missing));
    assert.throws(() => files.rename(missing, path), ofKind("not found", missing));
    await assert.rejects(files.removeAside(directory), ofKind("io", directory));
    assert.throws(() => files.syncDirectory(missing), ofKind("not found", missing));
    assert.throws(() => files.syncDirectory(path), ofKind("io", path));
    assert.throws(() => files.makeDirectory(join(path, "d"), 0o700), ofKind("io", join(path, "d")));
    const loop = join(directory, "loop");
    symlinkSync(loop, loop);
    assert.throws(() => files.openRead(loop), ofKind("io", loop));
    chmodSync(path, 0o400);
  });
});

test("a full disk is an error of its kind, both ways of writing", async () => {
  // Linux has a device that is always full.
  if (!files.exists("/dev/full")) return;
  const file = files.openWrite("/dev/full", { create: false });
  assert.throws(() => file.writeAtSync(utf8("x"), 0), ofKind("no space", "/dev/full"));
  await assert.rejects(file.writeAt(utf8("x"), 0), ofKind("no space", "/dev/full"));
  file.close();
});

test("writing to a descriptor that fails rejects and does not throw", async () => {
  await withDirectory(async (directory) => {
    const file = files.openWrite(join(directory, "f"), { create: true });
    file.close();
    await assert.rejects(file.writeAt(utf8("x"), 0), FileError);
    await assert.rejects(file.sync(), FileError);
    assert.throws(() => file.writeAtSync(utf8("x"), 0), FileError);
    assert.throws(() => file.syncNow(), FileError);
  });
});
