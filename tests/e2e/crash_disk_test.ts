/** A disk that fails or is full: the server says so, ends, has lost nothing, and starts again when the disk is well. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, statSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { exitOf, noStrace, onServer, skipUnless, spawnEtcd } from "../harness/crash_server.ts";
import type { EtcdProcess, ExitStatus } from "../harness/etcd_process.ts";
import { WriteHistory } from "../harness/write_history.ts";

const STREAMS = 4;
/** The server ends as soon as it knows; nearly all of the time is for a machine that is busy. */
const END_MS_MAX = 10_000;
const FAULT_MS_MAX = 60_000;
const LOG_FILE = "member/wal/0000000000000000-0000000000000000.wal";
const DATABASE_FILE = "member/snap/db/data.mdb";

interface Fault {
  readonly file: string;
  /** For strace; the calls before are those of the start. */
  readonly inject: string;
  /** Text of the fatal line. */
  readonly says: RegExp;
}

/** The log or the store may be the first to find no space; LMDB calls a write that was cut short an I/O error. */
const FULL =
  /(ENOSPC|No space left).*\.wal, offset \d+\)|Commit to .*data\.mdb failed: .*: \d+ bytes are free on its disk/;

const STORE_FULL = /"level":"error".*no space left for the database.*"path":".*data\.mdb"/;

/** Runtimes give the name of the error or its text. */
const IO_ERROR = /wal: broken: .*(EIO|Input\/output error).*\.wal, offset \d+\)/;

const faults: readonly Fault[] = [
  // Once: the next sync would succeed, and have saved nothing of what the failed one dropped.
  { file: LOG_FILE, inject: "fdatasync:error=EIO:when=8", says: IO_ERROR },
  { file: LOG_FILE, inject: "pwrite64:error=EIO:when=12+", says: IO_ERROR },
  {
    file: DATABASE_FILE,
    inject: "fdatasync:error=EIO:when=2",
    says: /Commit to .*data\.mdb failed: Input\/output error/,
  },
];

for (const { file, inject, says } of faults) {
  test(
    `the server ends when its disk fails: ${inject} of ${file}`,
    { skip: noStrace },
    () =>
      inDataDir(async (dataDir) => {
        const history = new WriteHistory({ seed: 1, streams: STREAMS });
        // The faults are for a data directory that is there already.
        await onServer({ dataDir }, () => {});
        const server = await spawnEtcd({ dataDir, inject: [inject], paths: [`${dataDir}/${file}`] });
        assert.equal((await writeUntilEnd(server, history)).code, 1);
        assert.match(fatalLine(server), says);
        await onServer({ dataDir }, ({ port }) => history.verify(port));
      }),
  );
}

/** Writes from all streams until the server ends, as it has to: with status 1, or by the C library, soon after its last answer. */
async function writeUntilEnd(server: EtcdProcess, history: WriteHistory): Promise<ExitStatus> {
  const load = server.ready().then(() => history.write(server.port), (error: unknown) => {
    if (server.alive) throw error;
  });
  const exit = await exitOf(server, FAULT_MS_MAX);
  const endedMs = performance.now();
  await load;
  assert.ok(exit.code === 1 || exit.signal === "SIGABRT", `${exit.code} ${exit.signal} ${server.output}`);
  assert.ok(history.acknowledged > 0, "The fault came before the first write");
  const tookMs = endedMs - history.lastAnswerMs;
  assert.ok(tookMs < END_MS_MAX, `The server ended ${tookMs} ms after its last answer`);
  return exit;
}

/** The text of the one line of level "fatal". LMDB's native side writes to the same output, and ends no line of ours. */
function fatalLine(server: EtcdProcess): string {
  const lines = server.output.match(/\{"level":"fatal".*\}/g) ?? [];
  assert.equal(lines.length, 1, server.output);
  return (JSON.parse(lines[0]!) as { readonly error: string }).error;
}

async function inDataDir(body: (dataDir: string) => Promise<void>): Promise<void> {
  const dataDir = mkdtempSync(`${tmpdir()}/etcd-disk-`);
  try {
    await body(dataDir);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

const noMount = skipUnless(["unshare", "--mount", "true"], "not allowed to mount a tmpfs");

test(
  "a full disk ends the server, and it starts again when there is space",
  { skip: noMount },
  () =>
    onDisk("6m", async (disk) => {
      const dataDir = `${disk}/d`;
      const history = new WriteHistory({ seed: 1, streams: STREAMS, valueBytesMax: 20_000 });
      const first = await spawnEtcd({ dataDir });
      assertSaysFull(first, await writeUntilEnd(first, history));
      const second = await spawnEtcd({ dataDir });
      assert.equal((await exitOf(second, FAULT_MS_MAX)).code, 1);
      // It may get as far as to the repair of the log, or to its first write.
      assert.match(fatalLine(second), new RegExp(`${disk}.*(ENOSPC|No space left|bytes are free)`));
      run("mount", "-o", "remount,size=64m", disk);
      await onServer({ dataDir }, ({ port }) => history.verify(port));
    }),
);

test(
  "a disk that is full for the store alone ends the server as well",
  { skip: noMount },
  () =>
    onDisk("3m", (disk) =>
      inDataDir(async (walParent) => {
        const dataDir = `${disk}/d`;
        const flags = [`--wal-dir=${walParent}/wal`];
        const history = new WriteHistory({ seed: 1, streams: STREAMS, valueBytesMax: 20_000 });
        const server = await spawnEtcd({ dataDir, flags });
        assertSaysFull(server, await writeUntilEnd(server, history));
        assert.match(server.output, STORE_FULL);
        run("mount", "-o", "remount,size=64m", disk);
        await onServer({ dataDir, flags }, ({ port }) => history.verify(port));
      })),
);

for (const freeBytes of [0, 16_384]) {
  test(
    `a new member needs more than ${freeBytes} bytes of its disk and says so`,
    { skip: noMount },
    () =>
      onDisk("8m", async (disk) => {
        const dataDir = `${disk}/d`;
        const empty = fill(disk, freeBytes);
        const server = await spawnEtcd({ dataDir });
        assert.equal((await exitOf(server, FAULT_MS_MAX)).code, 1, server.output);
        assert.match(fatalLine(server), new RegExp(`${dataDir}.*(full|make space|no space)`));
        empty();
        await onServer({ dataDir }, () => {});
      }),
  );
}

/** LMDB's native side may abort the process when it reports the error: the line before it has said why. */
function assertSaysFull(server: EtcdProcess, { code }: ExitStatus): void {
  if (code === 1) assert.match(fatalLine(server), FULL);
  else assert.match(server.output, STORE_FULL);
}

/** Runs `body` on a file system of its own, in memory. */
function onDisk(size: string, body: (disk: string) => Promise<void>): Promise<void> {
  return inDataDir(async (disk) => {
    run("mount", "-t", "tmpfs", "-o", `size=${size}`, "tmpfs", disk);
    try {
      await body(disk);
    } finally {
      run("umount", disk);
    }
  });
}

/** Takes all space of a file system but some; returns what gives it back. */
function fill(disk: string, freeBytes: number): () => void {
  const path = `${disk}/filler`;
  spawnSync("dd", ["if=/dev/zero", `of=${path}`, "bs=64k"], { stdio: "ignore" });
  truncateSync(path, statSync(path).size - freeBytes);
  return () => rmSync(path);
}

function run(...command: readonly string[]): void {
  const { status, stderr } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  assert.equal(status, 0, stderr);
}
