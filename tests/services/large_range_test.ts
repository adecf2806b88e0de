import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import {
  RangeRequestSchema,
  type RangeResponse,
  RangeResponseSchema,
  RangeStreamResponseSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import { gatherReply, LongReply } from "../../src/grpc/long_reply.ts";
import type { StreamCall } from "../../src/grpc/method.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { noLeases } from "../../src/mvcc/key_leases.ts";
import { decodeKeyValue } from "../../src/gen/codec/mvccpb/kv_codec.ts";
import { type RangeOptions, sortOrder, sortTarget } from "../../src/mvcc/range.ts";
import { Store } from "../../src/mvcc/store.ts";
import type { RangeOutcome } from "../../src/mvcc/txn_eval.ts";
import type { EtcdServer } from "../../src/server/server.ts";
import { LargeRange } from "../../src/services/large_range.ts";
import { RANGE_WORK_PER_TURN, type RangeEnvelope } from "../../src/services/range_fields.ts";
import { encodeRangePiece, type RangePiece, RangeStream } from "../../src/services/range_stream.ts";
import { TurnBudget } from "../../src/services/turn_budget.ts";

const KEYS = 3_000;
const VALUE_BYTES = 500;
const ALL: RangeOptions = { key: utf8("key "), rangeEnd: utf8("key!") };

const encode = (init: { more?: boolean; count?: bigint; revision?: number }): Uint8Array => {
  const { revision, ...fields } = init;
  const header = revision === undefined ? {} : { header: { revision: BigInt(revision) } };
  return toBinary(RangeResponseSchema, create(RangeResponseSchema, { ...fields, ...header }));
};
const envelope: RangeEnvelope = {
  head: (revision) => encode({ revision }),
  tail: (more, count) => encode({ more, count: BigInt(count) }),
};

/** Counts what is read in a turn. */
class CountingBackend extends MemoryBackend {
  reads = 0;

  override viewRevision(main: number, sub: number): Uint8Array | undefined {
    this.reads += 1;
    return super.viewRevision(main, sub);
  }
}

/** A store of many keys, and turns run by hand. */
class Fixture {
  readonly backend = new CountingBackend();
  readonly store = new Store({
    backend: this.backend,
    index: new ArenaKeyIndex(new Uint8Array(8)),
    leases: noLeases,
  });
  readonly budget = new TurnBudget(RANGE_WORK_PER_TURN, {
    soon: (run) => void this.#turns.push(run),
    afterSockets: (run) => void this.#turns.push(run),
  });
  readsMost = 0;
  #turns: (() => void)[] = [];

  constructor() {
    for (let i = 0; i < KEYS; i += 1) this.put(i, i % 7 === 0 ? 3 * VALUE_BYTES : VALUE_BYTES, 1);
    // Half of them have older revisions, some are gone.
    for (let i = 0; i < KEYS; i += 2) this.put(i, VALUE_BYTES + i % 300, 2);
    for (let i = 0; i < KEYS; i += 50) this.store.deleteRange(keyOf(i), new Uint8Array(0));
  }

  put(i: number, length: number, fill: number): void {
    this.store.put(keyOf(i), new Uint8Array(length).fill(fill), 0n);
  }

  /** One turn; false when there was nothing to do. */
  turn(): boolean {
    const turns = this.#turns;
    this.#turns = [];
    this.backend.reads = 0;
    for (const run of turns) run();
    this.readsMost = Math.max(this.readsMost, this.backend.reads);
    return turns.length > 0;
  }

  /** Begins a range and runs until its answer does. */
  async answer(options: RangeOptions): Promise<RangeOutcome | LongReply> {
    const server = { store: this.store } as EtcdServer;
    const range = new LargeRange(server, this.budget, options, envelope, () => {});
    const pending = range.run();
    while (this.turn());
    return await pending;
  }

  async long(options: RangeOptions): Promise<LongReply> {
    const answer = await this.answer(options);
    assert.ok(answer instanceof LongReply, "an answer that is small");
    return answer;
  }

  compact(): string {
    for (let state = this.store.compactionStep();; state = this.store.compactionStep()) {
      if (state !== "working") return state;
    }
  }

  expected(options: RangeOptions): unknown {
    const { kvs, count, more, revision } = this.store.range(options);
    return {
      revision: BigInt(revision),
      kvs: kvs.map((bytes) => plain(decodeKeyValue(bytes, 0, bytes.length))),
      count: BigInt(count),
      more,
    };
  }
}

function keyOf(i: number): Uint8Array {
  return utf8(`key ${String((i * 7919) % KEYS).padStart(6, "0")}`);
}

function plain({ key, value, createRevision, modRevision, version, lease }: RangeResponse["kvs"][number]) {
  const text = value.every((byte) => byte === value[0]) ? `${value.length} × ${value[0]}` : `${value}`;
  return { key: textOf(key), text, createRevision, modRevision, version, lease };
}

function decoded(bytes: Uint8Array): unknown {
  const { header, kvs, count, more } = fromBinary(RangeResponseSchema, bytes);
  return { revision: header?.revision, kvs: kvs.map(plain), count, more };
}

/** Reads a reply to its end, some bytes at a time. `meanwhile` runs between two reads. */
function readAll(fixture: Fixture, reply: LongReply, bytesMax: number, meanwhile: () => void): Uint8Array {
  const out = new ByteWriter(1024);
  let isReadable = true;
  reply.onReadable = () => isReadable = true;
  for (let steps = 0; out.length < reply.length; steps += 1) {
    assert.ok(steps < 100_000, "a reply does not come to its end");
    fixture.backend.reads = 0;
    const count = isReadable ? reply.read(out, bytesMax) : 0;
    assert.ok(count <= bytesMax);
    if (count === 0) isReadable = false;
    meanwhile();
    fixture.turn();
  }
  assert.equal(reply.read(out, 1), 0);
  return out.bytes.subarray(0, out.length);
}

const cases: readonly (readonly [string, RangeOptions])[] = [
  ["everything", ALL],
  ["an old revision", { ...ALL, revision: KEYS + 1 }],
  ["a revision in between", { ...ALL, revision: KEYS + KEYS / 4 }],
  ["a limit", { ...ALL, limit: 2_000 }],
  ["revision filters", { ...ALL, minModRevision: 500, maxCreateRevision: 2_700 }],
  ["descending keys", { ...ALL, sortOrder: sortOrder.descend }],
  ["the newest", { ...ALL, sortOrder: sortOrder.descend, sortTarget: sortTarget.mod, limit: 1_500 }],
  ["sorted values", { ...ALL, sortOrder: sortOrder.ascend, sortTarget: sortTarget.value }],
  ["keys", { ...ALL, keysOnly: true }],
  ["sorted keys", { ...ALL, keysOnly: true, sortOrder: sortOrder.descend, sortTarget: sortTarget.version }],
];

for (const [name, options] of cases) {
  test(`LargeRange answers with ${name}, and writes meanwhile do not show`, async () => {
    const fixture = new Fixture();
    const expected = fixture.expected(options);
    const reply = await fixture.long(options);
    let writes = 0;
    const bytes = readAll(fixture, reply, 16_384, () => {
      for (let i = 0; i < 10; i += 1) fixture.put(writes++ % (KEYS + 200), 100 + writes % 900, 3);
      if (writes % 40 === 0) fixture.store.deleteRange(keyOf(writes % KEYS), new Uint8Array(0));
    });
    assert.deepEqual(decoded(bytes), expected);
    assert.equal(fixture.store.openReads, 0);
  });

  test(`LargeRange with ${name} does not hold off a compaction for its client`, async () => {
    const fixture = new Fixture();
    const expected = fixture.expected(options);
    const reply = await fixture.long(options);
    const out = new ByteWriter(1024);
    reply.read(out, 100_001);
    for (let i = 0; i < KEYS; i += 1) fixture.put(i, 10, 4);
    fixture.store.scheduleCompaction(fixture.store.currentRevision);
    assert.equal(fixture.compact(), "held");
    while (fixture.turn());
    assert.equal(fixture.compact(), "finished");
    const rest = readAll(fixture, restOf(reply, out.length), 50_000, () => {});
    out.write(rest);
    assert.deepEqual(decoded(out.bytes.subarray(0, out.length)), expected);
  });
}

/** The same reply, as if what has been read had never been in it. */
function restOf(reply: LongReply, read: number): LongReply {
  return {
    length: reply.length - read,
    onReadable: undefined,
    read: (out, bytesMax) => reply.read(out, bytesMax),
    readFields: (out) => reply.readFields(out),
    waitTurn: () => reply.waitTurn(),
    close: () => reply.close(),
  };
}

test("LargeRange reads while a compaction waits, whoever is first", async () => {
  const fixture = new Fixture();
  const expected = fixture.expected(ALL);
  const reply = await fixture.long(ALL);
  let steps = 0;
  const bytes = readAll(fixture, reply, 3_000, () => {
    if (steps++ === 20) fixture.store.scheduleCompaction(fixture.store.currentRevision);
    if (steps > 20) fixture.compact();
  });
  assert.deepEqual(decoded(bytes), expected);
  assert.equal(fixture.store.compactionPending, false);
});

test("LargeRange lets go of compaction when it is closed", async () => {
  const fixture = new Fixture();
  const reply = await fixture.long(ALL);
  assert.equal(fixture.store.openReads, 1);
  reply.close();
  assert.equal(fixture.store.openReads, 0);
  assert.equal(reply.read(new ByteWriter(10), 10), 0);
  while (fixture.turn());
});

test("LargeRange is answered at once when it is small", async () => {
  const fixture = new Fixture();
  for (const options of [{ ...ALL, limit: 50 }, { ...ALL, countOnly: true }]) {
    const answer = await fixture.answer(options);
    assert.ok(!(answer instanceof LongReply));
    const { kvs, count, more } = fixture.store.range(options);
    assert.deepEqual({ kvs: answer.kvs, count: answer.count, more: answer.more }, { kvs, count, more });
  }
  assert.equal(fixture.store.openReads, 0);
});

test("large ranges share a turn's work, and all come to their end", async () => {
  const fixture = new Fixture();
  const expected = fixture.expected(ALL);
  const replies = await Promise.all(Array.from({ length: 8 }, () => fixture.long(ALL)));
  let isDone = false;
  const all = Promise.all(replies.map(gatherReply)).finally(() => isDone = true);
  fixture.readsMost = 0;
  while (!isDone) {
    if (!fixture.turn()) await Promise.resolve();
  }
  for (const bytes of await all) assert.deepEqual(decoded(bytes), expected);
  // A thousand values, and those that begin before the end of a piece.
  assert.ok(fixture.readsMost > 500 && fixture.readsMost < 1_200, `${fixture.readsMost} reads in a turn`);
});

test("RangeStream sends as much as its client takes, and shares a turn's work with others", () => {
  const fixture = new Fixture();
  const server = { store: fixture.store, canReadNow: true, config: { maxRequestBytes: 1_572_864 } };
  const clients = Array.from({ length: 6 }, () => {
    const client = {
      writable: true,
      ended: false,
      kvs: [] as unknown[],
      last: undefined as unknown,
      sent: 0,
    };
    const call = {
      ...client,
      send(piece: RangePiece) {
        const out = new ByteWriter(16);
        encodeRangePiece(out, piece);
        const { rangeResponse } = fromBinary(RangeStreamResponseSchema, out.bytes.subarray(0, out.length));
        const { header, kvs, count, more } = rangeResponse!;
        this.kvs.push(...kvs.map(plain));
        this.last = { revision: header?.revision, kvs: this.kvs, count, more };
        this.sent += out.length;
        this.writable = false;
      },
      end() {
        this.ended = true;
      },
      fail: (error: unknown) => assert.fail(String(error)),
    };
    const stream = new RangeStream(
      server as EtcdServer,
      fixture.budget,
      call as unknown as StreamCall<RangePiece>,
      envelope,
    );
    return { call, stream };
  });
  const expected = fixture.expected(ALL);
  fixture.readsMost = 0;
  for (const { stream } of clients) {
    stream.onMessage(create(RangeRequestSchema, { key: ALL.key, rangeEnd: ALL.rangeEnd }));
  }
  while (fixture.turn());
  const sentAtFirst = clients.map(({ call }) => call.sent);
  assert.ok(Math.min(...sentAtFirst) > 0 && Math.max(...sentAtFirst) < 100_000, sentAtFirst.join(" "));
  for (let rounds = 0; clients.some(({ call }) => !call.ended); rounds += 1) {
    assert.ok(rounds < 1_000, "a stream does not come to its end");
    fixture.backend.reads = 0;
    for (const { call, stream } of clients) {
      call.writable = true;
      stream.onWritable();
    }
    fixture.readsMost = Math.max(fixture.readsMost, fixture.backend.reads);
    while (fixture.turn());
  }
  for (const { call } of clients) assert.deepEqual(call.last, expected);
  assert.ok(fixture.readsMost > 500 && fixture.readsMost < 2_000, `${fixture.readsMost} reads in a turn`);
});
