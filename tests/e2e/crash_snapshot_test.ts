import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { KV, RangeResponseSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";

import { onServer, sleep } from "../harness/crash_server.ts";
import { GrpcClient } from "../harness/grpc_client.ts";

/** Each has two versions. */
const KEYS = 24;
const VALUES = 2 * KEYS;
/** More of it than sockets take in ahead of a client that reads nothing. */
const VALUE_BYTES = 1_000_000;

/** Asks for a snapshot, takes its beginning and then no more. */
function beginSnapshot(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.write(
        "POST /v3/maintenance/snapshot HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}",
      );
    });
    socket.once("data", () => {
      socket.pause();
      resolve(socket);
    });
    socket.on("error", reject);
  });
}

function wholeSnapshot(port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = {
      host: "127.0.0.1",
      port,
      path: "/v3/maintenance/snapshot",
      method: "POST",
      agent: false,
    };
    const call = request(options, (response) => {
      const chunks: string[] = [];
      response.setEncoding("utf8").on("data", (text: string) => chunks.push(text));
      response.on("end", () => resolve(chunks.join("")));
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end("{}");
  });
}

test(
  "a kill amid a snapshot, with a compaction that waits for it, loses nothing",
  { timeout: 90_000 },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), "etcd-crash-"));
    const dataDir = join(directory, "data");
    const value = new Uint8Array(VALUE_BYTES);
    try {
      await onServer({ dataDir }, async (server) => {
        const client = await GrpcClient.connect(server.port);
        for (let i = 0; i < VALUES; i += 1) {
          await client.call(KV.method.put, { key: utf8(`key ${i % KEYS}`), value: value.fill(i) });
        }
        const snapshot = await beginSnapshot(server.port);
        const { status } = await client.call(KV.method.compact, { revision: BigInt(VALUES) });
        assert.equal(status, "OK");
        const last = await client.call(KV.method.put, { key: utf8("last"), value: utf8("x") });
        assert.equal(last.status, "OK");
        await sleep(200);
        await server.stop("SIGKILL");
        snapshot.destroy();
        await client.close();
      });
      await onServer({ dataDir }, async (server) => {
        const client = await GrpcClient.connect(server.port);
        const { messages } = await client.call(KV.method.range, {
          key: utf8("key "),
          rangeEnd: utf8("m"),
        });
        const { kvs, header } = fromBinary(RangeResponseSchema, messages[0]!);
        assert.equal(header?.revision, BigInt(VALUES + 2));
        assert.equal(textOf(kvs.pop()!.value), "x");
        for (const { key, value } of kvs) {
          const newest = Number(textOf(key).slice(4)) + KEYS;
          assert.deepEqual([value.length, value[0], value.at(-1)], [VALUE_BYTES, newest, newest]);
        }
        assert.equal(kvs.length, KEYS);
        // The compaction that waited goes on by itself, and a snapshot is whole again.
        const compacted = await client.call(KV.method.compact, {
          revision: BigInt(VALUES + 1),
          physical: true,
        });
        assert.equal(compacted.status, "OK");
        const lines = (await wholeSnapshot(server.port)).trim().split("\n");
        assert.ok(lines.every((line) => line.startsWith('{"result":')));
        assert.equal(JSON.parse(lines.at(-2)!).result.remaining_bytes, undefined); // Nothing: the hash comes next.
        assert.equal(atob(JSON.parse(lines.at(-1)!).result.blob).length, 32);
        await client.close();
        assert.equal((await server.stop()).signal, "SIGTERM");
      });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
);
