/** Puts the same requests to this repository's server and to a Go etcd and compares what they answer. */
import { fromBinary, type Message, toBinary } from "@bufbuild/protobuf";
import { compareBytes, concatBytes, equalBytes } from "../../src/base/bytes.ts";
import {
  type RangeRequest,
  RangeRequest_SortTarget as SortTarget,
  type RangeResponse,
  type TxnRequest,
  type TxnResponse,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import type { LeaseLeasesResponse, LeaseTimeToLiveResponse } from "../../src/gen/etcdserverpb/lease_pb.ts";
import type { HashKVResponse } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import type { KeyValue } from "../../src/gen/mvccpb/kv_pb.ts";
import { allStarted, type EtcdProcess, type GoEtcd, startEtcd, startGoEtcd } from "./etcd_process.ts";
import { type CallResult, GrpcClient } from "./grpc_client.ts";
import { describeMessage, type RequestFeature, type Step } from "./random_requests.ts";

/** Nested transactions may be 127 deep, two messages each. */
const NESTING_MAX = 1_000;

/** A fresh server of each kind, and a connection to it. */
export class ServerPair {
  readonly ours: EtcdProcess;
  readonly go: EtcdProcess;
  readonly #clients: readonly [ours: GrpcClient, go: GrpcClient];

  private constructor(ours: EtcdProcess, go: EtcdProcess, clients: readonly [GrpcClient, GrpcClient]) {
    this.ours = ours;
    this.go = go;
    this.#clients = clients;
  }

  static async start(etcd: GoEtcd, flags: readonly string[] = []): Promise<ServerPair> {
    const [ours, go] = await allStarted([startEtcd({ flags }), startGoEtcd(etcd, { flags })]) as [
      EtcdProcess,
      EtcdProcess,
    ];
    const clients = await Promise.all([GrpcClient.connect(ours.port), GrpcClient.connect(go.port)]);
    return new ServerPair(ours, go, clients);
  }

  /** Makes the same call to both. */
  both(
    call: (client: GrpcClient) => Promise<CallResult>,
  ): Promise<readonly [ours: CallResult, go: CallResult]> {
    return Promise.all([call(this.#clients[0]), call(this.#clients[1])]);
  }

  send({ method, request }: Step): Promise<readonly [ours: CallResult, go: CallResult]> {
    const path = `/${method.parent.typeName}/${method.name}`;
    const bytes = toBinary(method.input, request);
    return this.both((client) => client.unary(path, bytes));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.close()));
    await Promise.all([this.ours.stop(), this.go.stop()]);
  }
}

/** A rule that etcd got in some 3.x. */
interface VersionDifference {
  /** The x. */
  readonly since: number;
  readonly what: string;
  /** Requests with this feature are not made when the etcd compared with is older. */
  readonly feature?: RequestFeature;
  /** Whether two refusals mean the same here. */
  readonly isSameRefusal?: (step: Step, ours: CallResult, go: CallResult) => boolean;
  /** Takes out of a reply what an older etcd does not say. */
  readonly remove?: (request: Message, reply: Message) => void;
}

const faultsFoundInStore: ReadonlySet<string> = new Set([
  "etcdserver: key not found",
  "etcdserver: requested lease not found",
  "etcdserver: mvcc: required revision has been compacted",
  "etcdserver: mvcc: required revision is a future revision",
]);

/** What cannot be compared with an etcd older than 3.7, and why. */
const versionDifferences: readonly VersionDifference[] = [
  { since: 7, what: "RangeStream is new", feature: "RangeStream" },
  { since: 5, what: "unknown sort orders and targets were passed over", feature: "invalid sort option" },
  { since: 5, what: "compacting at revision 0 was no error", feature: "compaction at 0" },
  {
    since: 7,
    what: "keys_only told the lease",
    remove: (request, reply) =>
      forEachRange(request, reply, ({ keysOnly }, { kvs }) => {
        if (keysOnly) { for (const kv of kvs) kv.lease = 0n; }
      }),
  },
  {
    since: 7,
    what: "of several faults that a write has for what the store holds, another one was found first",
    isSameRefusal: (_, ours, go) =>
      faultsFoundInStore.has(ours.message) && faultsFoundInStore.has(go.message),
  },
  { since: 6, what: "HashKV at an older revision followed other rules", feature: "HashKV at a revision" },
  {
    since: 6,
    what: "HashKV did not name the revision that it has hashed",
    remove: (_, reply) => {
      if (reply.$typeName === "etcdserverpb.HashKVResponse") (reply as HashKVResponse).hashRevision = 0n;
    },
  },
];

/** The request features that an etcd 3.`minor` treats otherwise than 3.7 does. */
export function changedFeatures(minor: number): ReadonlySet<RequestFeature> {
  const newer = versionDifferences.filter(({ since }) => minor < since);
  return new Set(newer.flatMap(({ feature }) => feature === undefined ? [] : [feature]));
}

/** How two replies to a request differ; undefined when they say the same, as far as an etcd 3.`minor` can. */
export function difference(step: Step, ours: CallResult, go: CallResult, minor: number): string | undefined {
  const newer = versionDifferences.filter(({ since }) => minor < since);
  if (newer.some(({ isSameRefusal }) => isSameRefusal?.(step, ours, go))) return undefined;
  const [oursJoined, goJoined] = [joined(step, ours.messages), joined(step, go.messages)];
  const isEqual = ours.status === go.status && ours.message === go.message &&
    oursJoined.length === goJoined.length &&
    oursJoined.every((message, i) => sameMessage(step, message, goJoined[i]!, newer));
  return isEqual ? undefined : `${describeStep(step)}
  ours: ${describeResult(step, ours)}
  go:   ${describeResult(step, go)}`;
}

/**
 * A stream's messages as one: where the stream is cut is open, since we look at a bounded number of keys for each
 * message and etcd at a number of results. By protobuf's rules messages merge when their bytes are joined.
 */
function joined({ method }: Step, messages: readonly Uint8Array[]): readonly Uint8Array[] {
  return method.methodKind === "server_streaming" && messages.length > 0 ? [concatBytes(messages)] : messages;
}

/** Equal bytes, or messages that mean the same. */
function sameMessage(
  step: Step,
  ours: Uint8Array,
  go: Uint8Array,
  newer: readonly VersionDifference[],
): boolean {
  if (equalBytes(ours, go)) return true;
  const { method, request } = step;
  const normal = (bytes: Uint8Array): Uint8Array => {
    const reply = fromBinary(method.output, bytes, { recursionLimit: NESTING_MAX });
    normaliseTies(request, reply);
    normaliseLeases(reply);
    for (const { remove } of newer) remove?.(request, reply);
    return toBinary(method.output, reply);
  };
  return equalBytes(normal(ours), normal(go));
}

/**
 * Keys that compare equal under a sort target other than the key may come in any order; which of them a limit
 * leaves out is open as well. Puts them in key order, and takes out those of which others may have been cut.
 */
function normaliseTies(request: Message, reply: Message): void {
  forEachRange(request, reply, normaliseRange);
}

/** Visits a range and its result, or those of a transaction and of what is nested in it. */
function forEachRange(
  request: Message,
  reply: Message,
  visit: (request: RangeRequest, reply: RangeResponse) => void,
): void {
  if (request.$typeName === "etcdserverpb.RangeRequest" && reply.$typeName === "etcdserverpb.RangeResponse") {
    return visit(request as RangeRequest, reply as RangeResponse);
  }
  if (request.$typeName !== "etcdserverpb.TxnRequest") return;
  const { success, failure } = request as TxnRequest;
  const { succeeded, responses } = reply as TxnResponse;
  const operations = succeeded ? success : failure;
  responses.forEach(({ response }, i) => {
    const operation = operations[i]!.request.value;
    if (operation !== undefined && response.value !== undefined) {
      forEachRange(operation, response.value, visit);
    }
  });
}

/** The time that is left passes; keys and leases come in any order. */
function normaliseLeases(reply: Message): void {
  if (reply.$typeName === "etcdserverpb.LeaseTimeToLiveResponse") {
    const lease = reply as LeaseTimeToLiveResponse;
    if (lease.TTL > 0n) lease.TTL = 1n;
    lease.keys.sort(compareBytes);
  } else if (reply.$typeName === "etcdserverpb.LeaseLeasesResponse") {
    (reply as LeaseLeasesResponse).leases.sort((a, b) => Number(a.ID - b.ID));
  }
}

function normaliseRange(request: RangeRequest, reply: RangeResponse): void {
  if (request.sortTarget === SortTarget.KEY) return;
  if (request.keysOnly && request.sortTarget === SortTarget.VALUE) {
    reply.kvs = []; // What they were sorted by is not in the reply.
    return;
  }
  const isTie = (a: KeyValue, b: KeyValue): boolean => compareTargets(request.sortTarget, a, b) === 0;
  const last = reply.kvs.at(-1);
  if (reply.more && last !== undefined) reply.kvs = reply.kvs.filter((kv) => !isTie(kv, last));
  const runs: KeyValue[][] = [];
  for (const kv of reply.kvs) {
    const run = runs.at(-1);
    if (run !== undefined && isTie(run[0]!, kv)) run.push(kv);
    else runs.push([kv]);
  }
  reply.kvs = runs.flatMap((run) => run.sort((a, b) => compareBytes(a.key, b.key)));
}

function compareTargets(target: SortTarget, a: KeyValue, b: KeyValue): number {
  switch (target) {
    case SortTarget.VERSION:
      return Number(a.version - b.version);
    case SortTarget.CREATE:
      return Number(a.createRevision - b.createRevision);
    case SortTarget.MOD:
      return Number(a.modRevision - b.modRevision);
    default:
      return compareBytes(a.value, b.value);
  }
}

export function describeStep({ method, request }: Step): string {
  return `${method.name} ${describeMessage(request)}`;
}

function describeResult({ method }: Step, { status, message, messages }: CallResult): string {
  if (status !== "OK") return `${status} "${message}"`;
  const replies = messages.map((bytes) =>
    describeMessage(fromBinary(method.output, bytes, { recursionLimit: NESTING_MAX }))
  );
  return `OK ${replies.join(" ")}`;
}

/**
 * A short list of steps after which `fails` still says yes: pieces of the list are left out as long as that
 * holds, larger ones first. No try begins after `untilMs`.
 */
export async function shrink<T>(
  steps: readonly T[],
  fails: (steps: readonly T[]) => Promise<boolean>,
  untilMs: number,
): Promise<readonly T[]> {
  let kept = steps;
  // The last step is the one that showed the difference.
  for (let size = Math.ceil(kept.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let end = kept.length - 1; end > 0; end -= size) {
      if (performance.now() > untilMs) return kept;
      const without = [...kept.slice(0, Math.max(0, end - size)), ...kept.slice(end)];
      if (await fails(without)) kept = without;
    }
  }
  return kept;
}
