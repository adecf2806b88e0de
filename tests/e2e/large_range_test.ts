/** Ranges far larger than any buffer, read slowly while everything changes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import {
  KV,
  RangeRequestSchema,
  type RangeResponse,
  RangeResponseSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import { startEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { type GrpcStream, StreamClient } from "../harness/grpc_stream.ts";
import { postJson } from "../harness/json_client.ts";

const KEYS = 4_000;
const KEYS_PER_TXN = 100;
const VALUE_BYTES = 1_000;
const RANGE = "/etcdserverpb.KV/Range";

function keyOf(i: number): Uint8Array {
  return utf8(`large/${String(i).padStart(6, "0")}`);
}

/** The value that a key has in a round. */
function valueOf(i: number, round: number): Uint8Array {
  return new Uint8Array(VALUE_BYTES + (i * 31 + round) % 500).fill((i + round) % 256);
}

/** Puts every key; returns the revision after it. */
async function putAll(client: GrpcClient, round: number, onTxn: () => void): Promise<bigint> {
  let revision = 0n;
  for (let first = 0; first < KEYS; first += KEYS_PER_TXN) {
    const success = Array.from({ length: KEYS_PER_TXN }, (_, i) => ({
      request: {
        case: "requestPut" as const,
        value: { key: keyOf(first + i), value: valueOf(first + i, round) },
      },
    }));
    const { response, message } = await client.call(KV.method.txn, { success });
    assert.ok(response !== undefined, message);
    revision = response.header!.revision;
    onTxn();
  }
  return revision;
}

function openRange(client: StreamClient): GrpcStream {
  const stream = client.open(RANGE);
  const request = create(RangeRequestSchema, { key: utf8("large/"), rangeEnd: utf8("large0") });
  stream.pause();
  stream.send(toBinary(RangeRequestSchema, request));
  stream.halfClose();
  return stream;
}

function check(response: RangeResponse, revision: bigint): void {
  assert.equal(response.header!.revision, revision);
  assert.equal(response.count, BigInt(KEYS));
  assert.equal(response.more, false);
  assert.equal(response.kvs.length, KEYS);
  for (const [i, { key, value, modRevision, createRevision, version }] of response.kvs.entries()) {
    assert.deepEqual(key, keyOf(i));
    assert.deepEqual(value, valueOf(i, 1));
    assert.equal(modRevision, revision - BigInt(Math.floor((KEYS - 1 - i) / KEYS_PER_TXN)));
    assert.equal(createRevision, modRevision);
    assert.equal(version, 1n);
  }
}

test("Range gives a slow client its revision while keys change, are deleted and compacted", async () => {
  const etcd = await startEtcd({ flags: ["--quota-backend-bytes=2147483648"] });
  const client = await GrpcClient.connect(etcd.port);
  const readers = await Promise.all(Array.from({ length: 3 }, () => StreamClient.connect(etcd.port)));
  try {
    const revision = await putAll(client, 1, () => {});
    // Two read nothing but what fits into the first window, one some more now and then.
    const [idle, slow, leaving] = readers.map(openRange) as [GrpcStream, GrpcStream, GrpcStream];
    const last = await putAll(client, 2, () => {
      slow.resume();
      slow.pause();
    });
    leaving.cancel();
    await client.call(KV.method.deleteRange, { key: utf8("large/"), rangeEnd: utf8("large/002") });
    // A physical compaction is done when all is gone from the disk. It does not wait for the readers.
    const compacted = await client.call(KV.method.compact, { revision: last, physical: true });
    assert.equal(compacted.status, "OK");
    const late = await client.call(KV.method.range, { key: utf8("large/"), revision });
    assert.equal(late.status, "OutOfRange");
    await putAll(client, 3, () => {
      slow.resume();
      slow.pause();
    });
    for (const stream of [slow, idle]) {
      stream.resume();
      check(fromBinary(RangeResponseSchema, await stream.next()), revision);
      assert.equal(await stream.ended(), "OK");
    }
    assert.equal(await leaving.ended(), "reset 8");
  } finally {
    await Promise.all([client, ...readers].map((each) => each.close()));
    await etcd.stop();
  }
});

test("Range answers eight large calls on one connection", async () => {
  const etcd = await startEtcd();
  const client = await GrpcClient.connect(etcd.port);
  try {
    const revision = await putAll(client, 1, () => {});
    const request = { key: utf8("large/"), rangeEnd: utf8("large0") };
    const calls = Array.from({ length: 8 }, () => client.call(KV.method.range, request));
    for (const { status, response } of await Promise.all(calls)) {
      assert.equal(status, "OK");
      check(response!, revision);
    }
  } finally {
    await client.close();
    await etcd.stop();
  }
});

test("the JSON gateway answers with a large range whole", async () => {
  const etcd = await startEtcd();
  const client = await GrpcClient.connect(etcd.port);
  try {
    const revision = await putAll(client, 1, () => {});
    const body = JSON.stringify({ key: btoa("large/"), range_end: btoa("large0") });
    const replies = await Promise.all([1, 2, 3].map(() => postJson(etcd.port, "/v3/kv/range", body)));
    for (const { status, body } of replies) {
      assert.equal(status, 200);
      const { header, kvs, count } = JSON.parse(body);
      assert.equal(header.revision, String(revision));
      assert.equal(count, String(KEYS));
      assert.equal(kvs.length, KEYS);
      for (const [i, { key, value, version }] of kvs.entries()) {
        assert.equal(key, base64(keyOf(i)));
        assert.equal(value, base64(valueOf(i, 1)));
        assert.equal(version, "1");
      }
    }
  } finally {
    await client.close();
    await etcd.stop();
  }
});

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}
