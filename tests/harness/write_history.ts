/** What clients have asked a server to write, and whether what it holds after a crash is what it had promised. */
import assert from "node:assert/strict";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { KV, type RangeRequestSchema, type RangeResponse } from "../../src/gen/etcdserverpb/kv_pb.ts";
import type { KeyValue } from "../../src/gen/mvccpb/kv_pb.ts";
import { GrpcClient } from "./grpc_client.ts";

/** One write as it was sent. */
interface Write {
  readonly id: number;
  readonly stream: number;
  /** Keys that get the write's id as their value; none for a delete. */
  readonly puts: readonly string[];
  readonly deletes: string | undefined;
  /** The revision that the reply gave; undefined while nobody knows whether the write took place. */
  revision: number | undefined;
  /** The reply said that the delete found no key. */
  wasEmpty: boolean;
  /** The revision at which it was found. */
  foundAt: number | undefined;
}

interface KeyState {
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  readonly version: number;
}

const ALL = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };
const COMPACTED = "OutOfRange etcdserver: mvcc: required revision has been compacted";
/** Keys of each stream, few, so that they are overwritten and deleted all the time. */
const KEYS_PER_STREAM = 6;
/** Ranges asked for at the same time when the history is read. */
const RANGES_AT_ONCE = 64;

/**
 * Streams of writes with one request outstanding each, and the check of what came of them. A write's value is
 * its own number, so that a revision says which write made it:
 *
 *     sent, answered       it is there, at the revision of its reply
 *     sent, not answered   it is there once, or not at all
 *     not sent             nothing else is there; every revision has exactly one write
 */
export class WriteHistory {
  /** When the last answer came, by `performance.now()`. */
  lastAnswerMs = 0;
  readonly #prng: Prng;
  readonly #streams: number;
  readonly #writes: Write[] = [];
  /** The first write that may still turn up: those before it are found, or will never be. */
  #openFrom = 0;
  /** The last write of each stream that was found. */
  readonly #lastFound: number[];
  #keys = new Map<string, KeyState>();
  /** Invariant: `#keys` is the state at this revision. */
  #verifiedRevision = 1;
  /** Compactions up to here were asked for, and up to the second one acknowledged. */
  #compactedRevision = 0;
  #compactedForSure = 0;
  /** Padding of values, in bytes, at most. */
  readonly #valueBytesMax: number;

  constructor(options: { readonly seed: number; readonly streams: number; readonly valueBytesMax?: number }) {
    this.#prng = new Prng(options.seed);
    this.#streams = options.streams;
    this.#lastFound = new Array<number>(options.streams).fill(-1);
    this.#valueBytesMax = options.valueBytesMax ?? 300;
  }

  get sent(): number {
    return this.#writes.length;
  }

  get acknowledged(): number {
    return this.#writes.filter(({ revision }) => revision !== undefined).length;
  }

  /** Writes from all streams until the server answers no more or `until` says so. */
  async write(port: number, until: () => boolean = () => false): Promise<void> {
    let client: GrpcClient;
    try {
      client = await GrpcClient.connect(port);
    } catch {
      return; // It died before it was asked anything.
    }
    const streams = Array.from({ length: this.#streams }, (_, stream) => stream);
    await Promise.all(streams.map((stream) => this.#writeStream(client, stream, until)));
    await client.close();
  }

  async #writeStream(client: GrpcClient, stream: number, until: () => boolean): Promise<void> {
    while (!until() && await this.writeOne(client, stream));
  }

  /** Sends the next write of a stream; false when it was not answered, or refused. */
  async writeOne(client: GrpcClient, stream: number): Promise<boolean> {
    const prng = this.#prng;
    const kind = prng.below(100);
    if (kind < 2 && this.#verifiedRevision > this.#compactedRevision + 1) return await this.#compact(client);
    const key = (): string => `s${stream}/${prng.below(KEYS_PER_STREAM)}`;
    const write: Write = {
      id: this.#writes.length,
      stream,
      puts: kind < 70 ? [key()] : kind < 90 ? [`s${stream}/a`, `s${stream}/b`] : [],
      deletes: kind < 90 ? undefined : key(),
      revision: undefined,
      wasEmpty: false,
      foundAt: undefined,
    };
    this.#writes.push(write);
    try {
      if (!await this.#send(client, write)) return false;
      this.lastAnswerMs = performance.now();
      return true;
    } catch {
      return false; // No answer: the connection ended.
    }
  }

  async #send(client: GrpcClient, write: Write): Promise<boolean> {
    const { puts, deletes } = write;
    const value = utf8(`${write.id}:${"x".repeat(this.#prng.below(this.#valueBytesMax))}`);
    if (deletes !== undefined) {
      const { response } = await client.call(KV.method.deleteRange, { key: utf8(deletes) });
      if (response === undefined) return false;
      write.revision = Number(response.header!.revision);
      write.wasEmpty = response.deleted === 0n;
      return true;
    }
    const requests = puts.map((key) => ({ key: utf8(key), value }));
    const { response } = requests.length === 1
      ? await client.call(KV.method.put, requests[0]!)
      : await client.call(KV.method.txn, {
        success: requests.map((put) => ({ request: { case: "requestPut", value: put } as const })),
      });
    if (response === undefined) return false;
    write.revision = Number(response.header!.revision);
    return true;
  }

  /** Only what was looked at before is compacted, so that no write goes away unseen. */
  async #compact(client: GrpcClient): Promise<boolean> {
    const revision = this.#verifiedRevision - this.#prng.below(2);
    if (revision <= this.#compactedRevision) return true;
    this.#compactedRevision = revision;
    try {
      const { response } = await client.call(KV.method.compact, { revision: BigInt(revision) });
      if (response !== undefined) this.#compactedForSure = Math.max(this.#compactedForSure, revision);
      return response !== undefined;
    } catch {
      return false;
    }
  }

  /** Reads everything written since the last check and compares; the server takes no other writes meanwhile. */
  async verify(port: number): Promise<void> {
    const client = await GrpcClient.connect(port);
    try {
      const everything = await range(client, {});
      const current = Number(everything.header!.revision);
      const last = this.#writes.reduce((max, { revision = 0 }) => Math.max(max, revision), 1);
      assert.ok(current >= last, `Revision ${last} was acknowledged, and the store is at ${current}`);
      for (let from = this.#verifiedRevision + 1; from <= current; from += RANGES_AT_ONCE) {
        const count = Math.min(RANGES_AT_ONCE, current + 1 - from);
        const revisions = Array.from({ length: count }, (_, i) => from + i);
        const changes = await Promise.all(
          revisions.map((revision) =>
            range(client, { revision: BigInt(revision), minModRevision: BigInt(revision) })
          ),
        );
        for (const [i, { kvs }] of changes.entries()) await this.#take(client, revisions[i]!, kvs);
      }
      this.#checkAllFound();
      this.#checkState(everything.kvs);
      await this.#checkCompacted(client);
    } finally {
      await client.close();
    }
  }

  /** One revision of the store: finds the write that made it. */
  async #take(client: GrpcClient, revision: number, kvs: readonly KeyValue[]): Promise<void> {
    const write = kvs.length > 0 ? this.#writeOf(revision, kvs) : await this.#deleteOf(client, revision);
    const what = `Revision ${revision}, write ${write.id} of stream ${write.stream}`;
    assert.ok(write.id >= this.#openFrom, `${what}: it was sent before the last crash but one`);
    assert.equal(write.foundAt, undefined, `${what}: it took place before`);
    if (write.revision !== undefined) assert.equal(write.revision, revision, `${what}: its reply said so`);
    const last = this.#lastFound[write.stream]!;
    assert.ok(write.id > last, `${what}: write ${last} of its stream was sent later and took place before`);
    this.#lastFound[write.stream] = write.id;
    write.foundAt = revision;
    this.#verifiedRevision = revision;
    for (const { key, value, createRevision, modRevision, version } of kvs) {
      const name = textOf(key);
      const before = this.#keys.get(name);
      const state = {
        value: textOf(value),
        createRevision: Number(createRevision),
        modRevision: Number(modRevision),
        version: Number(version),
      };
      assert.equal(state.version, (before?.version ?? 0) + 1, `${what}: version of ${name}`);
      assert.equal(state.createRevision, before?.createRevision ?? revision, `${what}: creation of ${name}`);
      this.#keys.set(name, state);
    }
    if (write.deletes !== undefined) this.#keys.delete(write.deletes);
  }

  #writeOf(revision: number, kvs: readonly KeyValue[]): Write {
    const id = Number.parseInt(textOf(kvs[0]!.value));
    const write = this.#writes[id];
    assert.ok(write !== undefined, `Revision ${revision} holds a value that nobody sent`);
    const names = kvs.map(({ key }) => textOf(key)).sort();
    assert.deepEqual(names, [...write.puts].sort(), `Revision ${revision}: keys of write ${id}`);
    for (const { value } of kvs) assert.equal(Number.parseInt(textOf(value)), id);
    return write;
  }

  /** A revision that changed no key is a delete of the one that is gone. */
  async #deleteOf(client: GrpcClient, revision: number): Promise<Write> {
    const { kvs } = await range(client, { revision: BigInt(revision), keysOnly: true });
    const present = new Set(kvs.map(({ key }) => textOf(key)));
    const gone = [...this.#keys.keys()].filter((key) => !present.has(key));
    assert.equal(
      gone.length,
      1,
      `Revision ${revision} is a gap: it puts nothing and deletes ${gone.length} keys`,
    );
    const [key] = gone;
    const write = this.#writes.slice(this.#openFrom).find((each) =>
      each.deletes === key && each.foundAt === undefined && !each.wasEmpty &&
      (each.revision === undefined || each.revision === revision)
    );
    assert.ok(write !== undefined, `Revision ${revision} deletes ${key}, which nobody asked for`);
    return write;
  }

  #checkAllFound(): void {
    for (const write of this.#writes.slice(this.#openFrom)) {
      if (write.revision === undefined || write.wasEmpty) continue;
      assert.equal(write.foundAt, write.revision, `Write ${write.id} was acknowledged and is lost`);
    }
    this.#openFrom = this.#writes.length;
  }

  #checkState(kvs: readonly KeyValue[]): void {
    const found = kvs.map(({ key, value, modRevision }) => [textOf(key), textOf(value), Number(modRevision)]);
    const expected = [...this.#keys].sort(([a], [b]) => a < b ? -1 : 1).map((
      [key, { value, modRevision }],
    ) => [key, value, modRevision]);
    assert.deepEqual(found, expected);
  }

  async #checkCompacted(client: GrpcClient): Promise<void> {
    const revision = this.#compactedForSure - 1;
    if (revision < 1) return;
    const { status, message } = await client.call(KV.method.range, { ...ALL, revision: BigInt(revision) });
    assert.equal(`${status} ${message}`, COMPACTED, `Revision ${revision} was compacted`);
  }
}

async function range(
  client: GrpcClient,
  request: MessageInitShape<typeof RangeRequestSchema>,
): Promise<RangeResponse> {
  const { response, status, message } = await client.call(KV.method.range, { ...ALL, ...request });
  assert.ok(response !== undefined, `range: ${status} ${message}`);
  return response;
}
