import assert from "node:assert/strict";
import { test } from "node:test";
import { binaryString, bytesOfBinaryString } from "../../src/base/binary_string.ts";
import { concatBytes, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import type { Http1Limits } from "../../src/http1/limits.ts";
import { ResponseHead } from "../../src/http1/response_head.ts";
import { Http1Server } from "../../src/http1/server.ts";
import type { WebSocketConnection, WebSocketHandler } from "../../src/http1/websocket_connection.ts";
import { asksForWebSocket } from "../../src/http1/websocket_handshake.ts";
import { type WebSocketLimits, WebSocketServer } from "../../src/http1/websocket_server.ts";
import { FlushQueue } from "../../src/http2/flush_queue.ts";
import { Sweeper } from "../../src/http2/sweeper.ts";
import { digest } from "../../src/runtime/node_compat/digest.ts";
import { byteStreamPair, type PairOptions } from "../harness/byte_stream_pair.ts";
import { ManualClock } from "../harness/manual_clock.ts";
import {
  ACCEPT,
  BINARY,
  CLOSE,
  closeFrame,
  CONTINUATION,
  frame,
  type FrameOptions,
  handshake,
  PING,
  PONG,
  serverFrames,
  TEXT,
} from "../harness/websocket_frames.ts";

/** A socket as the server sees it. */
class Session implements WebSocketHandler {
  readonly socket: WebSocketConnection;
  readonly messages: string[] = [];
  writables = 0;
  closes = 0;
  readonly #onMessage: (session: Session, message: Uint8Array) => void;

  constructor(socket: WebSocketConnection, onMessage: (session: Session, message: Uint8Array) => void) {
    this.socket = socket;
    this.#onMessage = onMessage;
  }

  onMessage(message: Uint8Array): void {
    assert.equal(this.closes, 0);
    this.messages.push(binaryString(message));
    this.#onMessage(this, message);
  }

  onWritable(): void {
    this.writables += 1;
  }

  onClose(): void {
    this.closes += 1;
  }
}

interface WireOptions {
  readonly onMessage?: (session: Session, message: Uint8Array) => void;
  readonly limits?: Partial<WebSocketLimits>;
  readonly http?: Partial<Http1Limits>;
  readonly pair?: PairOptions;
}

const echo = ({ socket }: Session, message: Uint8Array): void => socket.send(message, true);

/** A client and a server that share a turn of the event loop. */
class Wire {
  readonly sessions: Session[] = [];
  readonly clock = new ManualClock();
  readonly sockets: WebSocketServer;
  readonly http: Http1Server;
  readonly pair;
  received = new Uint8Array();
  ended = false;
  closed = false;
  readonly #flushQueue = new FlushQueue(this.clock);

  constructor({ onMessage = echo, limits = {}, http = {}, pair = {} }: WireOptions = {}) {
    const sweeper = new Sweeper(this.clock);
    const onDefect = (error: unknown) => {
      throw error;
    };
    this.pair = byteStreamPair(pair);
    this.pair.a.handler = {
      onData: (chunk) =>
        void (this.received = concatBytes([this.received, chunk]) as Uint8Array<ArrayBuffer>),
      onDrain: () => {},
      onEnd: () => void (this.ended = true),
      onClose: () => void (this.closed = true),
    };
    this.sockets = new WebSocketServer({
      sweeper,
      digest,
      limits: { messageBytesMax: 1_000, ...limits },
      onDefect,
    });
    this.http = new Http1Server({
      clock: this.clock,
      flushQueue: this.#flushQueue,
      sweeper,
      limits: http,
      handler: {
        onRequest: (exchange) => {
          if (asksForWebSocket(exchange)) {
            return this.sockets.accept(exchange, undefined, (socket) => {
              const session = new Session(socket, onMessage);
              this.sessions.push(session);
              return session;
            });
          }
          exchange.startReply(new ResponseHead(200, [])).write(utf8("plain"));
          exchange.finishReply();
          return { onData() {}, onEnd() {}, onAbort() {}, onWritable() {} };
        },
      },
      onDefect,
    });
    this.http.accept(this.pair.b);
  }

  /** A connection that is a WebSocket already. */
  static open(options: WireOptions = {}): Wire {
    const wire = new Wire(options);
    assert.match(wire.request(handshake("/")), /^HTTP\/1\.1 101 /);
    return wire;
  }

  get session(): Session {
    return this.sessions[0]!;
  }

  request(text: string): string {
    this.#exchange(bytesOfBinaryString(text));
    return binaryString(this.received);
  }

  /** The frames that answer what is sent. */
  send(...frames: readonly Uint8Array[]): string[] {
    this.#exchange(concatBytes(frames));
    return serverFrames(this.received);
  }

  #exchange(bytes: Uint8Array): void {
    this.received = new Uint8Array();
    this.pair.a.write(bytes);
    this.settle();
  }

  settle(): void {
    this.pair.settle();
    this.#flushQueue.flushAll();
    this.pair.settle();
  }

  /** What comes while time passes, second by second. */
  pass(seconds: number): string[] {
    this.received = new Uint8Array();
    for (let i = 0; i < seconds; i += 1) {
      this.clock.advance(1_000);
      this.settle();
    }
    return serverFrames(this.received);
  }

  /** Closes what a test has left open; nothing may be left then. */
  end(): void {
    this.pair.a.destroy();
    this.settle();
    assert.equal(this.http.connections, 0);
    assert.equal(this.sockets.connections, 0);
    for (const { closes } of this.sessions) assert.equal(closes, 1);
  }
}

test("a handshake is answered with the hash of its key", () => {
  const wire = new Wire();
  assert.equal(
    wire.request(handshake("/chat")),
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${ACCEPT}\r\nDate: Tue, 14 Nov 2023 22:13:21 GMT\r\n\r\n`,
  );
  assert.equal(wire.sockets.connections, 1);
  wire.end();
});

test("a handshake that is not one is refused, and the connection goes on", () => {
  const cases: readonly [Record<string, string>, RegExp][] = [
    [{ "Sec-WebSocket-Version": "8" }, /^HTTP\/1\.1 426 [^]*\r\nSec-WebSocket-Version: 13\r\n/],
    [{ "Sec-WebSocket-Version": "" }, /^HTTP\/1\.1 426 /],
    [{ "Sec-WebSocket-Version": "13, 13" }, /^HTTP\/1\.1 426 /],
    [{ "Sec-WebSocket-Key": "" }, /^HTTP\/1\.1 400 /],
    [{ "Sec-WebSocket-Key": "c2hvcnQ=" }, /^HTTP\/1\.1 400 /],
    [{ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZR==" }, /^HTTP\/1\.1 400 /],
    // Nobody asks for a WebSocket here.
    [{ Upgrade: "h2c" }, /^HTTP\/1\.1 200 /],
    [{ Connection: "keep-alive" }, /^HTTP\/1\.1 200 /],
  ];
  const wire = new Wire();
  for (const [fields, expected] of cases) assert.match(wire.request(handshake("/", fields)), expected);
  assert.match(wire.request(handshake("/").replace("GET", "POST")), /^HTTP\/1\.1 200 /);
  assert.match(wire.request(handshake("/", { UPGRADE: "WebSocket", Upgrade: "" })), /^HTTP\/1\.1 101 /);
  wire.end();
  const withBody = new Wire();
  assert.match(withBody.request(handshake("/", { "Content-Length": "2" }) + "ab"), /^HTTP\/1\.1 400 /);
  withBody.end();
});

test("messages of every form of length come and go, text and binary, also in the handshake's chunk", () => {
  const wire = Wire.open({ limits: { messageBytesMax: 200_000 } });
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]) {
    const text = "x".repeat(length);
    assert.deepEqual(wire.send(frame(TEXT, text)), [`text:${text}`]);
    assert.deepEqual(wire.send(frame(BINARY, text)), [`text:${text}`]);
  }
  assert.deepEqual(wire.send(frame(TEXT, "a"), frame(TEXT, "b"), frame(BINARY, "c")), [
    "text:a",
    "text:b",
    "text:c",
  ]);
  wire.end();
  const hasty = new Wire();
  const answer = hasty.request(handshake("/") + binaryString(frame(TEXT, "early")));
  assert.ok(answer.startsWith("HTTP/1.1 101 ") && answer.endsWith("\r\n\r\n\x81\x05early"), answer);
  hasty.end();
});

test("a message may come in fragments, with control frames between them, cut anywhere", () => {
  const frames = [
    frame(TEXT, "Grü", { final: false }),
    frame(PING, "are you there"),
    frame(CONTINUATION, "", { final: false }),
    frame(CONTINUATION, utf8("ß€").subarray(0, 3), { final: false }), // Within a character.
    frame(PONG, "nobody asked"),
    frame(CONTINUATION, utf8("ß€").subarray(3)),
    frame(BINARY, "next"),
  ];
  for (const chunkBytesMax of [1, 2, 3, 5, 7, 65_536]) {
    const wire = Wire.open({ pair: { chunkBytesMax } });
    assert.deepEqual(
      wire.send(...frames),
      ["pong:are you there", "text:Grüß€", "text:next"],
      `${chunkBytesMax}`,
    );
    wire.end();
  }
});

test("what breaks a rule of the protocol closes with its code, and nothing after it is heard", () => {
  const control = (opcode: number, payload: string, options: FrameOptions = {}) =>
    frame(opcode, payload, options);
  const cases: readonly [string, readonly Uint8Array[], number][] = [
    ["a frame without a mask", [frame(TEXT, "a", { masked: false })], 1002],
    ["a reserved bit", [frame(TEXT, "a", { reserved: 4 })], 1002],
    ["an unknown opcode", [frame(3, "a")], 1002],
    ["an unknown control opcode", [frame(11, "a")], 1002],
    ["a continuation of nothing", [frame(CONTINUATION, "a")], 1002],
    ["a message within a message", [frame(TEXT, "a", { final: false }), frame(TEXT, "b")], 1002],
    ["a ping in fragments", [control(PING, "a", { final: false })], 1002],
    ["a long ping", [control(PING, "x".repeat(126))], 1002],
    ["16 bits for a short length", [frame(TEXT, "a", { lengthBytes: 2 })], 1002],
    ["64 bits for a short length", [frame(TEXT, "x".repeat(200), { lengthBytes: 8 })], 1002],
    ["a negative length", [frame(TEXT, "", { length: 1n << 63n })], 1002],
    ["more than a message may have", [frame(TEXT, "x".repeat(1_001))], 1009],
    ["the promise of more", [frame(TEXT, "", { length: (1n << 62n) + 1n })], 1009],
    [
      "more in fragments",
      [frame(BINARY, "x".repeat(999), { final: false }), frame(CONTINUATION, "xx")],
      1009,
    ],
    ["text that is not UTF-8", [frame(TEXT, Uint8Array.of(0x61, 0xff))], 1007],
    ["text that ends in a character", [frame(TEXT, Uint8Array.of(0xe2, 0x82))], 1007],
    ["a surrogate as text", [frame(TEXT, Uint8Array.of(0xed, 0xa0, 0x80))], 1007],
    ["half a close code", [frame(CLOSE, "a")], 1002],
    ["a close code that is not to be sent", [closeFrame(1005)], 1002],
    ["a close code of nobody", [closeFrame(2999)], 1002],
    ["a close reason that is not UTF-8", [frame(CLOSE, Uint8Array.of(3, 0xe8, 0xff))], 1007],
  ];
  for (const [what, frames, code] of cases) {
    const wire = Wire.open();
    assert.deepEqual(wire.send(...frames, frame(TEXT, "after")), [`close:${code}`], what);
    assert.deepEqual([wire.ended, wire.session.messages, wire.session.closes], [true, [], 1], what);
    wire.end();
  }
});

test("a close frame is answered with its code, and the server ends the connection", () => {
  for (
    const [sent, answer] of [
      [closeFrame(1000), "close:1000"],
      [closeFrame(1001, "going"), "close:1001"],
      [closeFrame(4999), "close:4999"],
      [frame(CLOSE, ""), "close:"],
    ] as const
  ) {
    const wire = Wire.open();
    assert.deepEqual(wire.send(frame(TEXT, "a"), sent, frame(TEXT, "late")), ["text:a", answer]);
    assert.deepEqual([wire.ended, wire.session.messages, wire.session.closes], [true, ["a"], 1]);
    wire.session.socket.send(utf8("too late"), true);
    assert.deepEqual(wire.pass(4), []);
    assert.equal(wire.closed, true);
    wire.end();
  }
});

test("after a close of its own the server drops messages and waits for the answer, but not for long", () => {
  const onMessage = ({ socket }: Session): void => {
    socket.send(utf8("bye"), true);
    socket.close(1000);
    socket.send(utf8("unheard"), true);
  };
  const polite = Wire.open({ onMessage });
  assert.deepEqual(polite.send(frame(TEXT, "a"), frame(TEXT, "b"), frame(PING, "")), [
    "text:bye",
    "close:1000",
  ]);
  assert.deepEqual([polite.ended, polite.session.messages, polite.session.closes], [false, ["a"], 0]);
  assert.deepEqual(polite.send(closeFrame(1000)), []);
  assert.deepEqual([polite.ended, polite.session.closes], [true, 1]);
  polite.end();
  const silent = Wire.open({ onMessage });
  silent.send(frame(TEXT, "a"));
  assert.deepEqual(silent.pass(8), []);
  assert.deepEqual([silent.closed, silent.session.closes], [true, 1]);
  silent.end();
});

test("a message may be sent in parts, with a pong among them", () => {
  const wire = Wire.open({ onMessage: ({ socket }) => socket.send(utf8("first "), false) });
  assert.deepEqual(wire.send(frame(TEXT, "a"), frame(PING, "p")), ["text…:first ", "pong:p"]);
  wire.received = new Uint8Array();
  wire.session.socket.send(utf8("second"), false);
  wire.session.socket.send(new Uint8Array(), true);
  wire.session.socket.send(utf8("other"), true);
  wire.settle();
  assert.deepEqual(serverFrames(wire.received), ["continuation…:second", "continuation:", "text:other"]);
  wire.end();
});

test("a silent client is pinged, and given up when it does not answer", () => {
  const wire = Wire.open({ limits: { pingIntervalMs: 10_000, pongTimeoutMs: 5_000 } });
  assert.deepEqual(wire.pass(10), []);
  assert.deepEqual(wire.pass(3), ["ping:"]);
  assert.deepEqual(wire.send(frame(PONG, "")), []);
  assert.deepEqual(wire.pass(10), []);
  assert.deepEqual(wire.pass(8), ["ping:"]);
  assert.deepEqual([wire.closed, wire.session.closes], [true, 1]);
  wire.end();
});

test("a message has the time of a body: one that stays incomplete closes, whatever else is sent", () => {
  const wire = Wire.open({ limits: { bodyTimeoutMs: 10_000, bodyBytesPerSecondMin: 10 } });
  wire.send(frame(TEXT, "x".repeat(50), { final: false })); // Five seconds more.
  let frames: string[] = [];
  for (let second = 0; second < 14; second += 1) {
    wire.pass(1);
    frames = wire.send(frame(PING, "p"));
    assert.deepEqual(frames, ["pong:p"], `after ${second + 1} s`);
  }
  assert.deepEqual(wire.pass(3), ["close:1008"]);
  assert.equal(wire.session.closes, 1);
  wire.end();
});

test("a client that reads slowly holds the output back and has it whole in the end", () => {
  const wire = Wire.open({
    onMessage: ({ socket }) => {
      while (socket.writable) socket.send(utf8("x".repeat(1_000)), true);
    },
    http: { outputBytesMax: 10_000 },
    limits: { pingIntervalMs: 2_000, pongTimeoutMs: 2_000 },
    pair: { capacityBytes: 500 },
  });
  wire.pair.a.pause();
  assert.deepEqual(wire.send(frame(TEXT, "go")), []);
  assert.ok(wire.pair.b.queuedBytes < 12_000);
  // It is not asked for a pong while it has so much to read.
  assert.deepEqual(wire.pass(20), []);
  assert.equal(wire.closed, false);
  assert.equal(wire.session.writables, 0);
  wire.pair.a.resume();
  wire.settle();
  assert.deepEqual(serverFrames(wire.received), Array(10).fill(`text:${"x".repeat(1_000)}`));
  assert.equal(wire.session.writables, 1);
  wire.end();
});

test("a client that reads nothing is given up; one that pings and reads nothing is not read any more", () => {
  const stalled = Wire.open({
    onMessage: ({ socket }) => {
      while (socket.writable) socket.send(utf8("x".repeat(1_000)), true);
    },
    http: { outputBytesMax: 10_000, stallTimeoutMs: 20_000 },
    pair: { capacityBytes: 500 },
  });
  stalled.pair.a.pause();
  stalled.send(frame(TEXT, "go"));
  stalled.pass(25);
  assert.equal(stalled.session.closes, 1);
  stalled.end();

  const pinging = Wire.open({ http: { outputBytesPause: 2_000 }, pair: { capacityBytes: 500 } });
  pinging.pair.a.pause();
  for (let i = 0; i < 200; i += 1) pinging.send(frame(PING, "x".repeat(100)));
  assert.equal(pinging.pair.b.paused, true);
  assert.ok(pinging.pair.b.queuedBytes < 4_000, `${pinging.pair.b.queuedBytes}`);
  pinging.end();
});

test("a client that vanishes, or closes its side without a word, ends the session", () => {
  for (const leave of ["destroy", "end"] as const) {
    const wire = Wire.open();
    wire.send(frame(TEXT, "half", { final: false }));
    wire.pair.a[leave]();
    wire.settle();
    assert.equal(wire.session.closes, 1, leave);
    wire.end();
  }
});

test("WebSocketServer.drain says that it goes away, and takes no more", () => {
  const wire = Wire.open();
  wire.received = new Uint8Array();
  wire.sockets.drain();
  wire.http.drain();
  wire.settle();
  assert.deepEqual(serverFrames(wire.received), ["close:1001"]);
  assert.equal(wire.session.closes, 1);
  assert.deepEqual(wire.send(frame(TEXT, "late"), closeFrame(1001)), []);
  assert.deepEqual([wire.ended, wire.session.messages], [true, []]);
  wire.end();
  const late = new Wire();
  late.sockets.drain();
  assert.match(late.request(handshake("/")), /^HTTP\/1\.1 503 /);
  late.end();
});

test("random frames in random pieces never break the server", () => {
  const prng = new Prng(7);
  for (let round = 0; round < 300; round += 1) {
    const wire = Wire.open({ pair: { chunkBytesMax: 1 + prng.below(40) } });
    for (let i = 0; i < 8; i += 1) {
      const sent = frame(
        prng.below(4) === 0 ? prng.below(16) : 1 + prng.below(2),
        "x".repeat(prng.below(200)),
        {
          final: prng.below(3) > 0,
        },
      );
      if (prng.below(6) === 0) sent[prng.below(sent.length)]! ^= 1 << prng.below(8);
      wire.send(sent);
    }
    wire.end();
  }
});
