/** Snapshots of ours in the hands of etcd's own tools, and files of the etcd in Go in ours. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { concatBytes, textOf, utf8 } from "../../src/base/bytes.ts";
import { crc32c } from "../../src/base/crc32c.ts";
import { Prng } from "../../src/base/prng.ts";
import { decodeKeyValue } from "../../src/gen/codec/mvccpb/kv_codec.ts";
import { KV, type RequestOpSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { Lease } from "../../src/gen/etcdserverpb/lease_pb.ts";
import { Maintenance, SnapshotResponseSchema } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import type { ReadableFile } from "../../src/ports/files.ts";
import { BoltReader } from "../../src/snap/bolt_reader.ts";
import {
  type EtcdProcess,
  findGoEtcd,
  findGoEtcds,
  findProgram,
  startEtcd,
  startGoEtcd,
} from "../harness/etcd_process.ts";
import { GrpcClient, NOTHING } from "../harness/grpc_client.ts";
import { fileOf } from "../snap/support.ts";

const KEYS = 20_000;
/** etcd's bound on the operations of a transaction. */
const TXN_OPS = 128;
const COMPACTED = 90;
/** Key and value of one request have this each, and a request 1.5 MiB at most. */
const LARGE_BYTES_MAX = 700_000;
const HASHED_REVISIONS = 5;
/** Snapshots taken while writes go on. */
const ROUNDS = 3;
const BLOB_BYTES = 32 * 1024;
const COUNT = utf8("count");

type Operation = MessageInitShape<typeof RequestOpSchema>;

const goEtcd = findGoEtcd();
const etcdctl = findProgram("etcdctl");
/** The etcdctl of 3.4 restores; later ones leave that to etcdutl. */
const restorer = findProgram("etcdutl") ?? etcdctl;
const skip = reasonToSkip();
/** Bun's own is 5 s, and servers are started here. */
const timeout = 300_000;

test(
  "a snapshot, restored by etcd's own tool, starts every etcd in Go that there is, with the same data",
  { skip, timeout },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "snapshot-"));
    const ours = await startEtcd();
    let go: EtcdProcess | undefined;
    try {
      const last = await withClient(ours, fill);
      const snapshot = join(directory, "snapshot.db");
      run(etcdctl!, [`--endpoints=${ours.endpoint}`, "snapshot", "save", snapshot]);
      assert.equal(statSync(snapshot).size % 4096, 32);
      const status = JSON.parse(run(restorer!, ["snapshot", "status", snapshot, "--write-out=json"]));
      assert.equal(status.revision, last);
      assert.equal(status.totalSize, statSync(snapshot).size - 32);
      for (const etcd of findGoEtcds()) {
        const dataDir = join(directory, etcd.version);
        run(restorer!, [
          "snapshot",
          "restore",
          snapshot,
          `--data-dir=${dataDir}`,
          "--name=default",
          "--initial-cluster=default=http://localhost:2380",
          "--initial-advertise-peer-urls=http://localhost:2380",
        ]);
        go = await startGoEtcd(etcd, { dataDir });
        assert.deepEqual(await withClient(go, contents), await withClient(ours, contents), etcd.version);
        await go.stop();
      }
    } finally {
      await go?.stop();
      await ours.stop();
      rmSync(directory, { recursive: true });
    }
  },
);

test("BoltReader reads the database and the snapshot of an etcd in Go", { skip, timeout }, async () => {
  const directory = mkdtempSync(join(tmpdir(), "snapshot-"));
  const go = await startGoEtcd(goEtcd!, { dataDir: join(directory, "data") });
  try {
    const last = await withClient(go, fill);
    const expected = await withClient(go, (client) => hashKv(client, last));
    const snapshot = join(directory, "snapshot.db");
    run(etcdctl!, [`--endpoints=${go.endpoint}`, "snapshot", "save", snapshot]);
    assert.deepEqual(hashOfFile(fileOf(readFileSync(snapshot))), expected);
    await go.stop();
    assert.deepEqual(hashOfFile(fileOf(readFileSync(join(directory, "data/member/snap/db")))), expected);
  } finally {
    await go.stop();
    rmSync(directory, { recursive: true });
  }
});

test("Snapshot is the state between two entries while puts and compactions go on", { timeout }, async () => {
  const ours = await startEtcd();
  try {
    await withClient(ours, async (client) => {
      await fill(client);
      const writes = await writeOn(ours);
      const offsets: number[] = [];
      for (let round = 0; round < ROUNDS; round += 1) {
        const { status, messages } = await client.unary("/etcdserverpb.Maintenance/Snapshot", NOTHING);
        assert.equal(status, "OK");
        offsets.push(entriesBeside(fileOf(checkMessages(messages))));
      }
      assert.ok(await writes.stop() > ROUNDS, "no puts went on");
      // The index in the file is that of the last put in the file, in each round.
      assert.deepEqual(offsets, offsets.map(() => offsets[0]));
    });
  } finally {
    await ours.stop();
  }
});

/** Puts "count", the number of the put as its value, again and again, and compacts after every tenth. */
async function writeOn(server: EtcdProcess): Promise<{ stop(): Promise<number> }> {
  const client = await GrpcClient.connect(server.port);
  let isOver = false;
  const done = (async () => {
    let count = 0;
    while (!isOver) {
      count += 1;
      const { response } = await client.call(KV.method.put, { key: COUNT, value: utf8(String(count)) });
      if (count % 10 !== 0) continue;
      await client.call(KV.method.compact, { revision: response!.header!.revision - 5n });
    }
    await client.close();
    return count;
  })();
  return {
    stop() {
      isOver = true;
      return done;
    },
  };
}

/** Checks what the messages of a snapshot say of themselves and each other; returns the file in them. */
function checkMessages(messages: readonly Uint8Array[]): Uint8Array {
  const replies = messages.map((message) => fromBinary(SnapshotResponseSchema, message));
  const blobs = replies.map(({ blob }) => blob);
  const file = concatBytes(blobs.slice(0, -1));
  assert.deepEqual(blobs.at(-1), new Uint8Array(createHash("sha256").update(file).digest()));
  let remaining = file.length;
  for (const [i, { remainingBytes, blob, version, header }] of replies.entries()) {
    remaining -= i < replies.length - 1 ? blob.length : 0;
    assert.equal(remainingBytes, BigInt(remaining));
    assert.ok(blob.length === BLOB_BYTES || i >= replies.length - 2, `message ${i} has ${blob.length} bytes`);
    assert.equal(version, "3.7.0");
    assert.equal(header, undefined);
  }
  return file;
}

/** Entries up to the last put of "count" in the file that were neither such puts nor compactions after them. */
function entriesBeside(file: ReadableFile): number {
  const reader = new BoltReader(file, "snapshot");
  const meta = new Map([...reader.records("meta")].map(({ key, value }) => [textOf(key), value]));
  const compacted = mainOf(meta.get("scheduledCompactRev")!);
  let last = compacted;
  let count = 0;
  for (const { key, value } of reader.records("key")) {
    if (mainOf(key) <= compacted) continue;
    // Every revision after the compacted one is there; those of transactions have several records.
    assert.ok(mainOf(key) === last + 1 || mainOf(key) === last, `${mainOf(key)} after ${last}`);
    last = mainOf(key);
    const kv = decodeKeyValue(value, 0, value.length);
    if (textOf(kv.key) === "count") count = Number(textOf(kv.value));
  }
  // The compaction after a tenth put is in the file when it is known there.
  const isCompacted = count % 10 !== 0 || count === 0 || compacted === last - 5;
  const compactions = Math.floor(count / 10) - (isCompacted ? 0 : 1);
  return Number(viewOf(meta.get("consistent_index")!).getBigUint64(0)) - count - compactions;
}

/** Writes all kinds of things; returns the revision of the last. */
async function fill(client: GrpcClient): Promise<number> {
  const prng = new Prng(1);
  for (let first = 0; first < KEYS; first += TXN_OPS) {
    const keys = Array.from({ length: Math.min(TXN_OPS, KEYS - first) }, (_, i) => first + i);
    await txn(client, keys.map((key) => put(`key ${key}`, "v".repeat(prng.below(300)))));
  }
  const lease = await client.call(Lease.method.leaseGrant, { ID: 7n, TTL: 10_000n });
  assert.equal(lease.status, "OK");
  for (let bytes = 2000; bytes < LARGE_BYTES_MAX; bytes = Math.ceil(bytes * 1.7)) {
    await txn(client, [put(`large ${bytes}`, "x".repeat(bytes)), put("k".repeat(bytes), "")]);
  }
  const end = utf8("key 3");
  await txn(client, [deleteRange("key 2", end), put("key with lease", "l", 7n)]);
  await client.call(KV.method.compact, { revision: BigInt(COMPACTED), physical: true });
  for (let i = 0; i < 50; i += 1) {
    await txn(client, [put(`key ${prng.below(KEYS)}`, "again"), deleteRange(`key 1${i}`, new Uint8Array(0))]);
  }
  const { response } = await client.call(KV.method.range, { key: utf8("a"), countOnly: true });
  return Number(response!.header!.revision);
}

function put(key: string, value: string, lease = 0n): Operation {
  return { request: { case: "requestPut", value: { key: utf8(key), value: utf8(value), lease } } };
}

function deleteRange(key: string, rangeEnd: Uint8Array): Operation {
  return { request: { case: "requestDeleteRange", value: { key: utf8(key), rangeEnd } } };
}

async function txn(client: GrpcClient, success: Operation[]): Promise<void> {
  const { status, message } = await client.call(KV.method.txn, { success });
  assert.equal(status, "OK", message);
}

/** Every key and value, and hashes at some revisions. */
async function contents(client: GrpcClient): Promise<unknown> {
  const all = { key: new Uint8Array(1), rangeEnd: new Uint8Array(1) };
  const { response } = await client.call(KV.method.range, all);
  const { kvs, count, header } = response!;
  const last = Number(header!.revision);
  const digest = createHash("sha256");
  for (const kv of kvs) {
    digest.update(`${kv.createRevision} ${kv.modRevision} ${kv.version} ${kv.lease} ${kv.key.length} `);
    digest.update(kv.key).update(kv.value);
  }
  const hashes = [];
  for (let i = 0; i < HASHED_REVISIONS; i += 1) {
    hashes.push(
      await hashKv(client, Math.round(COMPACTED + 1 + i * (last - COMPACTED - 1) / (HASHED_REVISIONS - 1))),
    );
  }
  const leases = await client.call(Lease.method.leaseLeases, {});
  return {
    last,
    count,
    digest: digest.digest("hex"),
    hashes,
    leases: leases.response!.leases.map(({ ID }) => ID),
  };
}

async function hashKv(
  client: GrpcClient,
  revision: number,
): Promise<{ hash: number; compactRevision: bigint }> {
  const { response } = await client.call(Maintenance.method.hashKV, { revision: BigInt(revision) });
  const { hash, compactRevision } = response!;
  return { hash, compactRevision };
}

/** What `HashKV` answers at the last revision, from the file. */
function hashOfFile(file: ReadableFile): { readonly hash: number; readonly compactRevision: bigint } {
  const reader = new BoltReader(file, "db");
  assert.equal([...reader.records("lease")].length, 1);
  const records = [...reader.records("key")];
  // Of what compaction has left, only what nothing has replaced since counts.
  const newest = new Map<string, number>();
  for (const [i, { value }] of records.entries()) {
    newest.set(textOf(decodeKeyValue(value, 0, value.length).key), i);
  }
  let crc = crc32c(utf8("key"), 0, 3, 0);
  for (const [i, { key, value }] of records.entries()) {
    const { key: name } = decodeKeyValue(value, 0, value.length);
    if (mainOf(key) <= COMPACTED && newest.get(textOf(name)) !== i) continue;
    crc = crc32c(value, 0, value.length, crc32c(key, 0, key.length, crc));
  }
  return { hash: crc, compactRevision: BigInt(COMPACTED) };
}

/** Main revision of a key in bucket "key". */
function mainOf(key: Uint8Array): number {
  return Number(viewOf(key).getBigUint64(0));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

async function withClient<T>(server: EtcdProcess, use: (client: GrpcClient) => Promise<T>): Promise<T> {
  const client = await GrpcClient.connect(server.port);
  try {
    return await use(client);
  } finally {
    await client.close();
  }
}

/** Runs a command to its end; returns what it printed. */
function run(command: string, args: readonly string[]): string {
  const env = { ...process.env, ETCDCTL_API: "3" };
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8", env });
  assert.equal(status, 0, `${command} ${args.join(" ")}: ${error ?? ""}${stderr}`);
  return stdout;
}

function reasonToSkip(): string | false {
  if (etcdctl === undefined || restorer === undefined) return "there is no etcdctl on this machine";
  return goEtcd === undefined ? "there is no Go etcd on this machine" : false;
}
