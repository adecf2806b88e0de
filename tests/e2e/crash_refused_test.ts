/** Data directories that a server must not start on: it ends with one line that names what is wrong and what to do. */
import assert from "node:assert/strict";
import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { LmdbBackend } from "../../src/backend/lmdb_backend.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { utf8 } from "../../src/base/bytes.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { openWal } from "../../src/wal/wal.ts";
import { exitOf, spawnEtcd } from "../harness/crash_server.ts";
import { startEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";

const REFUSAL_MS = 60_000;
const KEYS = 40;
/** The member that the flags of the tests make. */
const MEMBER = 0x8e9e05c52164694dn;
const { files, clock } = await loadRuntime();

/** A data directory with some keys, made once: the cases work on copies. */
let prepared: Promise<string> | undefined;

async function prepare(): Promise<string> {
  const dataDir = mkdtempSync(`${tmpdir()}/etcd-refused-`);
  const server = await startEtcd({ dataDir });
  const client = await GrpcClient.connect(server.port);
  for (let i = 0; i < KEYS; i += 1) {
    const { status } = await client.call(KV.method.put, {
      key: utf8(`k${i}`),
      value: new Uint8Array(500).fill(i),
    });
    assert.equal(status, "OK");
  }
  await client.close();
  await server.stop();
  process.once("exit", () => rmSync(dataDir, { recursive: true }));
  return dataDir;
}

/** Runs `body` on a copy of the prepared data directory. */
async function onCopy(body: (dataDir: string) => Promise<void>): Promise<void> {
  prepared ??= prepare();
  const dataDir = mkdtempSync(`${tmpdir()}/etcd-refused-`);
  try {
    cpSync(await prepared, dataDir, { recursive: true });
    await body(dataDir);
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** Starts a server that is to end with status 1 and one line of level "fatal"; returns the line's text. */
async function refusal(dataDir: string, flags: readonly string[] = []): Promise<string> {
  const server = await spawnEtcd({ dataDir, flags });
  const exit = await exitOf(server, REFUSAL_MS);
  assert.equal(exit.code, 1, server.output);
  const lines = server.output.split("\n").filter((line) => line.includes('"level":"fatal"'));
  assert.equal(lines.length, 1, server.output);
  const { error, stacktrace } = JSON.parse(lines[0]!) as {
    readonly error: string;
    readonly stacktrace?: string;
  };
  assert.equal(stacktrace, undefined, "A refusal is no defect");
  return error;
}

async function refuses(dataDir: string, expected: RegExp, flags: readonly string[] = []): Promise<void> {
  assert.match(await refusal(dataDir, flags), expected);
}

const walOf = (dataDir: string): string => `${dataDir}/member/wal`;
const databaseOf = (dataDir: string): string => `${dataDir}/member/snap/db/data.mdb`;
const segmentsOf = (dataDir: string): string[] =>
  readdirSync(walOf(dataDir)).filter((name) => name.endsWith(".wal")).sort().map((name) =>
    `${walOf(dataDir)}/${name}`
  );

function flipBit(path: string, position: number): void {
  const descriptor = openSync(path, "r+");
  const byte = new Uint8Array(1);
  readSync(descriptor, byte, 0, 1, position);
  byte[0]! ^= 0x10;
  writeSync(descriptor, byte, 0, 1, position);
  closeSync(descriptor);
}

/** Overwrites the root page of the tree of buckets with zeros: a page that is in use for certain. */
function eraseRoot(path: string): void {
  const bytes = readFileSync(path);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const pageBytes = view.getUint32(48, true);
  // Of the two meta pages, the one of the later transaction is in effect.
  const isSecond = view.getBigUint64(pageBytes + 152, true) > view.getBigUint64(152, true);
  const root = Number(view.getBigUint64((isSecond ? pageBytes : 0) + 136, true));
  writeFileSync(path, bytes.fill(0, root * pageBytes, (root + 1) * pageBytes));
}

function withBackend(dataDir: string, edit: (backend: LmdbBackend) => void): Promise<void> {
  const backend = new LmdbBackend({
    directory: `${dataDir}/member/snap/db`,
    files,
    clock,
    onFatal: (error) => {
      throw error;
    },
  });
  edit(backend);
  return backend.close();
}

test("a data directory in use is refused", () =>
  onCopy(async (dataDir) => {
    const server = await startEtcd({ dataDir });
    try {
      await refuses(dataDir, new RegExp(`${dataDir} is in use by another process`));
      const client = await GrpcClient.connect(server.port);
      assert.equal((await client.call(KV.method.put, { key: utf8("k") })).status, "OK");
      await client.close();
    } finally {
      await server.stop();
    }
  }));

test("a log of another cluster is refused", () =>
  onCopy(async (dataDir) => {
    const other = mkdtempSync(`${tmpdir()}/etcd-refused-`);
    try {
      const server = await startEtcd({ dataDir: other, flags: ["--initial-cluster-token=other"] });
      const client = await GrpcClient.connect(server.port);
      // Longer than the log that it replaces.
      for (let i = 0; i <= KEYS; i += 1) await client.call(KV.method.put, { key: utf8("k") });
      await client.close();
      await server.stop();
      rmSync(walOf(dataDir), { recursive: true });
      cpSync(walOf(other), walOf(dataDir), { recursive: true });
    } finally {
      rmSync(other, { recursive: true });
    }
    await refuses(
      dataDir,
      /the log in .*wal is of member [0-9a-f]+ of cluster [0-9a-f]+, which the store does not know: the two do not belong/,
    );
  }));

test("a store that is ahead of its log is refused", () =>
  onCopy(async (dataDir) => {
    await withBackend(dataDir, (backend) => backend.endEntry(100_000, 2));
    await refuses(
      dataDir,
      /db has applied entry 100000, but the log in .*wal ends at \d+: .*do not belong together/,
    );
  }));

test("a store of a newer release is refused", () =>
  onCopy(async (dataDir) => {
    await withBackend(dataDir, (backend) => backend.put("meta", utf8("storageVersion"), utf8("3.8.0")));
    await refuses(dataDir, /member\/snap\/db.*3\.7\.\d+, does not read: version "3.8.0" is not supported/);
  }));

test("a damaged log is refused by file and offset", () =>
  onCopy(async (dataDir) => {
    const path = segmentsOf(dataDir)[0]!;
    // Within a value: a bit of a record's length or kind is another error.
    const damagedAt = readFileSync(path).indexOf(new Uint8Array(100).fill(20));
    flipBit(path, damagedAt);
    const offset = Number(/crc mismatch.* \(file (.*), offset (\d+)\)/.exec(await refusal(dataDir))?.[2]);
    // The offset is that of the record that has the bit.
    assert.ok(offset > damagedAt - 1_000 && offset <= damagedAt, `Offset ${offset}`);
    await refuses(dataDir, new RegExp(`file ${path}, offset ${offset}`));
    // Nothing was cut off: with the bit back in place all is well.
    flipBit(path, damagedAt);
    await (await startEtcd({ dataDir })).stop();
  }));

test("a log that lost a segment is refused", () =>
  onCopy(async (dataDir) => {
    await addSegments(dataDir, 3);
    const [, , third] = segmentsOf(dataDir);
    rmSync(third!);
    await refuses(dataDir, /wal: not found: segment 2 is missing \(file .*wal, offset 0\): restore/);
  }));

for (
  const [what, damage] of [
    ["truncated", (path: string) => truncateSync(path, 20_000)],
    ["truncated in its first page", (path: string) => truncateSync(path, 100)],
    ["overwritten", (path: string) => writeFileSync(path, readFileSync(path).fill(0x5a))],
    ["without one of its pages", (path: string) => eraseRoot(path)],
  ] as const
) {
  test(`a database that is ${what} is refused`, () =>
    onCopy(async (dataDir) => {
      damage(databaseOf(dataDir));
      await refuses(dataDir, new RegExp(`Cannot open the database ${databaseOf(dataDir)}`));
    }));
}

test("a store without its log is refused", () =>
  onCopy(async (dataDir) => {
    rmSync(walOf(dataDir), { recursive: true });
    await refuses(
      dataDir,
      /db has applied entry \d+, but there is no log in .*wal: restore .*or start with an empty/,
    );
  }));

test("a store that is missing is made again from a complete log", () =>
  onCopy(async (dataDir) => {
    rmSync(`${dataDir}/member/snap`, { recursive: true });
    const server = await startEtcd({ dataDir });
    const client = await GrpcClient.connect(server.port);
    const { response } = await client.call(KV.method.range, {
      key: Uint8Array.of(0),
      rangeEnd: Uint8Array.of(0),
      countOnly: true,
    });
    assert.equal(response?.count, BigInt(KEYS));
    await client.close();
    await server.stop();
  }));

test(
  "a log without its beginning is refused when the store is missing",
  () =>
    onCopy(async (dataDir) => {
      await addSegments(dataDir, 1);
      await (await startEtcd({ dataDir })).stop();
      await addSegments(dataDir, 1);
      const [first] = segmentsOf(dataDir);
      rmSync(first!);
      // The store is past the last snapshot record: nothing that it needs is missing.
      await (await startEtcd({ dataDir })).stop();
      rmSync(`${dataDir}/member/snap`, { recursive: true });
      await refuses(dataDir, /the store .*db is empty, but the log in .*wal begins at entry \d+: restore/);
    }),
);

/** Has the log go on in further segments, each with a snapshot record of what is in the store, as it does in time. */
async function addSegments(dataDir: string, count: number): Promise<void> {
  const before = segmentsOf(dataDir).length;
  const options = { segmentBytes: 512 };
  const { wal, hardState } = openWal(files, walOf(dataDir), { index: 0, term: 0 }, options);
  const confState = {
    voters: [MEMBER],
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  while (segmentsOf(dataDir).length < before + count) {
    await wal.saveSnapshot({ index: wal.lastIndex, term: hardState!.term, confState });
  }
  await wal.close();
}
