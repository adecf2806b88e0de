import { test } from "node:test";
import assert from "node:assert/strict";
import { utf8 } from "../../src/base/bytes.ts";
import type { HeaderField } from "../../src/http2/api.ts";
import {
  ClientConnection,
  type ClientOptions,
  clientOptions,
  type ClientStream,
  type ResponseHandler,
  type ResponseHead,
} from "../../src/http2/client_connection.ts";
import { http2Options, ServerConnection } from "../../src/http2/connection.ts";
import { ErrorCode, FRAME_SETTINGS, PREFACE, Setting } from "../../src/http2/frames.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import type { Http2Limits } from "../../src/http2/limits.ts";
import { type ByteStreamPair, byteStreamPair, type PairOptions } from "../harness/byte_stream_pair.ts";
import {
  data,
  frame,
  getBlock,
  headers,
  hex,
  join,
  ManualClock,
  okBlock,
  ping,
  postBlock,
  RecordedRequest,
  rst,
  settings,
  trailersBlock,
  uint32,
} from "./support.ts";

class RecordedResponse implements ResponseHandler {
  stream: ClientStream | undefined;
  head: ResponseHead | undefined;
  body = "";
  bodyBytes = 0;
  trailers: readonly HeaderField[] | undefined;
  resetCode = -1;
  onWritableRun: () => void = () => {};

  onHead(head: ResponseHead): void {
    this.head = head;
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    this.bodyBytes += end - start;
    if (this.bodyBytes < 1_000) this.body += new TextDecoder().decode(chunk.subarray(start, end));
  }

  onEnd(trailers: readonly HeaderField[]): void {
    this.trailers = trailers;
  }

  onReset(errorCode: number): void {
    this.resetCode = errorCode;
  }

  onWritable(): void {
    this.onWritableRun();
  }
}

/** A client of ours and whatever is on the other end. */
class ClientFixture {
  readonly clock = new ManualClock();
  readonly pair: ByteStreamPair;
  readonly client: ClientConnection;
  closed = 0;
  goAwayCode = -1;

  constructor(options: PairOptions & { readonly options?: Partial<ClientOptions> } = {}) {
    this.pair = byteStreamPair(options);
    this.client = new ClientConnection(
      this.pair.a,
      clientOptions(this.clock, {
        ...options.options,
        onGoAway: (code) => this.goAwayCode = code,
        onClosed: () => this.closed += 1,
      }),
    );
  }

  open(block: Uint8Array, endStream: boolean): RecordedResponse {
    const response = new RecordedResponse();
    response.stream = this.client.open(block, response, endStream);
    return response;
  }

  settle(): void {
    do this.pair.settle(); while (this.clock.turn());
  }

  /** Answers as a raw server. */
  answer(...parts: Uint8Array[]): void {
    for (const part of parts) this.pair.b.write(part);
    this.settle();
  }
}

/** Both ends of ours. The server answers each request with its body, unless told otherwise. */
class Echo extends ClientFixture {
  readonly requests: RecordedRequest[] = [];
  readonly server: ServerConnection;

  constructor(
    options: PairOptions & { readonly limits?: Partial<Http2Limits>; readonly silent?: boolean } = {},
  ) {
    super(options);
    const handler = {
      onRequest: (stream: RecordedRequest["stream"], head: RecordedRequest["head"]) => {
        const request = new RecordedRequest(stream, head);
        this.requests.push(request);
        if (options.silent === true) return request;
        request.onData = (chunk, start, end) => {
          if (request.bodyBytes === 0) stream.sendBlock(okBlock, false);
          request.bodyBytes += end - start;
          stream.sendData(chunk.slice(start, end), false);
        };
        request.onEnd = () => stream.sendBlock(trailersBlock, true);
        return request;
      },
    };
    const limits = options.limits === undefined ? {} : { limits: options.limits };
    this.server = new ServerConnection(this.pair.b, handler, http2Options(this.clock, limits));
  }
}

test("ClientConnection gets the response to its request", () => {
  const echo = new Echo();
  const response = echo.open(postBlock, false);
  response.stream!.startData().write(utf8("hel"));
  response.stream!.finishData(false);
  response.stream!.sendData(utf8("lo"), true);
  echo.settle();
  assert.equal(response.head?.status, 200);
  assert.deepEqual(response.head?.fields, [["content-type", "application/grpc"]]);
  assert.equal(response.body, "hello");
  assert.deepEqual(response.trailers, [["grpc-status", "0"]]);
  assert.deepEqual([echo.client.streamCount, echo.server.streamCount], [0, 0]);
  assert.equal(response.stream!.closed, true);
});

test("a transfer of megabytes both ways keeps its windows moving", () => {
  // Even with a server that stops reading early: the client reads on, so that they do not wait for each other.
  for (
    const [chunkBytesMax, outputBytesPause] of [[65_536, 1 << 20], [1_000, 1 << 20], [
      65_536,
      10_000,
    ]] as const
  ) {
    const echo = new Echo({ chunkBytesMax, capacityBytes: 100_000, limits: { outputBytesPause } });
    const response = echo.open(postBlock, false);
    echo.settle();
    const total = 5_000_000;
    let sent = 0;
    const produce = () => {
      while (sent < total && response.stream!.bufferedBytes < 100_000) {
        sent += 50_000;
        response.stream!.sendData(new Uint8Array(50_000), sent === total);
      }
    };
    response.onWritableRun = produce;
    produce();
    echo.settle();
    assert.equal(response.bodyBytes, total);
    assert.deepEqual(response.trailers, [["grpc-status", "0"]]);
  }
});

test("requests beyond the server's limit wait, body and all", () => {
  const echo = new Echo({ limits: { streamsMax: 2 } });
  echo.settle();
  const responses = Array.from({ length: 7 }, (_, i) => {
    const response = echo.open(postBlock, false);
    response.stream!.sendData(utf8(`body ${i}`), i % 2 === 0);
    return response;
  });
  echo.settle();
  assert.equal(echo.requests.length, 4); // The first and the third have ended, which let two more in.
  responses.forEach((response, i) => i % 2 === 1 && response.stream!.sendData(utf8("!"), true));
  echo.settle();
  assert.deepEqual(responses.map(({ body }) => body), [
    "body 0",
    "body 1!",
    "body 2",
    "body 3!",
    "body 4",
    "body 5!",
    "body 6",
  ]);
  assert.equal(responses.every(({ trailers }) => trailers?.length === 1), true);
});

test("a request that waits can be cancelled, and never reaches the server", () => {
  const echo = new Echo({ limits: { streamsMax: 1 }, silent: true });
  echo.settle();
  const first = echo.open(postBlock, false);
  const waiting = echo.open(postBlock, true);
  waiting.stream!.reset(ErrorCode.cancel);
  assert.equal(waiting.resetCode, ErrorCode.cancel);
  first.stream!.reset(ErrorCode.cancel);
  echo.settle();
  assert.equal(echo.requests.length, 1);
  assert.equal(echo.requests[0]!.resetCode, ErrorCode.cancel);
});

test("no more than 100 requests are sent before the server's SETTINGS", () => {
  const fixture = new ClientFixture();
  for (let i = 0; i < 150; i += 1) fixture.open(getBlock, true);
  assert.equal(fixture.client.streamCount, 100);
  fixture.answer(settings());
  assert.equal(fixture.client.streamCount, 150);
});

test("open() says when no further request can wait", () => {
  const fixture = new ClientFixture({ options: { waitingMax: 3 } });
  fixture.answer(settings([Setting.maxConcurrentStreams, 0]));
  assert.deepEqual([1, 2, 3, 4].map(() => fixture.open(getBlock, true).stream !== undefined), [
    true,
    true,
    true,
    false,
  ]);
});

test("a response may be headers alone, and informational ones are skipped", () => {
  const fixture = new ClientFixture();
  const response = fixture.open(getBlock, true);
  const continued = encodeStaticBlock([[":status", "100"]]);
  const only = encodeStaticBlock([[":status", "404"], ["grpc-status", "12"]]);
  fixture.answer(settings(), headers(1, continued, false), headers(1, only, true));
  assert.equal(response.head?.status, 404);
  assert.deepEqual(response.trailers, []);
});

test("RST_STREAM without error after the response leaves it complete", () => {
  const fixture = new ClientFixture();
  const response = fixture.open(postBlock, false);
  fixture.answer(settings(), headers(1, okBlock, false), headers(1, trailersBlock, true), rst(1, 0));
  assert.deepEqual(response.trailers, [["grpc-status", "0"]]);
  assert.equal(response.resetCode, -1);
  assert.equal(response.stream!.closed, true);
});

test("GOAWAY refuses what the server has not seen, and the rest goes on", () => {
  const fixture = new ClientFixture();
  fixture.answer(settings([Setting.maxConcurrentStreams, 2]));
  const responses = [1, 2, 3].map(() => fixture.open(getBlock, true));
  fixture.answer(frame(7, 0, 0, join([uint32(1), uint32(0)])));
  assert.deepEqual(responses.map(({ resetCode }) => resetCode), [
    -1,
    ErrorCode.refusedStream,
    ErrorCode.refusedStream,
  ]);
  assert.equal(fixture.goAwayCode, 0);
  assert.equal(fixture.client.usable, false);
  assert.equal(fixture.open(getBlock, true).stream, undefined);
  fixture.answer(headers(1, encodeStaticBlock([[":status", "200"]]), true));
  assert.equal(responses[0]!.head?.status, 200);
  assert.equal(fixture.client.ended, true);
});

test("goAway() of the server drains a client of ours", () => {
  const echo = new Echo({ silent: true });
  const response = echo.open(postBlock, true);
  echo.settle();
  echo.server.goAway();
  echo.settle();
  assert.equal(echo.client.usable, false);
  echo.requests[0]!.reply(utf8("last"));
  echo.settle();
  assert.equal(response.body, "last");
  echo.clock.advance(3_000);
  echo.settle();
  assert.equal(echo.closed, 1);
  assert.equal(echo.clock.timers, 0);
});

test("close() waits for open requests", () => {
  const echo = new Echo({ silent: true });
  const response = echo.open(postBlock, true);
  echo.settle();
  echo.client.close();
  echo.settle();
  assert.equal(echo.client.ended, false);
  echo.requests[0]!.reply(utf8("last"));
  echo.settle();
  assert.equal(response.body, "last");
  assert.equal(echo.client.ended, true);
});

test("the loss of the connection resets what is open and what waits", () => {
  const echo = new Echo({ limits: { streamsMax: 1 }, silent: true });
  echo.settle();
  const responses = [echo.open(postBlock, true), echo.open(postBlock, true)];
  echo.settle();
  echo.pair.b.destroy();
  echo.settle();
  assert.deepEqual(responses.map(({ resetCode }) => resetCode), [ErrorCode.cancel, ErrorCode.refusedStream]);
  assert.equal(echo.closed, 1);
  assert.equal(echo.clock.timers, 0);
});

test("a client asks for a sign of life while a request is open", () => {
  const keepalive = { idleMs: 30_000, timeoutMs: 10_000, withoutStreams: false };
  const fixture = new ClientFixture({ options: { keepalive } });
  fixture.answer(settings(), frame(FRAME_SETTINGS, 1, 0));
  let pings = 0;
  fixture.pair.b.handler = {
    onData(chunk) {
      if (chunk[3] === 6 && chunk[4] === 0) pings += 1;
    },
    onDrain() {},
    onEnd() {},
    onClose() {},
  };
  const advance = (ms: number) => {
    fixture.clock.advance(ms);
    fixture.settle();
  };
  advance(100_000);
  assert.equal(pings, 0);
  const response = fixture.open(postBlock, true);
  fixture.settle();
  advance(31_000);
  assert.equal(pings, 1);
  advance(5_000);
  fixture.answer(ping("alive"));
  advance(20_000);
  assert.equal(fixture.closed, 0);
  advance(12_000);
  assert.equal(pings, 2);
  advance(12_000);
  assert.equal(fixture.closed, 1);
  assert.equal(response.resetCode, ErrorCode.cancel);
});

test("ClientConnection begins with the preface and refuses push", () => {
  const fixture = new ClientFixture();
  let received = "";
  fixture.pair.b.handler = {
    onData: (chunk) => received += String.fromCharCode(...chunk),
    onDrain() {},
    onEnd() {},
    onClose() {},
  };
  fixture.settle();
  assert.equal(received.startsWith(PREFACE), true);
  assert.ok(received.includes("\u0000\u0002\u0000\u0000\u0000\u0000"));
  fixture.answer(settings(), frame(5, 4, 1, join([uint32(2), getBlock])));
  assert.equal(fixture.client.ended, true);
});

test("faults of a server end the stream or the connection", () => {
  const ok = headers(1, okBlock, false);
  const streamFaults: [string, Uint8Array[], number][] = [
    ["data before the head", [data(1, hex("00"), false)], ErrorCode.protocolError],
    ["no status", [headers(1, trailersBlock, true)], ErrorCode.protocolError],
    ["status 99", [headers(1, encodeStaticBlock([[":status", "99"]]), true)], ErrorCode.protocolError],
    ["trailers without end", [ok, headers(1, trailersBlock, false)], ErrorCode.protocolError],
    ["trailers with a status", [ok, headers(1, okBlock, true)], ErrorCode.protocolError],
    [
      "end in an informational head",
      [headers(1, encodeStaticBlock([[":status", "103"]]), true)],
      ErrorCode.protocolError,
    ],
    ["body shorter than said", [
      headers(1, encodeStaticBlock([[":status", "200"], ["content-length", "2"]]), false),
      data(1, hex("00"), true),
    ], ErrorCode.protocolError],
  ];
  for (const [name, frames, code] of streamFaults) {
    const fixture = new ClientFixture();
    const response = fixture.open(getBlock, true);
    fixture.answer(settings(), ...frames);
    assert.equal(response.resetCode, code, name);
    assert.equal(fixture.client.ended, false, name);
  }
  const connectionFaults: [string, Uint8Array[]][] = [
    ["head of a stream that is not open", [headers(3, okBlock, false)]],
    ["head of a stream of the server", [headers(2, okBlock, false)]],
    ["malformed block", [headers(1, hex("80"), false)]],
    ["head after the end", [ok, headers(1, trailersBlock, true), headers(1, trailersBlock, true)]],
  ];
  for (const [name, frames] of connectionFaults) {
    const fixture = new ClientFixture();
    const response = fixture.open(postBlock, false);
    fixture.answer(settings(), ...frames);
    assert.equal(fixture.client.ended, true, name);
    assert.equal(response.trailers !== undefined || response.resetCode >= 0, true, name);
  }
});
