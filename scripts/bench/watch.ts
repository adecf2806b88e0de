/**
 * Watch workloads against a server that runs: `bun scripts/bench/watch.ts PORT fanout|idle|catchup|memory [COUNT]`.
 *
 * - fanout: 10,000 watchers of one key over 100 connections; delivered events per second.
 * - idle: puts per second while 10,000 watchers watch other keys.
 * - catchup: COUNT revisions are written, then read by one watcher of everything; events per second.
 * - memory: COUNT watchers of different keys over 1,000 streams; then it waits, for the server's size to be read.
 */
import process from "node:process";
import { create, toBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import { PutRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { eventEnds } from "../../src/mvcc/event_batch.ts";
import { GrpcClient } from "../../tests/harness/grpc_client.ts";
import { StreamClient, type WatchClient } from "../../tests/harness/grpc_stream.ts";

const CONNECTIONS = 100;
const WATCHERS_PER_STREAM = 100;
const PUT_CONNECTIONS = 10;
const PUTS_IN_FLIGHT = 100;

const [portText, workload, countText] = process.argv.slice(2);
const port = Number(portText);

function putRequest(key: string): Uint8Array {
  return toBinary(PutRequestSchema, create(PutRequestSchema, { key: utf8(key), value: new Uint8Array(64) }));
}

/** Events of a WatchResponse: the fields 11 at its end. */
function countEvents(message: Uint8Array): number {
  for (let at = 0; at < message.length;) {
    const tag = message[at]!;
    if (tag === 0x5a) {
      return message[at + 1]! + at + 2 === message.length ? 1 : eventEnds(message.subarray(at)).length;
    }
    at += 1;
    if ((tag & 7) === 2) at += message[at]! + 1; // Headers and texts are short.
    else while (message[at++]! > 127);
  }
  return 0;
}

/** `count` watchers on streams of their own connections; resolves when all are created. */
async function watchKeys(
  connections: number,
  perStream: number,
  keyOf: (n: number) => string,
): Promise<WatchClient[]> {
  const streams: WatchClient[] = [];
  for (let c = 0; c < connections; c += 1) {
    const watch = (await StreamClient.connect(port)).watch();
    streams.push(watch);
    for (let w = 0; w < perStream; w += 1) watch.create({ key: utf8(keyOf(c * perStream + w)) });
    for (let w = 0; w < perStream; w += 1) await watch.next();
  }
  return streams;
}

/** Puts `count` keys as fast as the server takes them; returns the seconds it took. */
async function putMany(
  count: number,
  keyOf: (n: number) => string,
  inFlight = PUTS_IN_FLIGHT,
): Promise<number> {
  const clients = await Promise.all(Array.from({ length: PUT_CONNECTIONS }, () => GrpcClient.connect(port)));
  let next = 0;
  const start = performance.now();
  await Promise.all(clients.flatMap((client) =>
    Array.from({ length: inFlight }, async () => {
      while (next < count) {
        const { status } = await client.unary("/etcdserverpb.KV/Put", putRequest(keyOf(next++)));
        if (status !== "OK") throw new Error(status);
      }
    })
  ));
  const seconds = (performance.now() - start) / 1000;
  await Promise.all(clients.map((client) => client.close()));
  return seconds;
}

async function fanout(puts: number): Promise<void> {
  const streams = await watchKeys(CONNECTIONS, WATCHERS_PER_STREAM, () => "hot");
  const expected = puts * CONNECTIONS * WATCHERS_PER_STREAM;
  let events = 0;
  let messages = 0;
  const done = new Promise<void>((resolve) => {
    for (const { stream } of streams) {
      stream.onMessage = (message) => {
        messages += 1;
        events += countEvents(message);
        if (events === expected) resolve();
      };
    }
  });
  const start = performance.now();
  const putting = await putMany(puts, () => "hot", 1);
  await done;
  const seconds = (performance.now() - start) / 1000;
  console.log(
    `fanout: ${Math.round(events / seconds)} events/s, ${messages} messages, puts took ${
      putting.toFixed(2)
    } s of ${seconds.toFixed(2)}`,
  );
}

async function idle(puts: number): Promise<void> {
  await watchKeys(CONNECTIONS, WATCHERS_PER_STREAM, (n) => `watched/${n}`);
  const seconds = await putMany(puts, (n) => `other/${n % 10_000}`);
  console.log(`idle: ${Math.round(puts / seconds)} puts/s with 10,000 watchers of other keys`);
}

async function catchup(count: number): Promise<void> {
  await putMany(count, (n) => `key/${n % 100_000}`);
  const watch = (await StreamClient.connect(port)).watch();
  watch.create({ key: utf8("key/"), rangeEnd: utf8("key0"), startRevision: 2n });
  let events = 0;
  const start = performance.now();
  await new Promise<void>((resolve) => {
    watch.stream.onMessage = (message) => {
      events += countEvents(message);
      if (events >= count) resolve();
    };
  });
  const seconds = (performance.now() - start) / 1000;
  console.log(`catchup: ${Math.round(events / seconds)} events/s (${events} in ${seconds.toFixed(2)} s)`);
}

async function memory(count: number): Promise<void> {
  const streams = 1000;
  const perConnection = streams / CONNECTIONS;
  const perStream = count / streams;
  for (let c = 0; c < CONNECTIONS; c += 1) {
    const client = await StreamClient.connect(port);
    for (let s = 0; s < perConnection; s += 1) {
      const watch = client.watch();
      const first = (c * perConnection + s) * perStream;
      for (let w = 0; w < perStream; w += 1) {
        watch.create({ key: utf8(`registry/pods/default/${first + w}`) });
      }
      for (let w = 0; w < perStream; w += 1) await watch.next();
    }
  }
  console.log("memory: created");
  await new Promise((resolve) => setTimeout(resolve, 20_000));
}

if (workload === "fanout") await fanout(Number(countText ?? 200));
else if (workload === "idle") await idle(Number(countText ?? 200_000));
else if (workload === "catchup") await catchup(Number(countText ?? 200_000));
else await memory(Number(countText ?? 1_000_000));
process.exit(0);
