import { test } from "node:test";
import assert from "node:assert/strict";
import type { ByteWriter } from "../../src/base/byte_writer.ts";
import { utf8 } from "../../src/base/bytes.ts";
import type { DataSource } from "../../src/http2/api.ts";
import { ErrorCode, FRAME_PING, FRAME_SETTINGS, PREFACE, Setting, uint32At } from "../../src/http2/frames.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import { RepeatedFields } from "../../src/http2/hpack/repeated_fields.ts";
import { TABLE_BYTES_DEFAULT } from "../../src/http2/hpack/table.ts";
import {
  data,
  fieldsOf,
  frame,
  getBlock,
  headers,
  hex,
  join,
  okBlock,
  ping,
  postBlock,
  rst,
  ServerFixture,
  settings,
  trailersBlock,
  windowUpdate,
} from "./support.ts";

const DATA = 0;
const HEADERS = 1;
const WINDOW_UPDATE = 8;

/** "type:id:length" of each frame, with "!" for END_STREAM. */
function summary(server: ServerFixture): string[] {
  return server.take().map(({ type, id, flags, payload }) => {
    const end = type <= HEADERS && (flags & 1) !== 0 ? "!" : "";
    return `${
      ["DATA", "HEADERS", "", "RST", "SETTINGS", "", "PING", "GOAWAY", "WINDOW"][type]
    }:${id}:${payload.length}${end}`;
  });
}

function bytes(length: number, value = 97): Uint8Array {
  return new Uint8Array(length).fill(value);
}

test("ServerConnection begins with SETTINGS and a larger connection window", () => {
  const server = new ServerFixture({ silent: true });
  server.settle();
  const [first, second] = server.received;
  assert.equal(first!.type, FRAME_SETTINGS);
  const sent = new Map<number, number>();
  for (let at = 0; at < first!.payload.length; at += 6) {
    sent.set(first!.payload[at + 1]!, uint32At(first!.payload, at + 2));
  }
  assert.deepEqual([...sent], [
    [Setting.maxConcurrentStreams, 10_000],
    [Setting.initialWindowSize, 1 << 20],
    [Setting.maxHeaderListSize, 64 << 10],
  ]);
  assert.equal(uint32At(second!.payload, 0), (16 << 20) - 65_535);
});

test("ServerConnection hands a request to its handler and sends the reply", () => {
  const server = new ServerFixture();
  server.send(join([headers(1, postBlock, false), data(1, utf8("hello"), true)]));
  const request = server.requests[0]!;
  assert.deepEqual([request.head.method, request.head.path, request.head.authority, request.head.scheme], [
    "POST",
    "/etcdserverpb.KV/Put",
    "localhost",
    "http",
  ]);
  assert.deepEqual(request.head.fields, [["content-type", "application/grpc"], ["te", "trailers"]]);
  assert.deepEqual([request.bodyBytes, request.ended], [5, true]);
  request.reply(utf8("world"));
  server.settle();
  const [head, body, trailers] = server.received;
  assert.deepEqual(fieldsOf(server.hpack, head!.payload), [[":status", "200"], [
    "content-type",
    "application/grpc",
  ]]);
  assert.deepEqual(body!.payload, utf8("world"));
  assert.deepEqual(fieldsOf(server.hpack, trailers!.payload), [["grpc-status", "0"]]);
  assert.deepEqual(summary(server).map((s) => s.endsWith("!")), [false, false, true]);
  assert.equal(request.stream.closed, true);
  assert.equal(server.connection.streamCount, 0);
});

test("ServerConnection works when every byte comes alone", () => {
  const server = new ServerFixture({ chunkBytesMax: 1 });
  server.send(join([headers(1, postBlock, false), data(1, utf8("hello"), true)]));
  server.requests[0]!.reply(utf8("world"));
  server.settle();
  assert.deepEqual(summary(server), [
    `HEADERS:1:${okBlock.length}`,
    "DATA:1:5",
    `HEADERS:1:${trailersBlock.length}!`,
  ]);
});

test("ServerConnection writes once for all replies of a chunk, and once for those of a later turn", () => {
  const server = new ServerFixture({
    onRequest: (request) => request.head.method === "GET" && request.reply(bytes(3)),
  });
  const writes = server.pair.b.writes;
  server.send(join([headers(1, getBlock, true), headers(3, getBlock, true), headers(5, getBlock, true)]));
  assert.equal(server.pair.b.writes, writes + 1);
  server.send(join([headers(7, postBlock, true), headers(9, postBlock, true)]));
  assert.equal(server.pair.b.writes, writes + 1);
  for (const request of server.requests.slice(3)) request.reply(bytes(3));
  server.settle();
  assert.equal(server.pair.b.writes, writes + 2);
  assert.equal(server.of(DATA).length, 5);
});

test("ServerConnection gives requests with the same header block the same head", () => {
  const server = new ServerFixture();
  server.send(headers(1, postBlock, true), headers(3, postBlock, true), headers(5, getBlock, true));
  server.send(headers(7, postBlock, true));
  const heads = server.requests.map((request) => request.head);
  assert.equal(heads[0], heads[1]);
  assert.notEqual(heads[0], heads[2]);
  assert.equal(heads[0], heads[3]);
});

test("ServerConnection does not take the same bytes for the same head when the dynamic table has changed", () => {
  const server = new ServerFixture();
  const start = "83 86 84"; // POST http /
  server.send(headers(1, hex(`${start} 40 01 61 01 31`), true)); // inserts a: 1
  server.send(headers(3, hex(`${start} be`), true));
  server.send(headers(5, hex(`${start} be`), true));
  server.send(headers(7, hex(`${start} 40 01 61 01 32`), true)); // inserts a: 2
  server.send(headers(9, hex(`${start} be`), true));
  const fields = server.requests.map(({ head }) => head.fields);
  assert.deepEqual(fields, [[["a", "1"]], [["a", "1"]], [["a", "1"]], [["a", "2"]], [["a", "2"]]]);
  assert.equal(server.requests[1]!.head, server.requests[2]!.head);
});

test("ServerConnection decodes a block that changes the dynamic table each time", () => {
  const server = new ServerFixture();
  const inserting = hex("83 86 84 40 01 61 01 31");
  server.send(headers(1, inserting, true), headers(3, inserting, true));
  server.send(headers(5, hex("83 86 84 be bf"), true)); // Both entries are there.
  assert.deepEqual(server.requests.at(-1)!.head.fields, [["a", "1"], ["a", "1"]]);
});

test("startData() and finishData() write a frame in place", () => {
  const server = new ServerFixture();
  const { stream } = server.request(1);
  stream.sendBlock(okBlock, false);
  const out = stream.startData();
  out.write(utf8("abc"));
  stream.finishData(false);
  stream.startData();
  stream.finishData(false); // Nothing: no frame.
  stream.startData().write(utf8("d"));
  stream.finishData(true);
  server.settle();
  assert.deepEqual(summary(server), [`HEADERS:1:${okBlock.length}`, "DATA:1:3", "DATA:1:1!"]);
});

test("finishData() splits a payload at the peer's frame size", () => {
  const server = new ServerFixture();
  server.send(settings([Setting.initialWindowSize, 1 << 20]), windowUpdate(0, 1 << 20));
  server.take();
  const { stream } = server.request(1);
  stream.startData().write(bytes(40_000));
  stream.finishData(true);
  server.settle();
  assert.deepEqual(summary(server), ["DATA:1:16384", "DATA:1:16384", "DATA:1:7232!"]);
});

test("finishData() parks what the stream's window does not allow, and trailers behind it", () => {
  const server = new ServerFixture();
  server.send(settings([Setting.initialWindowSize, 10]));
  server.take();
  const request = server.request(1);
  request.stream.sendBlock(okBlock, false);
  request.stream.startData().write(bytes(25));
  request.stream.finishData(false);
  request.stream.sendData(bytes(5), false);
  request.stream.sendBlock(trailersBlock, true);
  request.stream.sendData(bytes(100), true); // After END_STREAM: nothing.
  server.settle();
  assert.deepEqual(summary(server), [`HEADERS:1:${okBlock.length}`, "DATA:1:10"]);
  assert.equal(request.stream.bufferedBytes, 20);
  server.send(windowUpdate(1, 12));
  assert.deepEqual(summary(server), ["DATA:1:12"]);
  assert.equal(request.stream.bufferedBytes, 8);
  server.send(windowUpdate(1, 1_000));
  assert.deepEqual(summary(server), ["DATA:1:3", "DATA:1:5", `HEADERS:1:${trailersBlock.length}!`]);
  assert.equal(request.stream.closed, true);
  assert.equal(request.writables, 0);
});

test("ServerConnection shares the connection's window among streams, a frame each in turn", () => {
  const server = new ServerFixture();
  server.send(settings([Setting.initialWindowSize, 1 << 20]));
  server.take();
  const requests = [1, 3, 5].map((id) => server.request(id));
  for (const { stream } of requests) stream.sendData(bytes(60_000), true);
  server.settle();
  assert.equal(server.of(DATA).reduce((sum, { payload }) => sum + payload.length, 0), 65_535);
  server.take();
  server.send(windowUpdate(0, 4 * 16_384));
  const turns = server.of(DATA).map(({ id }) => id);
  assert.deepEqual([...new Set(turns)].sort(), [3, 5]);
  assert.deepEqual(turns.slice(0, 2), turns.slice(0, 2).toSorted((a, b) => a - b));
  server.send(windowUpdate(0, 1 << 20));
  assert.equal(server.connection.streamCount, 0);
});

test("SETTINGS_INITIAL_WINDOW_SIZE moves open windows, below 0 too", () => {
  const server = new ServerFixture();
  const { stream } = server.request(1);
  stream.sendData(bytes(60_000), false);
  server.send(settings([Setting.initialWindowSize, 50_000])); // -10,000 left
  server.take();
  stream.sendData(bytes(100), true);
  server.send(windowUpdate(1, 10_000)); // 0
  assert.equal(server.of(DATA).length, 0);
  server.send(windowUpdate(1, 1));
  assert.equal(server.dataBytes(1), 1);
  server.send(settings([Setting.initialWindowSize, 50_099]));
  assert.equal(server.dataBytes(1), 100);
});

test("onWritable() follows when parked output falls to the low-water mark, and when it is gone", () => {
  const server = new ServerFixture({ limits: { parkedLowBytes: 1_000 } });
  server.send(settings([Setting.initialWindowSize, 0]));
  const request = server.request(1);
  request.stream.sendData(bytes(5_000), false);
  for (
    const [credit, left, writables] of [[3_000, 2_000, 0], [1_500, 500, 1], [100, 400, 1], [
      400,
      0,
      2,
    ]] as const
  ) {
    server.send(windowUpdate(1, credit));
    assert.equal(request.stream.bufferedBytes, left);
    assert.equal(request.writables, writables, `${left} left`);
  }
});

/** Bytes that tell their position. */
function pattern(start: number, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (start + i) % 251);
}

function assertPattern(server: ServerFixture, id: number, total: number): void {
  let at = 0;
  for (const { payload } of server.of(DATA).filter((received) => received.id === id)) {
    for (let i = 0; i < payload.length; i += 1) {
      if (payload[i] !== (at + i) % 251) assert.fail(`octet ${at + i} is ${payload[i]}`);
    }
    at += payload.length;
  }
  assert.equal(at, total);
}

test("ServerConnection streams under back-pressure through a socket that takes little at a time", () => {
  const total = 3_000_000;
  const server = new ServerFixture({
    capacityBytes: 10_000,
    limits: { outputBytesMax: 50_000, parkedLowBytes: 20_000 },
  });
  server.send(settings([Setting.initialWindowSize, 0x7fffffff]), windowUpdate(0, 0x7fff0000 - 65_535));
  const request = server.request(1);
  let sent = 0;
  let queuedMax = 0;
  const produce = () => {
    while (sent < total && request.stream.bufferedBytes < 60_000) {
      request.stream.startData().write(pattern(sent, 30_000));
      sent += 30_000;
      request.stream.finishData(sent >= total);
    }
    queuedMax = Math.max(queuedMax, server.pair.b.queuedBytes + request.stream.bufferedBytes);
  };
  request.onWritableRun = produce;
  produce();
  server.settle();
  assertPattern(server, 1, total);
  assert.ok(queuedMax < 60_000 + 30_000 + 50_000 + 20_000, `${queuedMax} bytes were queued`);
});

test("a large body goes out over several turns when the socket takes everything", () => {
  const server = new ServerFixture({ limits: { outputBytesMax: 50_000 } });
  server.send(settings([Setting.initialWindowSize, 0x7fffffff]), windowUpdate(0, 0x7fff0000 - 65_535));
  const writes = server.pair.b.writes;
  server.request(1).stream.sendData(pattern(0, 1_000_000), true);
  server.settle();
  assertPattern(server, 1, 1_000_000);
  assert.ok(server.pair.b.writes - writes >= 15, `${server.pair.b.writes - writes} writes`);
});

test("finishData() splits where windows end, and parks the rest", () => {
  for (const window of [1, 16_383, 16_384, 16_385, 39_999, 40_000]) {
    const server = new ServerFixture();
    server.send(settings([Setting.initialWindowSize, window]));
    const { stream } = server.request(1);
    stream.startData().write(pattern(0, 40_000));
    stream.finishData(true);
    server.settle();
    assert.equal(server.dataBytes(1), window);
    assert.equal(stream.bufferedBytes, 40_000 - window);
    assert.equal(stream.closed, window === 40_000);
    server.send(windowUpdate(1, 40_000));
    assertPattern(server, 1, 40_000);
    assert.equal(stream.closed, true);
  }
});

test("a stream that is woken twice does not push others out of the queue", () => {
  const server = new ServerFixture();
  server.send(settings([Setting.initialWindowSize, 60_000]));
  for (const id of [1, 3, 5]) server.request(id).stream.sendData(bytes(60_000), true);
  server.settle(); // The connection's window is used up; 3 and 5 wait for it.
  server.send(windowUpdate(3, 1));
  server.send(windowUpdate(0, 1 << 20));
  assert.deepEqual([1, 3, 5].map((id) => server.dataBytes(id)), [60_000, 60_000, 60_000]);
});

test("memory that the socket holds is not written to again", () => {
  const server = new ServerFixture({ capacityBytes: 1_000 });
  server.pair.a.pause();
  server.request(1).stream.sendData(pattern(0, 20_000), true);
  server.settle();
  server.request(3).stream.sendData(bytes(20_000, 255), true);
  server.settle();
  server.pair.a.resume();
  server.settle();
  assertPattern(server, 1, 20_000);
  assert.equal(server.dataBytes(3), 20_000);
});

test("ServerConnection stops reading while its peer takes no output", () => {
  const server = new ServerFixture({ capacityBytes: 1_000, limits: { outputBytesPause: 4_000 } });
  server.pair.a.pause();
  for (let i = 0; i < 2_000; i += 1) server.pair.a.write(settings());
  server.settle();
  assert.equal(server.pair.b.paused, true);
  assert.ok(server.pair.b.queuedBytes < 5_000, `${server.pair.b.queuedBytes} bytes are queued`);
  server.pair.a.resume();
  server.settle();
  assert.equal(server.pair.b.paused, false);
  assert.equal(server.of(FRAME_SETTINGS).length, 2_000);
});

test("ServerConnection returns credit in batches", () => {
  const server = new ServerFixture();
  const request = server.request(1, false);
  for (let i = 0; i < 31; i += 1) server.send(data(1, bytes(16_384), false));
  assert.deepEqual(server.of(WINDOW_UPDATE), []);
  server.send(data(1, bytes(16_384), false));
  const updates = server.of(WINDOW_UPDATE).map(({ id, payload }) => [id, uint32At(payload, 0)]);
  assert.deepEqual(updates, [[1, 1 << 19]]);
  for (let i = 0; i < 512 - 32; i += 1) server.send(data(1, bytes(16_384), false));
  const connection = server.of(WINDOW_UPDATE).filter(({ id }) => id === 0).map(({ payload }) =>
    uint32At(payload, 0)
  );
  assert.deepEqual(connection, [8 << 20]);
  assert.equal(request.bodyBytes, 8 << 20);
});

test("holdCredit() keeps credit until releaseCredit(), and no longer than the stream", () => {
  const server = new ServerFixture({ limits: { streamWindowBytes: 1_000, connectionWindowBytes: 65_535 } });
  const request = server.request(1, false);
  request.stream.holdCredit();
  server.send(data(1, bytes(900), false));
  assert.deepEqual(server.of(WINDOW_UPDATE), []);
  request.stream.releaseCredit(600);
  server.settle();
  assert.deepEqual(server.of(WINDOW_UPDATE).map(({ id, payload }) => [id, uint32At(payload, 0)]), [[1, 600]]);
  request.stream.releaseCredit(5_000); // More than was received: only the rest counts.
  server.send(data(1, bytes(700), false));
  assert.deepEqual(server.resets(1), []);
  // The connection's credit for what the stream held comes back when the stream ends.
  for (let id = 3; id < 203; id += 2) {
    const held = server.request(id, false);
    held.stream.holdCredit();
    server.send(data(id, bytes(900), false));
    held.stream.reset(ErrorCode.cancel);
    held.stream.releaseCredit(900); // Is no longer his to release.
    server.settle();
  }
  assert.equal(server.goAway(), undefined);
  const returned = server.of(WINDOW_UPDATE).filter(({ id }) => id === 0);
  const sum = returned.reduce((total, { payload }) => total + uint32At(payload, 0), 0);
  const received = 1_600 + 100 * 900;
  assert.ok(sum <= received && sum > received - 65_535 / 2, `${sum} octets of credit were returned`);
});

test("padding is not held", () => {
  const server = new ServerFixture({ limits: { streamWindowBytes: 1_000 } });
  server.request(1, false).stream.holdCredit();
  const padded = join([hex("c8 61"), bytes(200, 0)]);
  for (let i = 0; i < 3; i += 1) server.send(frame(DATA, 8, 1, padded));
  assert.deepEqual(server.of(WINDOW_UPDATE).map(({ payload }) => uint32At(payload, 0)), [3 * 201]);
});

test("ServerConnection ends a stream whose reply is complete before its request", () => {
  const server = new ServerFixture();
  const request = server.request(1, false);
  request.reply(bytes(3));
  server.settle();
  assert.deepEqual(server.resets(1), [ErrorCode.noError]);
  assert.equal(request.resetCode, -1);
  // What crossed the reset is ignored.
  server.send(data(1, bytes(10), false), data(1, bytes(10), true));
  assert.deepEqual(server.resets(1), [ErrorCode.noError]);
  assert.equal(request.bodyBytes, 0);
});

test("reset() tells both sides, once", () => {
  const server = new ServerFixture();
  const request = server.request(1, false);
  request.stream.reset(ErrorCode.cancel);
  request.stream.reset(ErrorCode.internalError);
  request.reply(bytes(3));
  server.settle();
  assert.deepEqual(server.resets(1), [ErrorCode.cancel]);
  assert.equal(request.resetCode, ErrorCode.cancel);
  assert.deepEqual(server.of(DATA), []);
});

test("RST_STREAM from the client reaches the consumer and drops parked output", () => {
  const server = new ServerFixture();
  server.send(settings([Setting.initialWindowSize, 0]));
  const request = server.request(1);
  request.reply(bytes(100));
  server.send(rst(1, ErrorCode.cancel), windowUpdate(1, 100));
  assert.equal(request.resetCode, ErrorCode.cancel);
  assert.equal(server.dataBytes(1), 0);
  assert.equal(server.connection.output.parkedStreams.size, 0);
});

test("an exception of the handler resets its stream and takes back a half-written frame", () => {
  const server = new ServerFixture({
    onRequest(request) {
      if (request.stream.id !== 1) return request.reply(bytes(2));
      request.stream.startData().write(bytes(50));
      throw new Error("defect");
    },
  });
  server.send(join([headers(1, getBlock, true), headers(3, getBlock, true)]));
  assert.deepEqual(server.resets(1), [ErrorCode.internalError]);
  assert.equal(server.defects.length, 1);
  assert.deepEqual([server.dataBytes(1), server.dataBytes(3)], [0, 2]);
});

test("an exception in the body's callbacks resets its stream", () => {
  const server = new ServerFixture();
  const request = server.request(1, false);
  request.onData = () => {
    throw new Error("defect");
  };
  server.send(data(1, bytes(3), true));
  assert.deepEqual(server.resets(1), [ErrorCode.internalError]);
  assert.equal(request.ended, false);
});

test("trailers end a request", () => {
  const server = new ServerFixture();
  const request = server.request(1, false);
  server.send(data(1, bytes(3), false), headers(1, encodeStaticBlock([["x-checksum", "1"]]), true));
  assert.deepEqual(request.trailers, [["x-checksum", "1"]]);
  assert.equal(request.ended, true);
});

test("content-length must be the length of the body", () => {
  const cases: [declared: string, frames: (id: number) => Uint8Array[], valid: boolean][] = [
    ["5", (id) => [data(id, bytes(2), false), data(id, bytes(3), true)], true],
    ["5", (id) => [data(id, bytes(2), false), data(id, bytes(2), true)], false],
    ["5", (id) => [data(id, bytes(6), false)], false],
    ["5", (id) => [data(id, bytes(5), false), headers(id, trailersBlock, true)], true],
    ["5", (id) => [data(id, bytes(4), false), headers(id, trailersBlock, true)], false],
    ["0", (id) => [data(id, bytes(0), true)], true],
  ];
  const server = new ServerFixture();
  cases.forEach(([declared, frames, valid], i) => {
    const id = i * 2 + 1;
    const block = encodeStaticBlock([[":method", "POST"], [":scheme", "http"], [":path", "/"], [
      "content-length",
      declared,
    ]]);
    server.send(headers(id, block, false), ...frames(id));
    assert.deepEqual(server.resets(id), valid ? [] : [ErrorCode.protocolError], `case ${i}`);
    assert.equal(server.requests[i]!.ended, valid, `case ${i}`);
  });
});

test("malformed requests are refused without reaching the handler", () => {
  const base: [string, string][] = [[":method", "GET"], [":scheme", "http"], [":path", "/"]];
  const malformed: [string, string][][] = [
    [],
    [[":method", "GET"], [":scheme", "http"]],
    [[":method", "GET"], [":scheme", "http"], [":path", ""]],
    [...base, [":path", "/"]],
    [...base, [":status", "200"]],
    [...base, [":unknown", "x"]],
    [["a", "b"], ...base],
    [...base, ["Upper", "x"]],
    [...base, ["", "x"]],
    [...base, ["a b", "x"]],
    [...base, ["a", "x\r\ny"]],
    [...base, ["a", "x\u0000"]],
    [...base, ["connection", "close"]],
    [...base, ["transfer-encoding", "chunked"]],
    [...base, ["te", "gzip"]],
    [...base, ["content-length", "1x"]],
    [...base, ["content-length", "-1"]],
    [...base, ["content-length", "1"], ["content-length", "2"]],
    [...base, ["content-length", "9007199254740993"]],
    [...base, ["content-length", "1"]], // With END_STREAM.
  ];
  const server = new ServerFixture();
  malformed.forEach((fields, i) => {
    const id = i * 2 + 1;
    server.send(headers(id, encodeStaticBlock(fields), true));
    assert.deepEqual(server.resets(id), [ErrorCode.protocolError], JSON.stringify(fields));
  });
  assert.equal(server.requests.length, 0);
  server.send(headers(101, encodeStaticBlock([...base, ["te", "trailers"], ["x", "blanks around "]]), true));
  assert.equal(server.requests.length, 1);
});

test("a header block over several frames is one block", () => {
  const server = new ServerFixture();
  server.send(
    frame(1, 1, 1, postBlock.subarray(0, 3)),
    frame(9, 0, 1, postBlock.subarray(3, 3)),
    frame(9, 4, 1, postBlock.subarray(3)),
  );
  assert.equal(server.requests[0]!.head.path, "/etcdserverpb.KV/Put");
  assert.equal(server.requests[0]!.ended, true);
});

test("padding and priority of HEADERS and DATA are left out", () => {
  const server = new ServerFixture();
  const padded = join([hex("03 00000000 10"), getBlock, hex("000000")]);
  server.send(frame(1, 4 | 8 | 0x20, 1, padded), frame(0, 1 | 8, 1, hex("02 616263 0000")));
  assert.equal(server.requests[0]!.bodyBytes, 3);
  assert.equal(server.requests[0]!.ended, true);
});

test("PING is answered with its content", () => {
  const server = new ServerFixture();
  server.send(ping("abcdefgh"));
  assert.deepEqual(server.of(FRAME_PING).map(({ flags, payload }) => [flags, payload]), [[
    1,
    utf8("abcdefgh"),
  ]]);
});

test("a shrunk header table is acknowledged at the beginning of the next block", () => {
  const server = new ServerFixture();
  server.send(settings([Setting.headerTableSize, 0]));
  server.request(1).reply(bytes(1));
  server.request(3).reply(bytes(1));
  server.settle();
  const blocks = server.of(HEADERS).map(({ payload }) => payload[0]);
  assert.deepEqual(blocks, [0x20, trailersBlock[0], okBlock[0], trailersBlock[0]]);
});

test("repeated fields are sent whole once, and again when the peer shrinks its table", () => {
  const server = new ServerFixture();
  const fields: [string, string][] = [["grpc-status", "0"], ["grpc-message", ""]];
  const block = new RepeatedFields(fields).block(fields);
  const answer = (id: number): void => server.request(id).stream.sendBlock(block, true);
  answer(1);
  answer(3);
  server.send(settings([Setting.headerTableSize, TABLE_BYTES_DEFAULT - 1]));
  answer(5);
  answer(7);
  server.settle();
  const blocks = server.of(HEADERS).map(({ payload }) => payload);
  for (const each of blocks) assert.deepEqual(fieldsOf(server.hpack, each), fields);
  const plain = encodeStaticBlock(fields);
  assert.deepEqual(blocks.slice(1), [hex("bf be"), Uint8Array.of(0x20, ...plain), plain]);
});

test("a peer with a larger table is sent repeated fields as any other", () => {
  const server = new ServerFixture();
  const block = new RepeatedFields([["grpc-status", "0"]]).block([["grpc-status", "0"]]);
  server.send(settings([Setting.headerTableSize, 65_536]));
  server.request(1).stream.sendBlock(block, true);
  server.request(3).stream.sendBlock(block, true);
  server.settle();
  assert.deepEqual(server.of(HEADERS)[1]!.payload, hex("be"));
});

test("goAway() lets open streams end, then closes", () => {
  const server = new ServerFixture();
  const first = server.request(1);
  server.connection.goAway();
  server.settle();
  assert.deepEqual(server.goAway(), { code: 0, text: "graceful_stop" });
  assert.equal(uint32At(server.of(7)[0]!.payload, 0), 0x7fffffff);
  // A request that crossed the first GOAWAY is served.
  const second = server.request(3);
  server.send(frame(6, 1, 0, server.of(FRAME_PING)[0]!.payload));
  assert.equal(uint32At(server.of(7)[1]!.payload, 0), 3);
  server.send(headers(5, postBlock, true));
  assert.equal(server.requests.length, 2);
  first.reply(bytes(1));
  server.settle();
  assert.equal(server.peerEnded, false);
  second.reply(bytes(1));
  server.settle();
  assert.equal(server.dataBytes(3), 1);
  assert.equal(server.peerEnded, true);
  server.advance(2_000);
  assert.equal(server.closed, 1);
  assert.equal(server.clock.timers, 0);
});

test("goAway() does not wait for a peer that answers no PING", () => {
  const server = new ServerFixture();
  server.connection.goAway();
  server.advance(6_000);
  assert.equal(server.peerEnded, true);
});

test("goAway() ends a connection at once whose client has not introduced itself", () => {
  const server = new ServerFixture({ silent: true });
  server.send(utf8(PREFACE));
  server.connection.goAway();
  server.settle();
  assert.deepEqual(server.goAway(), { code: 0, text: "graceful_stop" });
  assert.equal(server.peerEnded, true);
});

test("the end of the connection ends every stream", () => {
  for (const end of ["end", "destroy", "server"] as const) {
    const server = new ServerFixture();
    const requests = [server.request(1, false), server.request(3)];
    if (end === "end") server.pair.a.end();
    else if (end === "destroy") server.pair.a.destroy();
    else server.connection.destroy();
    server.advance(2_000);
    assert.deepEqual(requests.map(({ resetCode }) => resetCode), [ErrorCode.cancel, ErrorCode.cancel], end);
    const { writes } = server.pair.b;
    for (const request of requests) request.reply(bytes(10));
    server.connection.output.touch();
    server.settle();
    assert.equal(server.pair.b.writes, writes, end);
    assert.equal(server.closed, 1, end);
    assert.equal(server.clock.timers, 0, end);
  }
});

test("what follows the preface in the same chunk is read", () => {
  const server = new ServerFixture({ silent: true });
  server.send(join([utf8(PREFACE), settings(), headers(1, getBlock, true)]));
  assert.equal(server.requests.length, 1);
});

test("a wrong preface is answered with GOAWAY", () => {
  const server = new ServerFixture({ silent: true });
  server.send(utf8("PRI * HTTP/2.0\r\n\r\nXX"));
  assert.equal(server.goAway()?.code, ErrorCode.protocolError);
  assert.equal(server.peerEnded, true);
});

/** Gives `total` bytes of the pattern, as many at a time as it has been allowed. */
class PatternSource implements DataSource {
  at = 0;
  reads = 0;
  /** Where it has nothing more for the time being. */
  until = Infinity;

  read(out: ByteWriter, bytesMax: number): number {
    this.reads += 1;
    const count = Math.max(0, Math.min(bytesMax, this.until - this.at));
    out.write(pattern(this.at, count));
    this.at += count;
    return count;
  }
}

test("sendFrom() sends what its source makes, as windows allow, and trailers behind it", () => {
  const server = new ServerFixture();
  const { stream } = server.request(1);
  const source = new PatternSource();
  stream.sendBlock(okBlock, false);
  stream.sendFrom(source, 200_000);
  stream.sendBlock(trailersBlock, true);
  assert.equal(source.reads, 0);
  assert.equal(server.connection.output.parkedBytes, 200_000);
  server.settle();
  assert.equal(source.at, 65_535);
  server.send(windowUpdate(1, 100_000));
  server.send(windowUpdate(0, 50_000));
  assert.equal(source.at, 115_535);
  server.send(windowUpdate(0, 1 << 20));
  assert.equal(source.at, 165_535);
  server.send(windowUpdate(1, 1 << 20));
  assertPattern(server, 1, 200_000);
  assert.equal(stream.closed, true);
  assert.equal(server.connection.output.parkedBytes, 0);
});

test("sendFrom() waits for a source that has nothing, and other streams go on", () => {
  const server = new ServerFixture();
  const { stream } = server.request(1);
  const source = new PatternSource();
  source.until = 10_000;
  stream.sendFrom(source, 20_000);
  stream.sendBlock(trailersBlock, true);
  server.settle();
  assert.equal(source.at, 10_000);
  server.request(3).reply(bytes(100));
  server.settle();
  assert.equal(server.dataBytes(3), 100);
  const { reads } = source;
  source.until = 20_000;
  server.settle();
  assert.equal(source.reads, reads);
  stream.resumeSource();
  server.settle();
  assertPattern(server, 1, 20_000);
  stream.resumeSource(); // Too late to be of any use.
  assert.equal(server.connection.streamCount, 0);
});

test("sources take a frame each in turn, and no more than the socket does", () => {
  const server = new ServerFixture({ capacityBytes: 10_000, limits: { outputBytesMax: 60_000 } });
  server.send(settings([Setting.initialWindowSize, 1 << 20]));
  server.send(windowUpdate(0, 1 << 20));
  server.pair.a.pause();
  const sources = [1, 3].map((id) => server.request(id)).map(({ stream }) => {
    const source = new PatternSource();
    stream.sendFrom(source, 300_000);
    return source;
  });
  server.settle();
  const made = sources.map(({ at }) => at);
  assert.ok(made[0]! + made[1]! < 100_000 && Math.min(...made) > 0, made.join(" "));
  server.pair.a.resume();
  server.settle();
  for (const id of [1, 3]) assertPattern(server, id, 300_000);
});

test("an exception of a source resets its stream and takes back a half-written frame", () => {
  const server = new ServerFixture();
  const request = server.request(1);
  const source: DataSource = {
    read(out) {
      out.write(bytes(50));
      throw new Error("defect");
    },
  };
  request.stream.sendFrom(source, 100);
  server.request(3).reply(bytes(2));
  server.settle();
  assert.deepEqual(server.resets(1), [ErrorCode.internalError]);
  assert.equal(request.resetCode, ErrorCode.internalError);
  assert.equal(server.defects.length, 1);
  assert.deepEqual([server.dataBytes(1), server.dataBytes(3)], [0, 2]);
});

test("a reset drops a source and tells", () => {
  const server = new ServerFixture();
  const request = server.request(1);
  request.stream.sendFrom(new PatternSource(), 1_000_000);
  request.stream.sendBlock(trailersBlock, true);
  server.settle();
  server.send(rst(1, ErrorCode.cancel));
  assert.equal(request.resetCode, ErrorCode.cancel);
  assert.equal(server.connection.output.parkedBytes, 0);
});
