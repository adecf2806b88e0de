/**
 * A page's live view of the store: changes as server-sent events, from an etcd in this very process that
 * others reach on a port of its own as well.
 *
 *     deno run -A examples/deno.ts [data directory]
 *     curl -N localhost:3000 &  etcdctl --endpoints localhost:12379 put greeting hello
 */
import { createClient } from "@connectrpc/connect";
import { startEtcd, Watch } from "../mod.ts";

const etcd = await startEtcd({
  dataDir: Deno.args[0] ?? "example.etcd",
  listenClientUrls: [Deno.env.get("CLIENT_URL") ?? "http://127.0.0.1:12379"],
  listenPeerUrls: [],
});
const watch = createClient(Watch, etcd.transport);
/** Ends the pages' views, which would not end by themselves. */
const closing = new AbortController();
const everyKey = { key: new Uint8Array(1), rangeEnd: new Uint8Array(1) };

/** Every change from now on, a line each, until `signal`. */
async function* changes(signal: AbortSignal): AsyncGenerator<string> {
  async function* requests() {
    yield { requestUnion: { case: "createRequest", value: everyKey } } as const;
    await new Promise((resolve) => signal.addEventListener("abort", resolve)); // The call stays open.
  }
  for await (const { events, created } of watch.watch(requests(), { signal })) {
    if (created) yield ": watching\n\n";
    for (const { kv } of events) {
      const [key, value] = [kv!.key, kv!.value].map((bytes) => new TextDecoder().decode(bytes));
      yield `data: ${key}=${value} at ${kv!.modRevision}\n\n`;
    }
  }
}

const server = Deno.serve({
  port: Number(Deno.env.get("PORT") ?? 3000),
  hostname: "127.0.0.1",
  onListen: ({ port }) =>
    console.log(`serving on http://127.0.0.1:${port}/, etcd on ${etcd.clientAddresses}`),
}, (request) => {
  const signal = AbortSignal.any([request.signal, closing.signal]);
  const body = ReadableStream.from(changes(signal)).pipeThrough(new TextEncoderStream());
  return new Response(body, { headers: { "content-type": "text/event-stream" } });
});

Deno.addSignalListener("SIGTERM", async () => {
  closing.abort();
  await server.shutdown();
  await etcd.close();
  console.log("closed");
  Deno.exit();
});
