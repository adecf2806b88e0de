import { ByteWriter } from "../../src/base/byte_writer.ts";
import { utf8 } from "../../src/base/bytes.ts";
import type {
  HeaderField,
  RequestBody,
  RequestHandler,
  RequestHead,
  ServerStream,
} from "../../src/http2/api.ts";
import { http2Options, ServerConnection } from "../../src/http2/connection.ts";
import {
  FLAG_ACK,
  FRAME_HEADER_BYTES,
  FRAME_SETTINGS,
  PREFACE,
  setFrameHeader,
  uint31At,
  uint32At,
} from "../../src/http2/frames.ts";
import { HpackDecoder } from "../../src/http2/hpack/decoder.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import type { Http2Limits } from "../../src/http2/limits.ts";
import type { Clock, Timer } from "../../src/ports/clock.ts";
import { type ByteStreamPair, byteStreamPair, type PairOptions } from "../harness/byte_stream_pair.ts";

/** Time that passes when the test says so. */
export class ManualClock implements Clock {
  #nowMs = 1_000;
  #soon: (() => void)[] = [];
  readonly #periodic = new Set<{ nextMs: number; readonly periodMs: number; readonly run: () => void }>();

  monotonicMs(): number {
    return this.#nowMs;
  }

  get recentMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return this.#nowMs;
  }

  after(): Timer {
    throw new Error("The engine uses no single timers");
  }

  every(periodMs: number, run: () => void): Timer {
    const timer = { nextMs: this.#nowMs + periodMs, periodMs, run };
    this.#periodic.add(timer);
    return { cancel: () => this.#periodic.delete(timer) };
  }

  soon(run: () => void): void {
    this.#soon.push(run);
  }

  afterSockets(): void {
    throw new Error("The engine does no long work");
  }

  get timers(): number {
    return this.#periodic.size;
  }

  /** Ends a turn: runs what was put off. Returns whether there was anything. */
  turn(): boolean {
    const due = this.#soon;
    this.#soon = [];
    for (const run of due) run();
    return due.length > 0;
  }

  advance(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      let nextMs = Infinity;
      for (const timer of this.#periodic) nextMs = Math.min(nextMs, timer.nextMs);
      if (nextMs > untilMs) break;
      this.#nowMs = nextMs;
      for (const timer of this.#periodic) {
        if (timer.nextMs > nextMs) continue;
        timer.nextMs += timer.periodMs;
        timer.run();
      }
    }
    this.#nowMs = untilMs;
  }
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

/** A request as the server's consumer saw it, and the means to answer. */
export class RecordedRequest implements RequestBody {
  readonly stream: ServerStream;
  readonly head: RequestHead;
  readonly events: string[] = [];
  bodyBytes = 0;
  ended = false;
  trailers: readonly HeaderField[] = [];
  resetCode = -1;
  writables = 0;
  onWritableRun: () => void = () => {};

  constructor(stream: ServerStream, head: RequestHead) {
    this.stream = stream;
    this.head = head;
  }

  onData(_chunk: Uint8Array, start: number, end: number): void {
    this.bodyBytes += end - start;
  }

  onEnd(trailers: readonly HeaderField[]): void {
    this.ended = true;
    this.trailers = trailers;
  }

  onReset(errorCode: number): void {
    this.resetCode = errorCode;
  }

  onWritable(): void {
    this.writables += 1;
    this.onWritableRun();
  }

  reply(body: Uint8Array): void {
    this.stream.sendBlock(okBlock, false);
    this.stream.sendData(body, false);
    this.stream.sendBlock(trailersBlock, true);
  }
}

export const okBlock = encodeStaticBlock([[":status", "200"], ["content-type", "application/grpc"]]);
export const trailersBlock = encodeStaticBlock([["grpc-status", "0"]]);
export const getBlock = encodeStaticBlock([[":method", "GET"], [":scheme", "http"], [":path", "/"]]);
export const postBlock = encodeStaticBlock([
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/etcdserverpb.KV/Put"],
  [":authority", "localhost"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
]);

export interface ServerFixtureOptions extends PairOptions {
  readonly limits?: Partial<Http2Limits>;
  /** Called for each request; by default it only records. */
  readonly onRequest?: (request: RecordedRequest) => void;
  /** Leaves out the preface and SETTINGS that a client begins with. */
  readonly silent?: boolean;
}

/** A server connection with a peer that speaks raw frames. */
export class ServerFixture {
  readonly clock = new ManualClock();
  readonly pair: ByteStreamPair;
  readonly connection: ServerConnection;
  readonly requests: RecordedRequest[] = [];
  readonly defects: unknown[] = [];
  readonly received: Frame[] = [];
  readonly hpack = new HpackDecoder(4096);
  closed = 0;
  /** The server has closed its side, or all. */
  peerEnded = false;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(options: ServerFixtureOptions = {}) {
    this.pair = byteStreamPair(options);
    const handler: RequestHandler = {
      onRequest: (stream, head) => {
        const request = new RecordedRequest(stream, head);
        this.requests.push(request);
        options.onRequest?.(request);
        return request;
      },
    };
    const serverOptions = http2Options(this.clock, {
      ...(options.limits === undefined ? {} : { limits: options.limits }),
      onDefect: (error) => this.defects.push(error),
      onClosed: () => this.closed += 1,
    });
    this.connection = new ServerConnection(this.pair.b, handler, serverOptions);
    this.pair.a.handler = {
      onData: (chunk) => this.#collect(chunk),
      onDrain() {},
      onEnd: () => this.peerEnded = true,
      onClose: () => this.peerEnded = true,
    };
    if (options.silent === true) return;
    this.send(utf8(PREFACE), frame(FRAME_SETTINGS, 0, 0), frame(FRAME_SETTINGS, FLAG_ACK, 0));
    this.received.length = 0;
  }

  /** Sends bytes as they are, and lets everything settle. */
  send(...parts: Uint8Array[]): void {
    for (const part of parts) this.pair.a.write(part);
    this.settle();
  }

  /** Sends a request and returns it as recorded. */
  request(id: number, endStream = true): RecordedRequest {
    const before = this.requests.length;
    this.send(headers(id, postBlock, endStream));
    const request = this.requests[before];
    if (request === undefined) throw new Error(`Request ${id} was not accepted`);
    return request;
  }

  settle(): void {
    do this.pair.settle(); while (this.clock.turn());
  }

  advance(ms: number): void {
    this.clock.advance(ms);
    this.settle();
  }

  /** Removes and returns what has been received. */
  take(): Frame[] {
    return this.received.splice(0);
  }

  of(type: number): Frame[] {
    return this.received.filter((received) => received.type === type);
  }

  /** Sum of the DATA payloads received on a stream. */
  dataBytes(id: number): number {
    return this.of(0).filter((data) => data.id === id).reduce((sum, data) => sum + data.payload.length, 0);
  }

  /** The code of the GOAWAY received, with its debug text, or undefined. */
  goAway(): { readonly code: number; readonly text: string } | undefined {
    const last = this.of(7).at(-1);
    if (last === undefined) return undefined;
    return { code: uint32At(last.payload, 4), text: new TextDecoder().decode(last.payload.subarray(8)) };
  }

  /** Codes of the RST_STREAM frames received for a stream. */
  resets(id: number): number[] {
    return this.of(3).filter((reset) => reset.id === id).map((reset) => uint32At(reset.payload, 0));
  }

  #collect(chunk: Uint8Array): void {
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    let at = 0;
    while (bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      const end = at + FRAME_HEADER_BYTES + length;
      if (end > bytes.length) break;
      this.received.push({
        type: bytes[at + 3]!,
        flags: bytes[at + 4]!,
        id: uint31At(bytes, at + 5),
        payload: bytes.slice(at + FRAME_HEADER_BYTES, end),
      });
      at = end;
    }
    this.#rest = bytes.slice(at);
  }
}

export function frame(
  type: number,
  flags: number,
  id: number,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  setFrameHeader(bytes, 0, payload.length, type, flags, id);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

export function headers(id: number, block: Uint8Array, endStream: boolean): Uint8Array {
  return frame(1, (endStream ? 1 : 0) | 4, id, block);
}

export function data(id: number, payload: Uint8Array, endStream: boolean): Uint8Array {
  return frame(0, endStream ? 1 : 0, id, payload);
}

export function uint32(value: number): Uint8Array {
  return new Uint8Array([value >>> 24, value >>> 16, value >>> 8, value]);
}

export function rst(id: number, code: number): Uint8Array {
  return frame(3, 0, id, uint32(code));
}

export function windowUpdate(id: number, increment: number): Uint8Array {
  return frame(8, 0, id, uint32(increment));
}

export function settings(...pairs: readonly (readonly [number, number])[]): Uint8Array {
  const out = new ByteWriter();
  for (const [id, value] of pairs) {
    out.byte(id >>> 8);
    out.byte(id);
    out.write(uint32(value));
  }
  return frame(FRAME_SETTINGS, 0, 0, out.toBytes());
}

export function ping(text: string): Uint8Array {
  return frame(6, 0, 0, utf8(text.padEnd(8)));
}

/** Decodes a block to fields. */
export function fieldsOf(decoder: HpackDecoder, block: Uint8Array): HeaderField[] | undefined {
  const fields: HeaderField[] = [];
  const valid = decoder.decode(block, 0, block.length, { onHeader: (entry) => fields.push(entry.field) });
  return valid ? fields : undefined;
}

export function hex(text: string): Uint8Array {
  const digits = text.replace(/\s+/g, "");
  return Uint8Array.from(
    { length: digits.length / 2 },
    (_, i) => parseInt(digits.slice(i * 2, i * 2 + 2), 16),
  );
}

/** Calls a client makes in a burst would need this many frames joined to one chunk. */
export function join(parts: readonly Uint8Array[]): Uint8Array {
  const out = new ByteWriter();
  for (const part of parts) out.write(part);
  return out.toBytes();
}
