import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { KV, startEtcd } from "../../mod.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test("startEtcd() serves this process by its transport, without a socket", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-in-process-"));
  const etcd = await startEtcd({
    dataDir: join(directory, "data"),
    listenClientUrls: [],
    listenPeerUrls: [],
  });
  try {
    assert.deepEqual(etcd.clientAddresses, []);
    const kv = createClient(KV, etcd.transport);
    const { header } = await kv.put({ key: bytes("a"), value: bytes("1") });
    assert.equal(header?.revision, 2n);
    const { kvs, count } = await kv.range({ key: bytes("a") });
    assert.deepEqual([count, new TextDecoder().decode(kvs[0]!.value)], [1n, "1"]);
    await assert.rejects(
      kv.range({}),
      (error: unknown) =>
        error instanceof ConnectError && error.code === Code.InvalidArgument &&
        error.rawMessage === "etcdserver: key is not provided",
    );
    const messages = [];
    for await (const { rangeResponse } of kv.rangeStream({ key: bytes("a"), rangeEnd: bytes("b") })) {
      messages.push(rangeResponse);
    }
    assert.equal(messages.at(-1)?.count, 1n);
  } finally {
    await etcd.close();
    rmSync(directory, { recursive: true });
  }
});
