import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { utf8 } from "../../src/base/bytes.ts";
import { WatchRequestSchema } from "../../src/gen/etcdserverpb/watch_pb.ts";
import type { StreamCall, StreamMethod } from "../../src/grpc/method.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { noLeases } from "../../src/mvcc/key_leases.ts";
import { Store } from "../../src/mvcc/store.ts";
import { WatchHub } from "../../src/mvcc/watch_hub.ts";
import type { EtcdServer } from "../../src/server/server.ts";
import { HeaderEncoder } from "../../src/services/header.ts";
import { watchMethods } from "../../src/services/watch.ts";

const PER_STREAM_MAX = 100_000;

interface Answer {
  readonly watchId: number | bigint;
  readonly canceled?: boolean;
  readonly cancelReason?: string;
}

test("a stream has 100,000 watchers at most, a connection 500,000, and may replace them", () => {
  const backend = new MemoryBackend();
  const store = new Store({ backend, index: new ArenaKeyIndex(new Uint8Array(8)), leases: noLeases });
  const server = {
    store,
    term: 2,
    config: { maxRequestBytes: 1_572_864, watchProgressNotifyMs: 600_000 },
    watchHub: new WatchHub(store, () => {}),
  } as unknown as EtcdServer;
  const [method] = watchMethods(server, new HeaderEncoder(1n, 1n)) as [StreamMethod<unknown, unknown>];
  const open = (peer: object) => {
    const state = { last: undefined as Answer | undefined };
    const call = {
      context: { peer },
      writable: true,
      ended: false,
      send: (reply: Answer) => void (state.last = { ...reply }),
    } as unknown as StreamCall<unknown>;
    return { state, consumer: method.open(call) };
  };
  const createRequest = create(WatchRequestSchema, {
    requestUnion: { case: "createRequest", value: { key: utf8("k") } },
  });
  const connection = {};
  const streams = Array.from({ length: 5 }, () => open(connection));
  const answerOf = ({ state, consumer }: ReturnType<typeof open>): Answer | undefined => {
    consumer.onMessage(createRequest);
    return state.last;
  };
  const isRefused = (stream: ReturnType<typeof open>): void => {
    const { watchId, cancelReason } = answerOf(stream)!;
    assert.deepEqual([watchId, cancelReason], [-1, "etcdserver: too many watchers"]);
  };
  for (const stream of streams.slice(0, 4)) {
    for (let i = 0; i < PER_STREAM_MAX; i += 1) stream.consumer.onMessage(createRequest);
    assert.equal(stream.state.last?.watchId, PER_STREAM_MAX - 1);
    isRefused(stream);
  }
  const [first, last] = [streams[0]!, streams[4]!];
  const another = open(connection);
  assert.equal(answerOf(another)?.watchId, 0);
  for (let i = 1; i < PER_STREAM_MAX; i += 1) last.consumer.onMessage(createRequest);
  isRefused(last);
  isRefused(another);
  const stranger = open({});
  assert.equal(answerOf(stranger)?.watchId, 0);
  // Who cancels a watcher, or closes a stream, has room again.
  first.consumer.onMessage(
    create(WatchRequestSchema, { requestUnion: { case: "cancelRequest", value: { watchId: 3n } } }),
  );
  assert.equal(answerOf(another)?.watchId, 1);
  isRefused(another);
  first.consumer.onClose(undefined);
  assert.equal(answerOf(another)?.watchId, 2);
  for (const { consumer } of [...streams.slice(1), another, stranger]) consumer.onClose(undefined);
});
