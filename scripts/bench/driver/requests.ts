/**
 * Sends unary requests and measures them: `requests.ts SPEC`, with a `RequestsSpec` as JSON. Lines on its standard
 * input are `RequestsCommand`s.
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { create, toBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../../src/base/bytes.ts";
import { PutRequestSchema, RangeRequestSchema } from "../../../src/gen/etcdserverpb/kv_pb.ts";
import type { HeaderField } from "../../../src/http2/api.ts";
import type { ResponseHandler } from "../../../src/http2/client_connection.ts";
import { DriverConnection, giveUp, nowMs, sendMessage, tell } from "./connection.ts";
import { keyOf, type RequestsCommand, type RequestsReport, type RequestsSpec } from "./specs.ts";

const spec = JSON.parse(process.argv[2]!) as RequestsSpec;
const path = spec.kind === "put" ? "/etcdserverpb.KV/Put" : "/etcdserverpb.KV/Range";
/** Coprime with every power of ten: its multiples visit all keys. */
const STRIDE = 7919;

const template = message(keyOf(spec.prefix, 0));
const digitsAt = 2 + spec.prefix.length;
const latencies = new Float64Array(spec.requests);
let sent = 0;
let answered = 0;
let recorded = 0;
/** Requests that were due from the one to the other are recorded. */
let recordingSinceMs = 0;
let recordingUntilMs = Infinity;
let startedMs = 0;

function message(key: string): Uint8Array {
  if (spec.kind === "range") {
    return toBinary(RangeRequestSchema, create(RangeRequestSchema, { key: utf8(key) }));
  }
  const value = new Uint8Array(spec.valueBytes).fill(120);
  return toBinary(PutRequestSchema, create(PutRequestSchema, { key: utf8(key), value }));
}

/** The request with a number. Its bytes are good until the next. */
function requestOf(n: number): Uint8Array {
  let number = (n * STRIDE) % spec.keys;
  for (let at = digitsAt + 5; at >= digitsAt; at -= 1) {
    template[at] = 48 + number % 10;
    number = Math.floor(number / 10);
  }
  return template;
}

/** One request after the other. */
class Worker implements ResponseHandler {
  readonly #connection: DriverConnection;
  #dueMs = 0;
  #hasMessage = false;

  constructor(connection: DriverConnection) {
    this.#connection = connection;
  }

  begin(): void {
    this.#dueMs = performance.now();
    this.#send();
  }

  #send(): void {
    if (sent === spec.requests) return;
    this.#hasMessage = false;
    sendMessage(this.#connection.open(this), requestOf(sent++), true);
  }

  onHead(): void {}

  onData(): void {
    this.#hasMessage = true;
  }

  onEnd(trailers: readonly HeaderField[]): void {
    if (!this.#hasMessage) giveUp(`a request failed: ${JSON.stringify(trailers)}`);
    const now = performance.now();
    answered += 1;
    const isRecorded = this.#dueMs >= recordingSinceMs && this.#dueMs < recordingUntilMs;
    if (isRecorded) latencies[recorded++] = now - this.#dueMs;
    if (answered === spec.requests) {
      report();
      process.exit(0);
    }
    if (spec.intervalMs === 0) {
      this.#dueMs = now;
      return this.#send();
    }
    // A late request is late from when it was due; a timer may also ring a little early.
    this.#dueMs += spec.intervalMs;
    setTimeout(() => {
      this.#dueMs = Math.min(this.#dueMs, performance.now());
      this.#send();
    }, Math.max(0, this.#dueMs - now));
  }

  onReset(errorCode: number): void {
    giveUp(`a request was reset with ${errorCode}`);
  }

  onWritable(): void {}
}

/** What was recorded since the last report. */
function report(): void {
  const endedMs = nowMs();
  const sorted = latencies.subarray(0, recorded).sort();
  const at = (share: number): number => sorted[Math.floor((recorded - 1) * share)] ?? NaN;
  tell({ requests: recorded, startedMs, endedMs, p50: at(0.5), p99: at(0.99) } satisfies RequestsReport);
  recorded = 0;
}

createInterface({ input: process.stdin }).on("line", (line) => {
  const command = line as RequestsCommand;
  const now = performance.now();
  if (command === "report") return report();
  recordingUntilMs = command === "pause" ? now : Infinity;
  if (command === "record") recordingSinceMs = now;
});
const connections = await Promise.all(
  Array.from(
    { length: spec.connections },
    () => DriverConnection.connect(spec.port, path),
  ),
);
startedMs = nowMs();
for (const connection of connections) {
  for (let i = 0; i < spec.streams; i += 1) new Worker(connection).begin();
}
