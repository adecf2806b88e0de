/**
 * A key-value store over HTTP whose data an etcd in this very process keeps: no socket in between.
 *
 *     bun run examples/bun.ts [data directory]
 *     curl -X PUT localhost:3000/greeting -d hello; curl localhost:3000/greeting
 */
import { createClient } from "@connectrpc/connect";
import { KV, startEtcd } from "../mod.ts";

const etcd = await startEtcd({
  dataDir: process.argv[2] ?? "example.etcd",
  listenClientUrls: [],
  listenPeerUrls: [],
});
const kv = createClient(KV, etcd.transport);

const server = Bun.serve({
  port: Number(process.env["PORT"] ?? 3000),
  hostname: "127.0.0.1",
  async fetch(request) {
    const key = new TextEncoder().encode(new URL(request.url).pathname.slice(1));
    if (request.method === "PUT") {
      const { header } = await kv.put({ key, value: await request.bytes() });
      return new Response(`revision ${header?.revision}\n`);
    }
    const { kvs: [found] } = await kv.range({ key });
    return found === undefined ? new Response("not found\n", { status: 404 }) : new Response(found.value);
  },
});
console.log(`serving on ${server.url.href}`);

process.once("SIGTERM", async () => {
  await server.stop();
  await etcd.close();
  console.log("closed");
});
