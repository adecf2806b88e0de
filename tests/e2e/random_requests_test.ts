import assert from "node:assert/strict";
import process from "node:process";
import { test } from "node:test";
import { create, type DescMessage, fromBinary, type Message } from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { ResponseHeader } from "../../src/gen/etcdserverpb/header_pb.ts";
import { KV, TxnRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { changedFeatures, describeStep, difference, ServerPair, shrink } from "../harness/differential.ts";
import { findGoEtcd, type GoEtcd } from "../harness/etcd_process.ts";
import type { CallResult } from "../harness/grpc_client.ts";
import { RequestGenerator, type Step } from "../harness/random_requests.ts";

/** SEED=7 STEPS=100000 in the environment makes one long run of the first test. */
const SEED = Number(process.env["SEED"] ?? 1);
const STEPS = Number(process.env["STEPS"] ?? 2_000);
const STEPS_OVER_MANY_KEYS = 150;
/** Enough for ranges that are answered in slices, and in several parts. */
const MANY_KEYS = 3_000;
const KEYS_PER_TXN = 100;
/** Shrinking starts two servers for each try. */
const SHRINK_TRIES_MAX = 30;
const TRACE_STEPS_MAX = 30;
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
  const short = await shrink(
    await fails(writes) ? writes : steps.slice(first.length),
    fails,
    SHRINK_TRIES_MAX,
  );
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
