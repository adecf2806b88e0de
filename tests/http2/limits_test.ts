import { test } from "node:test";
import assert from "node:assert/strict";
import { utf8 } from "../../src/base/bytes.ts";
import { ErrorCode, FRAME_PING, PREFACE, Setting } from "../../src/http2/frames.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import type { Http2Limits } from "../../src/http2/limits.ts";
import {
  data,
  fieldsOf,
  frame,
  getBlock,
  headers,
  hex,
  join,
  ping,
  postBlock,
  rst,
  ServerFixture,
  type ServerFixtureOptions,
  settings,
  uint32,
  windowUpdate,
} from "./support.ts";

/** Sends `make(i)` in chunks of a hundred until GOAWAY comes; returns how many frames it took, at most `max`. */
function flood(server: ServerFixture, max: number, make: (i: number) => Uint8Array): number {
  for (let sent = 0; sent < max; sent += 100) {
    server.send(join(Array.from({ length: 100 }, (_, i) => make(sent + i))));
    if (server.goAway() !== undefined) return sent + 100;
  }
  return max;
}

/** After the error the socket closes, at the latest when the linger time is over, and no timer is left. */
function assertClosed(server: ServerFixture): void {
  assert.equal(server.peerEnded, true);
  server.advance(2_000);
  assert.equal(server.closed, 1);
  assert.equal(server.clock.timers, 0);
}

// D1

test("rapid reset by the client ends in ENHANCE_YOUR_CALM with few handlers started", () => {
  const server = new ServerFixture();
  const pair = (i: number) => join([headers(i * 2 + 1, postBlock, false), rst(i * 2 + 1, ErrorCode.cancel)]);
  const sent = flood(server, 100_000, pair);
  assert.ok(sent <= 2_200, `${sent} resets were taken`);
  assert.deepEqual(server.goAway(), { code: ErrorCode.enhanceYourCalm, text: "too many resets" });
  assert.ok(server.requests.length <= 2_200);
  assertClosed(server);
});

test("resets that the client makes the server send end in ENHANCE_YOUR_CALM", () => {
  const provocations: Record<string, (id: number) => Uint8Array[]> = {
    "window update of 0": (id) => [headers(id, postBlock, false), windowUpdate(id, 0)],
    "window overflow": (id) => [headers(id, postBlock, false), windowUpdate(id, 0x7fffffff)],
    "malformed request": (id) => [headers(id, encodeStaticBlock([["a", "b"]]), true)],
    "data after the end": (id) => [headers(id, postBlock, true), data(id, hex("00"), false)],
    "data on a closed stream": (id) => [
      headers(id, postBlock, false),
      rst(id, 8),
      data(id, hex("00"), false),
    ],
    "second head": (id) => [headers(id, postBlock, false), headers(id, getBlock, false)],
    "body beyond content-length": (id) => [
      headers(
        id,
        encodeStaticBlock([[":method", "PUT"], [":scheme", "http"], [":path", "/"], ["content-length", "1"]]),
        false,
      ),
      data(id, hex("0000"), false),
    ],
  };
  for (const [name, provoke] of Object.entries(provocations)) {
    const server = new ServerFixture();
    const sent = flood(server, 100_000, (i) => join(provoke(i * 2 + 1)));
    assert.ok(sent <= 2_200, `${name}: ${sent}`);
    assert.equal(server.goAway()?.code, ErrorCode.enhanceYourCalm, name);
    assertClosed(server);
  }
});

test("cancelling thousands of old streams is not a flood", () => {
  const server = new ServerFixture();
  for (let i = 0; i < 9_000; i += 100) {
    server.send(join(Array.from({ length: 100 }, (_, j) => headers((i + j) * 2 + 1, postBlock, false))));
  }
  server.advance(3_000);
  server.send(join(Array.from({ length: 9_000 }, (_, i) => rst(i * 2 + 1, ErrorCode.cancel))));
  assert.equal(server.goAway(), undefined);
  assert.equal(server.connection.streamCount, 0);
});

test("resets are forgiven in time, and by requests that complete", () => {
  const server = new ServerFixture({ limits: { resetsBurst: 10, resetsPerSecond: 5 } });
  let id = 1;
  const cancel = () => {
    server.send(headers(id, postBlock, false), rst(id, ErrorCode.cancel));
    id += 2;
  };
  for (let i = 0; i < 10; i += 1) cancel();
  server.advance(1_000);
  for (let i = 0; i < 5; i += 1) cancel();
  for (let i = 0; i < 5; i += 1) {
    server.request(id).reply(utf8("x"));
    id += 2;
  }
  for (let i = 0; i < 5; i += 1) cancel();
  assert.equal(server.goAway(), undefined);
  cancel();
  assert.equal(server.goAway()?.code, ErrorCode.enhanceYourCalm);
});

// D2

test("CONTINUATION frames without end are cut off by number and by size", () => {
  const empty = new ServerFixture();
  empty.send(frame(1, 0, 1, getBlock));
  assert.ok(flood(empty, 10_000, () => frame(9, 0, 1)) <= 100);
  assert.deepEqual(empty.goAway(), { code: ErrorCode.enhanceYourCalm, text: "header block too large" });
  assertClosed(empty);
  const large = new ServerFixture();
  large.send(frame(1, 0, 1, getBlock));
  let sent = 0;
  while (large.goAway() === undefined && sent < 1_000) {
    large.send(frame(9, 0, 1, new Uint8Array(16_384)));
    sent += 1;
  }
  assert.equal(sent, 8);
  assert.equal(large.goAway()?.code, ErrorCode.enhanceYourCalm);
});

test("a header list that is too large is answered 431, and the connection goes on", () => {
  const base: [string, string][] = [[":method", "GET"], [":scheme", "http"], [":path", "/"]];
  const many = Array.from({ length: 126 }, (_, i): [string, string] => [`x-${i}`, "v"]);
  const tooMany: [string, string][] = [...base, ...many];
  const large: [string, string][] = [...base, ["x", "v".repeat(66_000)]];
  for (const fields of [tooMany, large]) {
    const server = new ServerFixture();
    const block = encodeStaticBlock(fields);
    for (const [id, endStream] of [[1, true], [3, false]] as const) {
      server.send(frame(1, endStream ? 1 : 0, id, block.subarray(0, 16_000)));
      for (let at = 16_000; at < block.length; at += 16_000) {
        server.send(frame(9, 0, id, block.subarray(at, at + 16_000)));
      }
      server.send(frame(9, 4, id));
      const answer = server.of(1).find((received) => received.id === id)!;
      assert.deepEqual(fieldsOf(server.hpack, answer.payload), [[":status", "431"], ["content-length", "0"]]);
      assert.deepEqual(server.resets(id), endStream ? [] : [ErrorCode.noError]);
    }
    assert.equal(server.requests.length, 0);
    assert.equal(server.connection.streamCount, 0);
    server.request(5);
  }
});

test("128 fields are still a request", () => {
  const fields: [string, string][] = [[":method", "GET"], [":scheme", "http"], [":path", "/"]];
  for (let i = 0; i < 125; i += 1) fields.push([`x-${i}`, "v"]);
  const server = new ServerFixture();
  server.send(headers(1, encodeStaticBlock(fields), true));
  assert.equal(server.requests[0]?.head.fields.length, 125);
});

test("an HPACK bomb of table references is refused without being built", () => {
  const server = new ServerFixture();
  // A value of 3,900 octets enters the table; each further octet of the block stands for all of it.
  const value = new Uint8Array(3_900).fill(0x61);
  const insert = join([hex("82 86 84 40 01 78 7f bd1d"), value]);
  const bomb = new Uint8Array(10_000).fill(0xbe);
  server.send(headers(1, join([insert, bomb]), true));
  assert.equal(server.requests.length, 0);
  assert.deepEqual(fieldsOf(server.hpack, server.of(1)[0]!.payload)![0], [":status", "431"]);
  // The table is in step all the same.
  server.send(headers(3, hex("82 86 84 be"), true));
  assert.equal(server.requests[0]!.head.fields[0]![1].length, 3_900);
});

test("a malformed block ends the connection with COMPRESSION_ERROR, on closed streams too", () => {
  const server = new ServerFixture();
  server.request(1, false).stream.reset(ErrorCode.cancel);
  server.send(headers(1, hex("80"), true));
  assert.equal(server.goAway()?.code, ErrorCode.compressionError);
});

// D3

test("frames that move nothing forward are cut off", () => {
  const floods: Record<string, (i: number) => Uint8Array> = {
    settings: () => settings([Setting.maxFrameSize, 16_384]),
    "settings acknowledgements": () => frame(4, 1, 0),
    "ping acknowledgements": () => frame(FRAME_PING, 1, 0, new Uint8Array(8)),
    "empty data": () => data(1, new Uint8Array(0), false),
    "padding alone": () => frame(0, 8, 1, hex("03000000")),
    priority: (i) => frame(2, 0, i + 5, hex("0000000110")),
    "window updates": () => windowUpdate(0, 1),
    "window updates of a stream": () => windowUpdate(1, 1),
    "resets of closed streams": () => rst(3, 8),
    "unknown frames": () => frame(0x77, 0, 0, new Uint8Array(10)),
    goaways: () => frame(7, 0, 0, new Uint8Array(8)),
  };
  for (const [name, make] of Object.entries(floods)) {
    const server = new ServerFixture();
    server.request(1, false);
    server.request(3, false).stream.reset(ErrorCode.cancel);
    const sent = flood(server, 100_000, make);
    assert.ok(sent <= 5_200, `${name}: ${sent} frames were taken`);
    assert.equal(server.goAway()?.code, ErrorCode.enhanceYourCalm, name);
    assertClosed(server);
  }
});

test("window updates that belong to data are no flood", () => {
  const server = new ServerFixture();
  const request = server.request(1);
  const chunk = new Uint8Array(16_384);
  server.send(windowUpdate(0, 16_384), windowUpdate(1, 16_384));
  for (let i = 0; i < 20_000; i += 1) {
    request.stream.sendData(chunk, false);
    server.send(windowUpdate(0, 16_384), windowUpdate(1, 16_384));
  }
  assert.equal(server.goAway(), undefined);
  assert.equal(request.stream.bufferedBytes, 0);
});

test("windows of one octet at a time are a flood", () => {
  const server = new ServerFixture();
  server.send(settings([Setting.initialWindowSize, 0]));
  const request = server.request(1);
  request.stream.sendData(new Uint8Array(1 << 20), true);
  let sent = 0;
  while (server.goAway() === undefined && sent < 20_000) {
    server.send(windowUpdate(1, 1)); // Alone, so that it makes a frame of one octet.
    sent += 1;
  }
  assert.ok(sent <= 5_100, `${sent} updates were taken`);
  assert.equal(server.goAway()?.code, ErrorCode.enhanceYourCalm);
  assert.equal(request.resetCode, ErrorCode.enhanceYourCalm);
});

test("window overflow is an error of what overflows", () => {
  const server = new ServerFixture();
  const request = server.request(1, false);
  server.send(windowUpdate(1, 0x7fffffff));
  assert.deepEqual(server.resets(1), [ErrorCode.flowControlError]);
  assert.equal(request.resetCode, ErrorCode.flowControlError);
  server.send(windowUpdate(0, 0x7fffffff));
  assert.equal(server.goAway()?.code, ErrorCode.flowControlError);
  const bySettings = new ServerFixture();
  bySettings.request(1);
  bySettings.send(windowUpdate(1, 0x7fff0000), settings([Setting.initialWindowSize, 0x7fffffff]));
  assert.equal(bySettings.goAway()?.code, ErrorCode.flowControlError);
});

test("data beyond the window is an error of the stream, or of the connection", () => {
  const limits = { streamWindowBytes: 10_000, connectionWindowBytes: 100_000 };
  const server = new ServerFixture({ limits });
  const request = server.request(1, false);
  request.stream.holdCredit();
  server.send(data(1, new Uint8Array(10_000), false));
  assert.deepEqual(server.resets(1), []);
  server.send(data(1, new Uint8Array(1), false));
  assert.deepEqual(server.resets(1), [ErrorCode.flowControlError]);
  const whole = new ServerFixture({ limits });
  for (let id = 1; id <= 19; id += 2) {
    whole.request(id, false).stream.holdCredit();
    whole.send(data(id, new Uint8Array(10_000), false));
  }
  assert.equal(whole.goAway(), undefined);
  whole.request(21, false);
  whole.send(data(21, new Uint8Array(1), false));
  assert.equal(whole.goAway()?.code, ErrorCode.flowControlError);
});

test("a stream whose window stays 0 is reset, and nothing else", () => {
  const server = new ServerFixture({ limits: { stallTimeoutMs: 60_000 } });
  server.send(settings([Setting.initialWindowSize, 10]));
  const stalled = server.request(1);
  const silent = server.request(3);
  stalled.reply(new Uint8Array(100));
  server.settle();
  server.advance(50_000);
  server.send(windowUpdate(1, 10));
  server.advance(50_000);
  assert.equal(stalled.resetCode, -1);
  server.advance(20_000);
  assert.equal(stalled.resetCode, ErrorCode.enhanceYourCalm);
  assert.deepEqual([silent.resetCode, server.goAway()], [-1, undefined]);
});

test("a connection whose socket takes no output is dropped", () => {
  const server = new ServerFixture({ capacityBytes: 1_000, limits: { stallTimeoutMs: 60_000 } });
  const request = server.request(1);
  server.pair.a.pause();
  request.reply(new Uint8Array(300_000));
  server.settle();
  server.advance(59_000);
  assert.equal(server.closed, 0);
  server.advance(3_000);
  assert.equal(server.closed, 1);
  assert.equal(request.resetCode, ErrorCode.cancel);
});

test("streams beyond the limit are refused, and ids go on", () => {
  const server = new ServerFixture({ limits: { streamsMax: 3 } });
  const first = server.request(1);
  server.request(3);
  server.request(5);
  server.send(headers(7, postBlock, true), headers(9, postBlock, false), data(9, hex("00"), true));
  assert.deepEqual([server.resets(7), server.resets(9)], [[ErrorCode.refusedStream], [
    ErrorCode.refusedStream,
  ]]);
  first.reply(utf8("x"));
  server.settle();
  server.request(11);
  assert.equal(server.requests.length, 4);
});

test("requests are refused while too much is parked", () => {
  const server = new ServerFixture({ limits: { parkedBytesMax: 100_000 } });
  server.send(settings([Setting.initialWindowSize, 0]));
  const large = server.request(1);
  large.reply(new Uint8Array(100_001));
  server.send(headers(3, postBlock, true));
  assert.deepEqual(server.resets(3), [ErrorCode.refusedStream]);
  server.send(windowUpdate(1, 1));
  server.request(5).reply(new Uint8Array(100_000));
  server.send(rst(1, ErrorCode.cancel));
  assert.equal(server.connection.output.parkedBytes, 100_000);
  server.request(7);
  server.connection.destroy();
  assert.equal(server.connection.output.parkedBytes, 0);
});

test("PINGs sooner than 5 s without data end in too_many_pings, as grpc-go counts them", () => {
  const server = new ServerFixture();
  server.request(1, false);
  server.send(ping("1"));
  server.advance(5_000);
  server.send(ping("2")); // Not too early.
  for (const strike of [1, 2]) {
    server.advance(4_000);
    server.send(ping("early"));
    assert.equal(server.goAway(), undefined, `strike ${strike}`);
  }
  server.advance(4_000);
  server.send(ping("third"));
  assert.deepEqual(server.goAway(), { code: ErrorCode.enhanceYourCalm, text: "too_many_pings" });
  assert.equal(server.of(FRAME_PING).length, 5);
  assertClosed(server);
});

test("what the server sends forgives strikes", () => {
  const server = new ServerFixture();
  const request = server.request(1, false);
  for (let i = 0; i < 50; i += 1) {
    server.send(ping("a"), ping("b"), ping("c"));
    request.stream.sendData(utf8("x"), false);
  }
  assert.equal(server.goAway(), undefined);
});

test("PINGs without an open request are counted against two hours", () => {
  const server = new ServerFixture();
  for (let i = 0; i < 3; i += 1) {
    server.send(ping("a"));
    server.advance(3_600_000);
    server.send(settings()); // Something to read, so that keepalive does not end it.
  }
  assert.equal(server.goAway(), undefined);
  server.send(ping("a"));
  assert.equal(server.goAway()?.text, "too_many_pings");
});

// D4

test("deadlines end connections that do not go on", () => {
  const cases: [
    string,
    ServerFixtureOptions & { readonly first: Uint8Array },
    Partial<Http2Limits>,
    number,
  ][] = [
    ["nothing", { silent: true, first: hex("") }, {}, 10_000],
    ["half a preface", { silent: true, first: utf8(PREFACE.slice(0, 10)) }, {}, 10_000],
    ["a preface alone", { silent: true, first: utf8(PREFACE) }, {}, 10_000],
    ["settings not acknowledged", { silent: true, first: join([utf8(PREFACE), settings()]) }, {}, 30_000],
    ["half a frame header", { first: hex("000004") }, {}, 31_000],
    ["half a frame", { first: data(1, hex("0000"), true).subarray(0, 10) }, {}, 31_000],
    ["a block without end", { first: frame(1, 1, 1, getBlock) }, {}, 31_000],
  ];
  for (const [name, options, limits, deadlineMs] of cases) {
    const server = new ServerFixture({ ...options, limits });
    server.send(options.first);
    server.advance(deadlineMs - 2_000);
    assert.equal(server.peerEnded, false, name);
    server.advance(4_000);
    assertClosed(server);
  }
});

test("a header block fed a byte at a time has the same deadline", () => {
  const server = new ServerFixture();
  const bytes = headers(1, postBlock, true);
  for (let i = 0; i < 40 && !server.peerEnded; i += 1) {
    server.send(bytes.slice(i, i + 1));
    server.advance(1_000);
  }
  assert.deepEqual(server.goAway(), { code: ErrorCode.enhanceYourCalm, text: "incomplete frame" });
});

test("deadlines for what a peer sends do not run while we do not read", () => {
  const server = new ServerFixture({
    silent: true,
    capacityBytes: 1_000,
    limits: { outputBytesPause: 2_000 },
    onRequest: ({ stream }) =>
      stream.sendFields([[":status", "200"], ["large", "\u00ff".repeat(5_000)]], true),
  });
  server.pair.a.pause();
  const second = headers(3, postBlock, true);
  // No acknowledgement of our SETTINGS, and half a frame at the end.
  server.send(join([utf8(PREFACE), settings(), headers(1, postBlock, true), second.subarray(0, 12)]));
  assert.equal(server.pair.b.paused, true);
  server.advance(200_000);
  server.pair.a.resume();
  server.settle();
  server.send(second.subarray(12), frame(4, 1, 0));
  assert.equal(server.goAway(), undefined);
  assert.equal(server.requests.length, 2);
});

test("an idle peer is asked for a sign of life, and dropped without one", () => {
  const server = new ServerFixture();
  server.advance(7_201_000);
  assert.equal(server.of(FRAME_PING).length, 1);
  server.send(frame(FRAME_PING, 1, 0, server.of(FRAME_PING)[0]!.payload));
  server.advance(60_000);
  assert.equal(server.closed, 0);
  server.advance(7_142_000);
  assert.equal(server.of(FRAME_PING).length, 2);
  server.advance(21_000);
  assert.equal(server.closed, 1);
});

test("frames of wrong length or on the wrong stream end the connection", () => {
  const cases: [string, Uint8Array, number][] = [
    ["frame above 16,384", data(1, new Uint8Array(16_385), false), ErrorCode.frameSizeError],
    ["PING of 7", frame(6, 0, 0, new Uint8Array(7)), ErrorCode.frameSizeError],
    ["PING on a stream", frame(6, 0, 1, new Uint8Array(8)), ErrorCode.protocolError],
    ["SETTINGS of 5", frame(4, 0, 0, new Uint8Array(5)), ErrorCode.frameSizeError],
    ["SETTINGS on a stream", frame(4, 0, 1), ErrorCode.protocolError],
    ["SETTINGS acknowledgement with content", frame(4, 1, 0, new Uint8Array(6)), ErrorCode.frameSizeError],
    ["ENABLE_PUSH of 2", settings([Setting.enablePush, 2]), ErrorCode.protocolError],
    [
      "INITIAL_WINDOW_SIZE of 2^31",
      settings([Setting.initialWindowSize, 2 ** 31]),
      ErrorCode.flowControlError,
    ],
    ["MAX_FRAME_SIZE of 16,383", settings([Setting.maxFrameSize, 16_383]), ErrorCode.protocolError],
    ["MAX_FRAME_SIZE of 2^24", settings([Setting.maxFrameSize, 2 ** 24]), ErrorCode.protocolError],
    ["RST_STREAM of 3", frame(3, 0, 1, new Uint8Array(3)), ErrorCode.frameSizeError],
    ["RST_STREAM on an idle stream", rst(9, 8), ErrorCode.protocolError],
    ["WINDOW_UPDATE of 3", frame(8, 0, 1, new Uint8Array(3)), ErrorCode.frameSizeError],
    ["WINDOW_UPDATE on an idle stream", windowUpdate(9, 1), ErrorCode.protocolError],
    ["WINDOW_UPDATE of 0 on the connection", windowUpdate(0, 0), ErrorCode.protocolError],
    ["DATA on stream 0", data(0, hex("00"), false), ErrorCode.protocolError],
    ["DATA on an idle stream", data(9, hex("00"), false), ErrorCode.protocolError],
    ["DATA with more padding than payload", frame(0, 8, 1, hex("0200")), ErrorCode.protocolError],
    ["HEADERS on stream 0", headers(0, getBlock, true), ErrorCode.protocolError],
    ["HEADERS on an even stream", headers(2, getBlock, true), ErrorCode.protocolError],
    [
      "HEADERS of a skipped stream",
      join([headers(5, getBlock, true), headers(3, getBlock, true)]),
      ErrorCode.protocolError,
    ],
    [
      "HEADERS after the end",
      join([headers(5, getBlock, true), headers(5, getBlock, true)]),
      ErrorCode.streamClosed,
    ],
    [
      "HEADERS that depend on themselves",
      frame(1, 4 | 0x20, 5, join([uint32(5), hex("00"), getBlock])),
      ErrorCode.protocolError,
    ],
    ["HEADERS with priority cut off", frame(1, 4 | 0x20, 5, hex("00")), ErrorCode.frameSizeError],
    ["PRIORITY of 4", frame(2, 0, 1, new Uint8Array(4)), ErrorCode.frameSizeError],
    ["PUSH_PROMISE", frame(5, 4, 1, join([uint32(2), getBlock])), ErrorCode.protocolError],
    ["GOAWAY on a stream", frame(7, 0, 1, new Uint8Array(8)), ErrorCode.protocolError],
    ["GOAWAY of 7", frame(7, 0, 0, new Uint8Array(7)), ErrorCode.frameSizeError],
    ["CONTINUATION without HEADERS", frame(9, 4, 1, getBlock), ErrorCode.protocolError],
    ["PING inside a block", join([frame(1, 0, 5, getBlock), ping("x")]), ErrorCode.protocolError],
    [
      "CONTINUATION of another stream",
      join([frame(1, 0, 5, getBlock), frame(9, 4, 7)]),
      ErrorCode.protocolError,
    ],
  ];
  for (const [name, bytes, code] of cases) {
    const server = new ServerFixture();
    const request = server.request(1, false);
    server.send(bytes);
    assert.equal(server.goAway()?.code, code, name);
    assert.equal(request.resetCode, code, name);
    const { length } = server.requests;
    server.send(frame(9, 4, 5), headers(101, getBlock, true));
    assert.equal(server.requests.length, length, name);
    assertClosed(server);
  }
});

test("a first frame that is not SETTINGS ends the connection", () => {
  for (const first of [ping("x"), frame(4, 1, 0), headers(1, getBlock, true)]) {
    const server = new ServerFixture({ silent: true });
    server.send(utf8(PREFACE), first);
    assert.equal(server.goAway()?.code, ErrorCode.protocolError);
    assert.equal(server.requests.length, 0);
  }
});
