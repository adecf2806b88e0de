/**
 * Work that one process at a time does, by a lock that ends with its lease: two workers in this process,
 * and the etcd that keeps order among them.
 *
 *     node examples/node.ts [data directory]
 */
import process from "node:process";
import { createClient } from "@connectrpc/connect";
import { KV, Lease, Lock, startEtcd } from "../mod.ts";

const etcd = await startEtcd({
  dataDir: process.argv[2] ?? "example.etcd",
  listenClientUrls: [],
  listenPeerUrls: [],
});
const kv = createClient(KV, etcd.transport);
const leases = createClient(Lease, etcd.transport);
const locks = createClient(Lock, etcd.transport);
const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

async function work(name: string): Promise<void> {
  const { ID: lease } = await leases.leaseGrant({ TTL: 5n });
  const { key } = await locks.lock({ name: bytes("jobs"), lease });
  const { kvs: [done] } = await kv.range({ key: bytes("done") });
  const before = done === undefined ? 0 : Number(text(done.value));
  await kv.put({ key: bytes("done"), value: bytes(String(before + 1)) });
  console.log(`${name} did job ${before + 1}`);
  await locks.unlock({ key });
  await leases.leaseRevoke({ ID: lease });
}

try {
  await Promise.all([work("first"), work("second")]);
} finally {
  await etcd.close();
}
