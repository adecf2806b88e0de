/** What watchers of a real server are told while it is written to, compacted and killed: etcd's watch guarantees. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import {
  WatchCreateRequest_FilterType as Filter,
  type WatchResponse,
} from "../../src/gen/etcdserverpb/watch_pb.ts";
import type { Event } from "../../src/gen/mvccpb/kv_pb.ts";
import { eventually, WAIT_MS_MAX } from "../harness/deadline.ts";
import { startEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { StreamClient, type WatchClient } from "../harness/grpc_stream.ts";

const SEED = Number(process.env["SEED"] ?? 1);
const ROUNDS = 3;
/** A round takes this long, and on a slow machine until there were enough writes. */
const ROUND_MS = 700;
const WRITES_PER_ROUND = 50;
const WRITERS = 6;
const KEYS = 8;
/** So large that a client which reads nothing soon holds its watchers up. */
const PADDING = "x".repeat(1500);

/** One event as the checks see it. */
interface Seen {
  readonly revision: number;
  readonly key: string;
  /** Undefined for a delete. */
  readonly value: string | undefined;
  readonly before: string | undefined;
}

/** What one watch was told between its creation and its end. */
interface Segment {
  readonly start: number;
  readonly seen: Seen[];
  /** Revisions that progress was told up to, with the number of events seen before. */
  readonly progress: { readonly revision: number; readonly after: number }[];
  compacted: number;
}

/** A watch that goes on over restarts of the server. */
class Watch {
  readonly segments: Segment[] = [];
  readonly begin: string;
  readonly end: string;
  readonly noDelete: boolean;
  /** The next revision it needs. */
  next = 1;

  constructor(begin: string, end: string, noDelete = false) {
    this.begin = begin;
    this.end = end;
    this.noDelete = noDelete;
  }

  get last(): Segment {
    return this.segments[this.segments.length - 1]!;
  }

  wants({ key, value }: Seen): boolean {
    return key >= this.begin && key < this.end && !(this.noDelete && value === undefined);
  }

  create(client: WatchClient, id: number): void {
    this.segments.push({ start: this.next, seen: [], progress: [], compacted: 0 });
    client.create({
      key: utf8(this.begin),
      rangeEnd: utf8(this.end),
      startRevision: BigInt(this.next),
      watchId: BigInt(id),
      prevKv: true,
      filters: this.noDelete ? [Filter.NODELETE] : [],
    });
  }

  take(events: readonly Event[]): void {
    const { seen } = this.last;
    const lastRevision = seen.at(-1)?.revision ?? 0;
    for (const { type, kv, prevKv } of events) {
      const before = prevKv === undefined ? undefined : textOf(prevKv.value).slice(0, 8);
      const value = type === 0 ? textOf(kv!.value).slice(0, 8) : undefined;
      seen.push({ revision: Number(kv!.modRevision), key: textOf(kv!.key), value, before });
    }
    if (events.length === 0) return;
    const first = Number(events[0]!.kv!.modRevision);
    assert.ok(first > lastRevision, `revision ${first} is split or repeated after ${lastRevision}`);
    this.next = seen.at(-1)!.revision + 1;
  }
}

/** Watches that share a stream. */
class Stream {
  readonly watches: readonly Watch[];
  client: WatchClient | undefined;
  #revision = 0;

  constructor(...watches: Watch[]) {
    this.watches = watches;
  }

  open(connection: StreamClient): void {
    this.client = connection.watch();
    this.#revision = 0;
    const ids = new Set<bigint>();
    const client = this.client;
    this.watches.forEach((watch, i) => watch.create(client, i + 1));
    void this.#listen(client, ids);
  }

  async #listen(client: WatchClient, created: Set<bigint>): Promise<void> {
    for (;;) {
      const response = await client.next().catch(() => undefined);
      if (response === undefined) return;
      try {
        this.#take(client, response, created);
      } catch (error) {
        this.failure ??= error;
      }
    }
  }

  failure: unknown;

  #take(client: WatchClient, response: WatchResponse, created: Set<bigint>): void {
    const { watchId, header, events, compactRevision, canceled } = response;
    const revision = Number(header!.revision);
    if (compactRevision === 0n) {
      assert.ok(revision >= this.#revision, `header revision falls from ${this.#revision} to ${revision}`);
      this.#revision = revision;
    }
    if (response.created) {
      assert.equal(canceled, false);
      created.add(watchId);
      return;
    }
    if (watchId === -1n) {
      assert.equal(created.size, this.watches.length);
      for (const { last } of this.watches) last.progress.push({ revision, after: last.seen.length });
      return;
    }
    assert.ok(created.has(watchId), "events before the watch was created");
    const watch = this.watches[Number(watchId) - 1]!;
    if (canceled) {
      assert.ok(Number(compactRevision) > watch.next, `${watch.next} was not lost to ${compactRevision}`);
      watch.last.compacted = watch.next = Number(compactRevision);
      created.delete(watchId);
      watch.create(client, Number(watchId));
      return;
    }
    assert.ok(revision >= Number(events.at(-1)!.kv!.modRevision));
    watch.take(events);
  }
}

/** Writes that were acknowledged: what each revision did. */
type Acknowledged = Map<number, readonly { readonly key: string; readonly value: string | undefined }[]>;

async function write(
  port: number,
  prng: Prng,
  acknowledged: Acknowledged,
  until: () => boolean,
): Promise<void> {
  const client = await GrpcClient.connect(port);
  while (!until()) {
    const keys = Array.from({ length: KEYS }, (_, i) => `k${i}`).filter(() => prng.below(3) === 0);
    const writes = keys.map((key) => ({
      key,
      value: prng.below(5) === 0 ? undefined : String(prng.below(90_000_000) + 10_000_000),
    }));
    const success = writes.map(({ key, value }) => ({
      request: value === undefined
        ? { case: "requestDeleteRange", value: { key: utf8(key) } } as const
        : { case: "requestPut", value: { key: utf8(key), value: utf8(value + PADDING) } } as const,
    }));
    const { response } = await client.call(KV.method.txn, { success });
    if (response === undefined) return;
    // A transaction whose deletes found nothing makes no revision of its own.
    const changed = response.responses.some(({ response: { case: kind, value } }) =>
      kind === "responsePut" || (kind === "responseDeleteRange" && value.deleted > 0n)
    );
    const found = writes.filter(({ value }, i) => {
      const reply = response.responses[i]!.response;
      return value !== undefined || (reply.case === "responseDeleteRange" && reply.value.deleted > 0n);
    });
    if (changed) acknowledged.set(Number(response.header!.revision), found);
  }
  await client.close();
}

function check(watch: Watch, reference: readonly Seen[], compactedMax: number, final: number): void {
  watch.segments.forEach(({ start, seen, progress, compacted }, i) => {
    const isLast = i === watch.segments.length - 1;
    const end = isLast ? final : seen.at(-1)?.revision ?? 0;
    const expected = reference.filter((each) =>
      each.revision >= start && each.revision <= end && watch.wants(each)
    );
    assert.deepEqual(
      seen.map(({ revision, key, value }) => ({ revision, key, value })),
      expected.map(({ revision, key, value }) => ({ revision, key, value })),
      `watch of ${watch.begin} from ${start} to ${end}, ${compacted}`,
    );
    seen.forEach(({ before, revision }, at) => {
      // What compaction may have taken by then may be missing.
      if (before !== undefined || revision - 1 >= compactedMax) assert.equal(before, expected[at]!.before);
    });
    for (const { revision, after } of progress) {
      const missing = expected.find((each, at) => at >= after && each.revision <= revision);
      assert.equal(missing, undefined, `progress at ${revision} is ahead of events`);
    }
  });
}

test("watches are ordered, unique, whole, resumable and reliable over load, compaction and kills", async () => {
  const dataDir = mkdtempSync(`${tmpdir()}/etcd-watch-`);
  const prng = new Prng(SEED);
  const whole = new Watch("k", "l");
  const slow = new Watch("k", "l");
  const streams = [
    new Stream(whole),
    new Stream(new Watch("k1", "k2"), new Watch("k2", "k5"), new Watch("k", "z", true)),
    new Stream(slow, new Watch("k3", "k4")),
  ];
  const hasProgress = (): boolean =>
    streams[1]!.watches[0]!.segments.some(({ progress }) => progress.length > 0);
  const acknowledged: Acknowledged = new Map();
  let compactedMax = 0;
  let final = 0;
  try {
    for (let round = 1; round <= ROUNDS; round += 1) {
      const server = await startEtcd({ dataDir });
      const connections = await Promise.all(streams.map(() => StreamClient.connect(server.port)));
      streams.forEach((stream, i) => stream.open(connections[i]!));
      const control = await GrpcClient.connect(server.port);
      const startMs = performance.now();
      const isOver = (): boolean => {
        const tookMs = performance.now() - startMs;
        const isEnough = acknowledged.size >= round * WRITES_PER_ROUND && hasProgress();
        return tookMs >= ROUND_MS && (isEnough || tookMs >= WAIT_MS_MAX);
      };
      const isLast = round === ROUNDS;
      const writing = Array.from(
        { length: WRITERS },
        () =>
          write(server.port, new Prng(prng.below(1e9)), acknowledged, isLast ? isOver : () => !server.alive),
      );
      while (!isOver()) {
        await new Promise((resolve) => setTimeout(resolve, 30));
        streams[1]!.client!.requestProgress();
        const { stream } = streams[2]!.client!;
        if (prng.below(4) === 0) stream.resume();
        else stream.pause();
        // Compaction stays behind the watch that the others are compared with.
        const revision = whole.next - 1 - prng.below(prng.below(2) === 0 ? 20 : 300);
        if (prng.below(3) > 0 || revision <= compactedMax) continue;
        compactedMax = revision;
        await control.call(KV.method.compact, { revision: BigInt(revision) });
      }
      if (!isLast) await server.stop("SIGKILL");
      await Promise.all(writing);
      if (isLast) {
        streams[2]!.client!.stream.resume();
        await control.call(KV.method.put, { key: utf8("k3"), value: utf8("the last") });
        const { response } = await control.call(KV.method.range, { key: utf8("k3") });
        final = Number(response!.header!.revision);
        const isThrough = () =>
          streams.some(({ failure }) => failure !== undefined) ||
          streams.every(({ watches }) =>
            watches.every((watch) => watch.next > final || watch.end === "k2" || watch.end === "k5")
          );
        const positions = (): string =>
          `${final}: ${streams.map(({ watches }) => watches.map(({ next }) => next)).join("; ")}`;
        await eventually("all watches to hear the last write", isThrough, positions);
        for (const { client } of streams) client!.stream.cancel();
        await control.close();
        await Promise.all(connections.map((connection) => connection.close()));
        await server.stop();
      }
    }
    for (const { failure } of streams) if (failure !== undefined) throw failure;
    const reference = whole.segments.flatMap(({ seen }) => seen);
    assert.equal(whole.segments.length, ROUNDS, "the reference was compacted");
    // Every acknowledged write is there, at its revision.
    for (const [revision, writes] of acknowledged) {
      const events = reference.filter((each) => each.revision === revision);
      assert.deepEqual(events.map(({ key, value }) => ({ key, value })), writes, `revision ${revision}`);
    }
    // No revision is missing: each makes events for the reference.
    const revisions = new Set(reference.map(({ revision }) => revision));
    assert.equal(revisions.size, final - 1);
    // What was there before is what the replay says.
    const state = new Map<string, string | undefined>();
    const replayed = reference.map((each) => {
      const before = state.get(each.key);
      state.set(each.key, each.value);
      return { ...each, before };
    });
    for (const { watches } of streams) {
      for (const watch of watches) check(watch, replayed, compactedMax, final);
    }
    assert.ok(acknowledged.size > 100, `${acknowledged.size} writes`);
    assert.ok(hasProgress(), "no progress");
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
