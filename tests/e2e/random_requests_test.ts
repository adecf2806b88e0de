import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import {
  create,
  type DescMessage,
  fromBinary,
  type Message,
  type MessageInitShape,
} from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { ResponseHeader } from "../../src/gen/etcdserverpb/header_pb.ts";
import { DeleteRangeRequestSchema, KV, TxnRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import {
  WatchCreateRequest_FilterType,
  type WatchCreateRequestSchema,
} from "../../src/gen/etcdserverpb/watch_pb.ts";
import { HashResponseSchema, Maintenance } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import { changedFeatures, describeStep, difference, ServerPair, shrink } from "../harness/differential.ts";
import { findGoEtcd, type GoEtcd } from "../harness/etcd_process.ts";
import type { CallResult } from "../harness/grpc_client.ts";
import { StreamClient, type WatchClient } from "../harness/grpc_stream.ts";
import { describeMessage, RequestGenerator, type Step } from "../harness/random_requests.ts";

/** SEED=7 STEPS=100000 in the environment makes one long run of the first test. */
const SEED = Number(process.env["SEED"] ?? 1);
const STEPS = Number(process.env["STEPS"] ?? 2_000);
const STEPS_OVER_MANY_KEYS = 150;
/** Enough for ranges that are answered in slices, and in several parts. */
const MANY_KEYS = 3_000;
const KEYS_PER_TXN = 100;
/** Shrinking starts two servers for each try, a second or more. */
const SHRINK_MS_MAX = 60_000;
const STEPS_OF_WATCHERS = 600;
/** No random request names it. */
const LAST_KEY = Uint8Array.of(0xff, 0xff);
const TRACE_STEPS_MAX = 30;
/** From 3.7 on etcd's store has the same tables as ours. */
const HASH_MINOR = 7;
const readMethods: ReadonlySet<string> = new Set([
  "Range",
  "RangeStream",
  "HashKV",
  "LeaseTimeToLive",
  "LeaseLeases",
]);

const go = findGoEtcd();
const skip = go === undefined ? "there is no Go etcd on this machine" : false;
const avoided = changedFeatures(go?.minor ?? 0);

test("random requests get the replies that etcd gives", { skip }, async () => {
  await compare(go!, [], new RequestGenerator(new Prng(SEED), { avoided }), STEPS);
});

test("random requests over many keys get the replies that etcd gives", { skip }, async () => {
  const keys = Array.from({ length: MANY_KEYS }, (_, i) => utf8(`many/${String(i).padStart(5, "0")}`));
  const generator = new RequestGenerator(new Prng(SEED), { keys, avoided });
  await compare(go!, fillKeys(keys, new Prng(SEED)), generator, STEPS_OVER_MANY_KEYS);
});

test("watchers of random writes hear what those of etcd hear", { skip }, async () => {
  const generator = new RequestGenerator(new Prng(SEED), { avoided });
  const pair = await ServerPair.start(go!);
  const streams = await Promise.all([
    StreamClient.connect(pair.ours.port),
    StreamClient.connect(pair.go.port),
  ]);
  try {
    const early = await Promise.all(watchRequests(1n).map((request) => watchBoth(streams, request)));
    const heardEarly = early.map(() => Array.from(streams, (): string[] => []));
    const catchUp = async (): Promise<bigint> => {
      const last = await writeLastKey(pair);
      for (const [i, each] of early.entries()) {
        const heard = await Promise.all(each.map((watcher) => hear(watcher, last)));
        heard.forEach((events, server) => heardEarly[i]![server]!.push(...events));
      }
      return last;
    };
    // A watcher that is behind when its revisions are compacted is cancelled: these never are.
    await sendSteps(pair, generator, STEPS_OF_WATCHERS, catchUp);
    // Some of these start in the history, some before the last compaction.
    const starts = [generator.revision, generator.revision - 5, generator.revision - 30];
    const requests = starts.flatMap((revision) => watchRequests(BigInt(revision)));
    const late = await Promise.all(requests.map((request) => watchBoth(streams, request)));
    const last = await catchUp();
    let events = 0;
    for (const [ours, theirs] of heardEarly) {
      assert.deepEqual(ours, theirs);
      events += ours!.length;
    }
    for (const each of late) {
      const [ours, theirs] = await Promise.all(each.map((watcher) => hear(watcher, last)));
      assert.deepEqual(ours, theirs);
      events += ours!.length;
    }
    assert.ok(events > STEPS_OF_WATCHERS / 2, `${events} events`);
    for (const { watch } of [...early, ...late].flat()) watch.stream.cancel();
  } finally {
    await Promise.all(streams.map((stream) => stream.close()));
    await pair.stop();
  }
});

test("the Hash of the whole store after random writes is that of etcd", {
  skip: skip || (go!.minor >= HASH_MINOR ? false : "an older etcd has other tables in its store"),
}, async () => {
  const pair = await ServerPair.start(go!);
  try {
    const hashes = async (): Promise<number[]> => {
      const replies = await pair.both((client) => client.call(Maintenance.method.hash, {}));
      return replies.map(({ messages }) => fromBinary(HashResponseSchema, messages[0]!).hash);
    };
    const [oursFirst, theirsFirst] = await hashes();
    assert.equal(oursFirst, theirsFirst, "before the first request");
    await sendSteps(
      pair,
      new RequestGenerator(new Prng(SEED), { avoided }),
      STEPS_OF_WATCHERS,
      async () => {},
    );
    const [ours, theirs] = await hashes();
    assert.equal(ours, theirs);
    assert.notEqual(ours, oursFirst);
  } finally {
    await pair.stop();
  }
});

/** Writes what every watcher knows as the end of what it is to hear. */
async function writeLastKey(pair: ServerPair): Promise<bigint> {
  await pair.both((client) => client.call(KV.method.put, { key: LAST_KEY }));
  const deletion = {
    method: KV.method.deleteRange,
    request: create(DeleteRangeRequestSchema, { key: LAST_KEY }),
  };
  const [ours] = await pair.send(deletion);
  return BigInt(revisionOf(deletion, ours)!);
}

async function sendSteps(
  pair: ServerPair,
  generator: RequestGenerator,
  count: number,
  beforeCompaction: () => Promise<unknown>,
): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    const step = generator.next();
    if (step.method === KV.method.compact) await beforeCompaction();
    const [ours] = await pair.send(step);
    generator.revision = revisionOf(step, ours) ?? generator.revision;
  }
}

type WatchInit = MessageInitShape<typeof WatchCreateRequestSchema>;

/** All of them watch the last key as well. */
function watchRequests(startRevision: bigint): WatchInit[] {
  const [nul, letterB] = [Uint8Array.of(0), utf8("b")];
  return [
    { key: nul, rangeEnd: nul, startRevision, prevKv: true },
    { key: nul, rangeEnd: nul, startRevision, filters: [WatchCreateRequest_FilterType.NOPUT] },
    { key: letterB, rangeEnd: nul, startRevision, filters: [WatchCreateRequest_FilterType.NODELETE] },
    { key: LAST_KEY, startRevision },
  ];
}

interface Watcher {
  readonly watch: WatchClient;
  readonly request: WatchInit;
}

/** Resolves when both servers have the watcher. */
function watchBoth(streams: readonly StreamClient[], request: WatchInit): Promise<Watcher[]> {
  return Promise.all(streams.map(async (stream) => {
    const watch = stream.watch();
    watch.create(request);
    const { created } = await watch.next();
    assert.ok(created);
    return { watch, request };
  }));
}

/** What a watcher hears until the last key is deleted at revision `last`, or the watch is cancelled. */
async function hear({ watch, request }: Watcher, last: bigint): Promise<string[]> {
  const heard: string[] = [];
  const seesNoDelete = request.filters?.[0] === WatchCreateRequest_FilterType.NODELETE;
  // The last key was put just before.
  const lastSeen = seesNoDelete ? last - 1n : last;
  for (let isLast = false; !isLast;) {
    const response = await watch.next();
    if (response.canceled) {
      heard.push(`cancelled, compacted at ${response.compactRevision}: ${response.cancelReason}`);
    }
    for (const event of response.events) heard.push(describeMessage(event));
    isLast = response.canceled ||
      response.events.some(({ kv }) => kv!.modRevision >= lastSeen);
  }
  return heard;
}

/** Fails with a short list of steps that lead to a difference, and what differs. */
async function compare(
  etcd: GoEtcd,
  first: readonly Step[],
  generator: RequestGenerator,
  count: number,
): Promise<void> {
  const { steps, found, effective } = await run(etcd, first, generator, count);
  if (found === undefined) return;
  const fails = async (tried: readonly Step[]): Promise<boolean> => {
    const again = await run(etcd, [...first, ...tried], undefined, 0);
    return again.steps.length === first.length + tried.length && again.found !== undefined;
  };
  const writes = [...effective.slice(first.length), steps.at(-1)!];
  const list = await fails(writes) ? writes : steps.slice(first.length);
  const short = await shrink(list, fails, performance.now() + SHRINK_MS_MAX);
  const again = await run(etcd, [...first, ...short], undefined, 0);
  const trace = short.slice(0, -1).slice(-TRACE_STEPS_MAX).map(describeStep).join("\n");
  assert.fail(`SEED=${SEED}: step ${steps.length} differs:\n${found}
${short.length} steps are enough to make a difference, which end with\n${trace}\n${again.found}`);
}

interface Run {
  readonly steps: readonly Step[];
  /** Those that may have changed what the servers hold. */
  readonly effective: readonly Step[];
  /** What the last step has shown. */
  readonly found: string | undefined;
}

/** Sends `first` and then `count` steps more, to the first that differs, to two fresh servers. */
async function run(
  etcd: GoEtcd,
  first: readonly Step[],
  generator: RequestGenerator | undefined,
  count: number,
): Promise<Run> {
  const steps: Step[] = [];
  const effective: Step[] = [];
  const pair = await ServerPair.start(etcd);
  try {
    while (steps.length < first.length + count) {
      const step = first[steps.length] ?? generator!.next();
      steps.push(step);
      const [ours, theirs] = await pair.send(step);
      const found = difference(step, ours, theirs, etcd.minor);
      if (found !== undefined) return { steps, effective, found };
      if (ours.status === "OK" && !readMethods.has(step.method.name)) effective.push(step);
      if (generator !== undefined) generator.revision = revisionOf(step, ours) ?? generator.revision;
    }
  } finally {
    await pair.stop();
  }
  return { steps, effective, found: undefined };
}

/** The revision in a reply's header. */
function revisionOf({ method }: Step, { messages }: CallResult): number | undefined {
  const last = messages.at(-1);
  if (last === undefined || method.methodKind !== "unary") return undefined;
  const output: DescMessage = method.output;
  const { header } = fromBinary(output, last, { recursionLimit: 1_000 }) as Message & {
    readonly header?: ResponseHeader;
  };
  return header === undefined ? undefined : Number(header.revision);
}

/** Puts every key, many to a transaction, with values of all sizes up to some hundred bytes. */
function fillKeys(keys: readonly Uint8Array[], prng: Prng): Step[] {
  const steps: Step[] = [];
  for (let at = 0; at < keys.length; at += KEYS_PER_TXN) {
    const success = keys.slice(at, at + KEYS_PER_TXN).map((key) => {
      const value = new Uint8Array(prng.below(400)).fill(prng.below(256));
      return { request: { case: "requestPut" as const, value: { key, value } } };
    });
    steps.push({ method: KV.method.txn, request: create(TxnRequestSchema, { success }) });
  }
  return steps;
}
