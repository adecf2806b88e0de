/**
 * Keeps watchers and checks what they are sent: `watchers.ts SPEC`, with a `WatchersSpec` as JSON. Reports that
 * all are created, and then that all events have come. Gives up when a watcher gets an event that is not for it or
 * not newer than the one before: as one revision changes one key, the right total then means that every
 * watcher got every event once, in order. A line on its standard input, after a run, asks for another of new watchers.
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { create, toBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../../src/base/bytes.ts";
import { WatchRequestSchema } from "../../../src/gen/etcdserverpb/watch_pb.ts";
import type { HeaderField } from "../../../src/http2/api.ts";
import type { ClientStream, ResponseHandler } from "../../../src/http2/client_connection.ts";
import { DriverConnection, giveUp, nowMs, sendMessage, tell } from "./connection.ts";
import { type CreatedReport, keyOf, PREFIX, type WatchersReport, type WatchersSpec } from "./specs.ts";

const WATCH = "/etcdserverpb.Watch/Watch";
const MESSAGE_PREFIX_BYTES = 5;
/** Requests of one call that may be unanswered. */
const CREATES_IN_FLIGHT = 20;
/** After which silence a run is given up. */
const SILENCE_MS = 60_000;

const spec = JSON.parse(process.argv[2]!) as WatchersSpec;
const total = spec.connections * spec.streams * spec.watchers;
/** Of the last event of each watcher. */
const revisions = new Float64Array(total);
const report = { events: 0, responses: 0, firstMs: 0, lastMs: 0 };
let created = 0;
let lastHeardMs = nowMs();
let cpuAtStart = process.cpuUsage();

/** The key, or the prefix, that a watcher watches. */
function watchedBy(n: number): { readonly key: string; readonly isPrefix: boolean } {
  if (spec.layout === "one key") return { key: keyOf(PREFIX, 0), isPrefix: false };
  if (spec.layout === "keys") return { key: keyOf(PREFIX, n), isPrefix: false };
  const prefix = n % 100;
  if (spec.layout === "all" || prefix === 0) return { key: PREFIX, isPrefix: true };
  // The first digits of the numbers below 10,000 are "00".
  const digits = prefix <= 10 ? String(prefix - 1) : String(prefix - 11).padStart(2, "0");
  return { key: `${PREFIX}00${digits}`, isPrefix: true };
}

/** Where the varint that begins at `at` ends. */
function varintEnd(bytes: Uint8Array, at: number): number {
  while (bytes[at]! > 127) at += 1;
  return at + 1;
}

/** A varint below 2^53. */
function varint(bytes: Uint8Array, at: number): number {
  let value = 0;
  let scale = 1;
  for (;; at += 1) {
    const byte = bytes[at]!;
    value += (byte & 127) * scale;
    if (byte < 128) return value;
    scale *= 128;
  }
}

/** One Watch call. Field numbers: etcdserverpb.WatchResponse, mvccpb.Event and mvccpb.KeyValue. */
class WatchCall implements ResponseHandler {
  readonly #first: number;
  readonly #stream: ClientStream;
  readonly #keys: readonly Uint8Array[];
  #asked = 0;
  #created = 0;
  /** The beginning of a message whose end has not come. */
  #rest: Uint8Array | undefined;

  constructor(connection: DriverConnection, first: number) {
    this.#first = first;
    this.#keys = Array.from({ length: spec.watchers }, (_, i) => utf8(watchedBy(first + i).key));
    this.#stream = connection.open(this);
    while (this.#asked < Math.min(spec.watchers, CREATES_IN_FLIGHT)) this.#create();
  }

  #create(): void {
    const { key, isPrefix } = watchedBy(this.#first + this.#asked);
    this.#asked += 1;
    const rangeEnd = utf8(
      isPrefix ? key.slice(0, -1) + String.fromCharCode(key.charCodeAt(key.length - 1) + 1) : "",
    );
    const value = { key: utf8(key), rangeEnd, startRevision: BigInt(spec.startRevision) };
    const request = create(WatchRequestSchema, { requestUnion: { case: "createRequest", value } });
    sendMessage(this.#stream, toBinary(WatchRequestSchema, request), false);
  }

  onHead(): void {}

  onData(chunk: Uint8Array, start: number, end: number): void {
    let bytes = chunk;
    let at = start;
    if (this.#rest !== undefined) {
      bytes = new Uint8Array(this.#rest.length + end - start);
      bytes.set(this.#rest);
      bytes.set(chunk.subarray(start, end), this.#rest.length);
      at = 0;
      end = bytes.length;
    }
    while (at + MESSAGE_PREFIX_BYTES <= end) {
      const length =
        ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0;
      const from = at + MESSAGE_PREFIX_BYTES;
      if (from + length > end) break;
      this.#onMessage(bytes, from, from + length);
      at = from + length;
    }
    this.#rest = at === end ? undefined : bytes.slice(at, end);
  }

  #onMessage(bytes: Uint8Array, at: number, end: number): void {
    let watchId = 0;
    while (at < end) {
      const tag = bytes[at]!;
      at += 1;
      if (tag === 0x10) watchId = varint(bytes, at); // watch_id
      else if (tag === 0x18) this.#onCreated(watchId);
      else if (tag === 0x20 || tag === 0x32) giveUp(`watcher ${watchId} was cancelled`);
      if ((tag & 7) === 0) {
        at = varintEnd(bytes, at);
        continue;
      }
      const from = varintEnd(bytes, at);
      const to = from + varint(bytes, at);
      if (tag === 0x5a) this.#onEvent(watchId, bytes, from, to); // events
      at = to;
    }
    report.responses += 1;
  }

  #onCreated(watchId: number): void {
    if (watchId !== this.#created) giveUp(`watcher ${this.#created} got the id ${watchId}`);
    this.#created += 1;
    created += 1;
    lastHeardMs = nowMs();
    if (this.#asked < spec.watchers) this.#create();
    if (created === total) onAllCreated();
  }

  #onEvent(watchId: number, bytes: Uint8Array, at: number, end: number): void {
    if (bytes[at] !== 0x12) giveUp("an event is no put"); // kv; a put has no type
    at = varintEnd(bytes, at + 1);
    let revision = 0;
    while (at < end) {
      const tag = bytes[at]!;
      if (tag === 0x0a) this.#checkKey(watchId, bytes, at + 1); // key
      if (tag === 0x18) revision = varint(bytes, at + 1); // mod_revision
      if (revision > 0) break;
      const next = varintEnd(bytes, at + 1);
      at = (tag & 7) === 0 ? next : next + varint(bytes, at + 1);
    }
    const watcher = this.#first + watchId;
    const last = revisions[watcher]!;
    if (revision <= last) giveUp(`watcher ${watcher} got revision ${revision} after ${last}`);
    if (spec.layout === "one key" && last > 0 && revision !== last + 1) {
      giveUp(`watcher ${watcher} did not get revision ${last + 1}`);
    }
    revisions[watcher] = revision;
    if (report.events === 0) report.firstMs = nowMs();
    report.events += 1;
    if (report.events === spec.events) finish();
  }

  #checkKey(watchId: number, bytes: Uint8Array, lengthAt: number): void {
    const key = this.#keys[watchId]!;
    for (let i = key.length - 1; i >= 0; i -= 1) {
      if (bytes[lengthAt + 1 + i] !== key[i]) {
        giveUp(`watcher ${this.#first + watchId} got an event of another key`);
      }
    }
  }

  onEnd(trailers: readonly HeaderField[]): void {
    giveUp(`a watch ended: ${JSON.stringify(trailers)}`);
  }

  onReset(errorCode: number): void {
    // When the connection has ended, its reason comes first.
    queueMicrotask(() => giveUp(`a watch was reset with ${errorCode}`));
  }

  onWritable(): void {}
}

function onAllCreated(): void {
  report.responses = 0;
  cpuAtStart = process.cpuUsage();
  tell({ created, atMs: nowMs() } satisfies CreatedReport);
}

function finish(): void {
  report.lastMs = nowMs();
  const { user, system } = process.cpuUsage(cpuAtStart);
  tell({ ...report, cpuSeconds: (user + system) / 1e6 } satisfies WatchersReport);
}

// It goes on after its report, until it is ended: more events than expected are an error, too.
let heard = -1;
setInterval(() => {
  const sum = report.events + created;
  if (report.events > spec.events) giveUp(`${report.events} events came, and not ${spec.events}`);
  if (sum !== heard || report.events === 0 && created === total || report.events === spec.events) {
    lastHeardMs = nowMs();
  }
  heard = sum;
  if (nowMs() - lastHeardMs > SILENCE_MS) {
    giveUp(`${report.events} of ${spec.events} events came, of ${created} watchers`);
  }
}, 1_000);

const connections: DriverConnection[] = [];
for (let c = 0; c < spec.connections; c += 1) {
  connections.push(await DriverConnection.connect(spec.port, WATCH));
}
createInterface({ input: process.stdin }).on("line", () => {
  revisions.fill(0);
  report.events = created = 0;
  createWatchers();
});
createWatchers();

function createWatchers(): void {
  connections.forEach((connection, c) => {
    for (let s = 0; s < spec.streams; s += 1) {
      new WatchCall(connection, (c * spec.streams + s) * spec.watchers);
    }
  });
}
