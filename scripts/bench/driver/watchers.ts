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

/** Where what `varint` has read last ends. */
let varintEnd = 0;

/** A varint below 2^53. */
function varint(bytes: Uint8Array, at: number): number {
  let byte = bytes[at++]!;
  let value = byte & 127;
  for (let scale = 128; byte > 127; scale *= 128) {
    byte = bytes[at++]!;
    value += (byte & 127) * scale;
  }
  varintEnd = at;
  return value;
}

/** Of the message whose prefix begins at `at`. */
function messageLength(bytes: Uint8Array, at: number): number {
  return ((bytes[at + 1]! << 24) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 8) | bytes[at + 4]!) >>> 0;
}

function isWhole(bytes: Uint8Array, at: number, end: number): boolean {
  const left = end - at - MESSAGE_PREFIX_BYTES;
  return left >= 0 && left >= messageLength(bytes, at);
}

/** One Watch call. Field numbers: etcdserverpb.WatchResponse, mvccpb.Event and mvccpb.KeyValue. */
class WatchCall implements ResponseHandler {
  readonly #first: number;
  readonly #stream: ClientStream;
  readonly #keys: readonly Uint8Array[];
  #asked = 0;
  #created = 0;
  /** The beginning of a message whose end has not come, and how long it is so far. */
  #partial = new Uint8Array(0);
  #partialLength = 0;

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

  onData(chunk: Uint8Array, at: number, end: number): void {
    while (at < end) {
      if (this.#partialLength === 0 && isWhole(chunk, at, end)) {
        const from = at + MESSAGE_PREFIX_BYTES;
        at = from + messageLength(chunk, at);
        this.#onMessage(chunk, from, at);
      } else {
        at = this.#gather(chunk, at, end);
      }
    }
  }

  /** Takes of a chunk what the partial message lacks, its prefix first; returns where the rest begins. */
  #gather(chunk: Uint8Array, at: number, end: number): number {
    const length = this.#partialLength;
    const wanted = length < MESSAGE_PREFIX_BYTES
      ? MESSAGE_PREFIX_BYTES
      : MESSAGE_PREFIX_BYTES + messageLength(this.#partial, 0);
    const to = Math.min(end, at + wanted - length);
    if (this.#partial.length < wanted) {
      const larger = new Uint8Array(2 * wanted);
      larger.set(this.#partial.subarray(0, length));
      this.#partial = larger;
    }
    this.#partial.set(chunk.subarray(at, to), length);
    this.#partialLength += to - at;
    if (isWhole(this.#partial, 0, this.#partialLength)) {
      this.#onMessage(this.#partial, MESSAGE_PREFIX_BYTES, this.#partialLength);
      this.#partialLength = 0;
    }
    return to;
  }

  #onMessage(bytes: Uint8Array, at: number, end: number): void {
    let watchId = 0;
    while (at < end) {
      const tag = bytes[at]!;
      const value = varint(bytes, at + 1);
      at = varintEnd;
      if (tag === 0x10) watchId = value; // watch_id
      else if (tag === 0x18) this.#onCreated(watchId);
      else if (tag === 0x20 || tag === 0x32) giveUp(`watcher ${watchId} was cancelled`);
      if ((tag & 7) === 0) continue;
      if (tag === 0x5a) this.#onEvent(watchId, bytes, at); // events
      at += value;
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

  #onEvent(watchId: number, bytes: Uint8Array, at: number): void {
    if (bytes[at] !== 0x12) giveUp("an event is no put"); // kv; a put has no type
    varint(bytes, at + 1);
    at = varintEnd;
    const keyLength = varint(bytes, at + 1);
    this.#checkKey(watchId, bytes, varintEnd);
    at = varintEnd + keyLength;
    varint(bytes, at + 1); // create_revision
    if (bytes[varintEnd] !== 0x18) giveUp("an event has no revision"); // mod_revision
    const revision = varint(bytes, varintEnd + 1);
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

  #checkKey(watchId: number, bytes: Uint8Array, at: number): void {
    const key = this.#keys[watchId]!;
    for (let i = key.length - 1; i >= 0; i -= 1) {
      if (bytes[at + i] !== key[i]) giveUp(`watcher ${this.#first + watchId} got an event of another key`);
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
