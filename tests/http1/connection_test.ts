import assert from "node:assert/strict";
import { test } from "node:test";
import { binaryString, bytesOfBinaryString } from "../../src/base/binary_string.ts";
import { Prng } from "../../src/base/prng.ts";
import type { RequestBody } from "../../src/http1/api.ts";
import type { Exchange } from "../../src/http1/exchange.ts";
import type { Http1Limits } from "../../src/http1/limits.ts";
import { ResponseHead } from "../../src/http1/response_head.ts";
import { Http1Server } from "../../src/http1/server.ts";
import { FlushQueue } from "../../src/http2/flush_queue.ts";
import { Sweeper } from "../../src/http2/sweeper.ts";
import { byteStreamPair, type PairOptions } from "../harness/byte_stream_pair.ts";
import { ManualClock } from "../harness/manual_clock.ts";

const OK = new ResponseHead(200, [["Content-Type", "text/plain"]]);

/** A request as a test sees it; `onEnd` runs when its body is complete. */
class Call implements RequestBody {
  readonly exchange: Exchange;
  body = "";
  ended = false;
  aborted = false;
  writables = 0;
  readonly #onEnd: (call: Call) => void;

  constructor(exchange: Exchange, onEnd: (call: Call) => void) {
    this.exchange = exchange;
    this.#onEnd = onEnd;
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    assert.ok(!this.ended && !this.aborted && start < end);
    this.body += binaryString(chunk.subarray(start, end));
  }

  onEnd(): void {
    assert.ok(!this.ended && !this.aborted);
    this.ended = true;
    this.#onEnd(this);
  }

  onAbort(): void {
    assert.ok(!this.aborted);
    this.aborted = true;
  }

  onWritable(): void {
    this.writables += 1;
  }

  reply(text: string): void {
    this.exchange.startReply(OK).write(bytesOfBinaryString(text));
    this.exchange.finishReply();
  }
}

/** A client and a server that share a turn of the event loop: `send` returns what has been answered. */
class Wire {
  readonly calls: Call[] = [];
  readonly clock = new ManualClock();
  readonly #flushQueue = new FlushQueue(this.clock);
  readonly server: Http1Server;
  readonly pair;
  received = "";
  ended = false;
  closed = false;

  constructor(
    onEnd: (call: Call) => void,
    limits: Partial<Http1Limits> = {},
    options: PairOptions = {},
    onBegin: (call: Call) => void = () => {},
  ) {
    this.pair = byteStreamPair(options);
    this.pair.a.handler = {
      onData: (chunk) => void (this.received += binaryString(chunk)),
      onDrain: () => {},
      onEnd: () => void (this.ended = true),
      onClose: () => void (this.closed = true),
    };
    this.server = new Http1Server({
      clock: this.clock,
      flushQueue: this.#flushQueue,
      sweeper: new Sweeper(this.clock),
      limits,
      handler: {
        onRequest: (exchange) => {
          const call = new Call(exchange, onEnd);
          this.calls.push(call);
          onBegin(call);
          return call;
        },
      },
      onDefect(error) {
        throw error;
      },
    });
    this.server.accept(this.pair.b);
  }

  send(text: string): string {
    this.received = "";
    this.pair.a.write(bytesOfBinaryString(text));
    return this.settle();
  }

  settle(): string {
    this.pair.settle();
    this.#flushQueue.flushAll();
    this.pair.settle();
    return this.received;
  }

  /** Lets time pass, second by second. */
  pass(seconds: number): void {
    for (let i = 0; i < seconds; i += 1) this.clock.advance(1_000);
    this.settle();
  }

  /** Closes what a test has left open. */
  end(): void {
    this.pair.a.destroy();
    this.pair.settle();
    assert.equal(this.server.connections, 0);
  }
}

function echo(call: Call): void {
  call.reply(`${call.exchange.method} ${call.exchange.target} ${call.body}`);
}

/** Bodies of responses with their status, in order. */
function answers(received: string): string[] {
  const found: string[] = [];
  let rest = received;
  while (rest !== "") {
    const match = /^HTTP\/1\.1 (\d+) [^\r]*\r\n([^]*?)\r\n\r\n/.exec(rest);
    assert.ok(match !== null, `no response: ${rest}`);
    const length = Number(/content-length: (\d+)/i.exec(match[2]!)?.[1] ?? "0");
    const bodyAt = match[0].length;
    found.push(`${match[1]} ${rest.slice(bodyAt, bodyAt + length)}`);
    rest = rest.slice(bodyAt + length);
  }
  return found;
}

const get = (target: string, fields = ""): string => `GET ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const post = (target: string, body: string): string =>
  `POST ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const chunked = (target: string, body: string): string =>
  `POST ${target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${body}`;

test("a response has its length, its date and nothing about the connection", () => {
  const wire = new Wire(echo);
  assert.equal(
    wire.send(post("/a", "hello")),
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Tue, 14 Nov 2023 22:13:21 GMT\r\n" +
      "Content-Length: 13\r\n\r\nPOST /a hello",
  );
  wire.clock.advance(2_000);
  assert.match(wire.send(get("/")), /\r\nDate: Tue, 14 Nov 2023 22:13:23 GMT\r\n/);
  wire.end();
});

test("bodies of every length have the right number in their head", () => {
  const wire = new Wire((call) => call.reply("x".repeat(Number(call.exchange.target.slice(1)))));
  for (const length of [0, 1, 9, 10, 99, 100, 12_345, 7, 1_000_000, 0, 999]) {
    assert.deepEqual(answers(wire.send(get(`/${length}`))), [`200 ${"x".repeat(length)}`]);
  }
  const lengths = [5, 1_000, 0, 70_000, 12];
  assert.deepEqual(
    answers(wire.send(lengths.map((length) => get(`/${length}`)).join(""))),
    lengths.map((length) => `200 ${"x".repeat(length)}`),
  );
  wire.end();
});

test("requests that come at once are answered in order, in one write when their answers are there", () => {
  const wire = new Wire(echo);
  const writes = wire.pair.b.writes;
  const received = wire.send(
    get("/1") + post("/2", "two") + chunked("/3", "2\r\nth\r\n3\r\nree\r\n0\r\n\r\n") + get("/4"),
  );
  assert.deepEqual(answers(received), ["200 GET /1 ", "200 POST /2 two", "200 POST /3 three", "200 GET /4 "]);
  assert.equal(wire.pair.b.writes, writes + 1);
  wire.end();
});

test("a request waits for the answer to the one before", () => {
  const wire = new Wire(() => {});
  assert.equal(wire.send(get("/1") + get("/2") + post("/3", "three")), "");
  assert.equal(wire.calls.length, 1);
  for (const [index, target] of ["/1", "/2", "/3"].entries()) {
    const call = wire.calls[index]!;
    assert.equal(call.exchange.target, target);
    call.reply(target);
    assert.deepEqual(
      answers(wire.settle()),
      ["/1", "/2", "/3"].slice(0, index + 1).map((text) => `200 ${text}`),
    );
  }
  assert.equal(wire.calls[2]!.body, "three");
  wire.end();
});

test("what comes ahead of its turn is bounded by reading no more", () => {
  const wire = new Wire(() => {}, { aheadBytesMax: 1_000 }, { chunkBytesMax: 100 });
  const request = get("/");
  const count = 200;
  wire.send(request.repeat(count));
  assert.ok(wire.pair.b.paused);
  for (let i = 0; i < count; i += 1) {
    assert.equal(wire.calls.length, i + 1);
    wire.calls[i]!.reply("");
    wire.settle();
  }
  assert.ok(!wire.pair.b.paused);
  assert.equal(answers(wire.received).length, count);
  wire.end();
});

test("a request is understood in the same way in pieces of any size", () => {
  const text = get("/1") + post("/2", "two") + chunked("/3", "2;x=y\r\nth\r\n3\r\nree\r\n0\r\nX: y\r\n\r\n") +
    get("/4");
  for (let chunkBytesMax = 1; chunkBytesMax < 60; chunkBytesMax += 1) {
    const wire = new Wire(echo, {}, { chunkBytesMax });
    assert.deepEqual(
      answers(wire.send(text)),
      ["200 GET /1 ", "200 POST /2 two", "200 POST /3 three", "200 GET /4 "],
    );
    wire.end();
  }
});

test("HEAD is answered without a body, HTTP/1.0 with the end of the connection", () => {
  const wire = new Wire(echo);
  assert.match(wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), /\r\nContent-Length: 7\r\n\r\n$/);
  assert.deepEqual(answers(wire.send("GET /k HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")), ["200 GET /k "]);
  assert.match(wire.received, /\r\nConnection: keep-alive\r\n/);
  assert.match(wire.send("GET /c HTTP/1.0\r\n\r\n"), /\r\nConnection: close\r\n[^]*GET \/c $/);
  assert.ok(wire.ended);
  wire.end();
});

test("nothing is served behind a request that closes the connection", () => {
  const wire = new Wire(echo);
  const received = wire.send(get("/1", "Connection: close\r\n") + get("/2"));
  assert.deepEqual(answers(received), ["200 GET /1 "]);
  assert.match(received, /\r\nConnection: close\r\n/);
  assert.ok(wire.ended);
  assert.equal(wire.calls.length, 1);
  wire.end();
});

test("100 Continue is sent when the body is awaited, and only then", () => {
  const awaiting = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
  const wire = new Wire(echo);
  assert.equal(wire.send(awaiting), "HTTP/1.1 100 Continue\r\n\r\n");
  assert.deepEqual(answers(wire.send("abc")), ["200 POST / abc"]);
  assert.deepEqual(answers(wire.send(`${awaiting}abc`)), ["200 POST / abc"], "the body is there already");
  wire.end();
  // Refused before the body is sent: what comes next could be the body or another request.
  const refusing = new Wire(echo, {}, {}, (call) => call.reply("no"));
  assert.deepEqual(answers(refusing.send(awaiting)), ["200 no"]);
  assert.match(refusing.received, /\r\nConnection: close\r\n/);
  assert.ok(refusing.ended);
  refusing.end();
});

test("the rest of a body that nobody wants is read over when it is short", () => {
  const limits = { unwantedBytesMax: 100 };
  const wire = new Wire(echo, limits, {}, (call) => {
    if (call.exchange.target === "/early") call.reply("early");
  });
  assert.deepEqual(answers(wire.send(post("/early", "x".repeat(100)) + get("/next"))), [
    "200 early",
    "200 GET /next ",
  ]);
  assert.equal(wire.calls[0]!.body, "");
  // Too long to be read, or of no known length: the connection ends, and the client can read why.
  for (const request of [post("/early", "x".repeat(101)), chunked("/early", "5\r\nhello\r\n0\r\n\r\n")]) {
    const other = new Wire(echo, limits, {}, (call) => call.reply("early"));
    assert.deepEqual(answers(other.send(request + get("/next"))), ["200 early"]);
    assert.match(other.received, /\r\nConnection: close\r\n/);
    assert.ok(other.ended && !other.closed);
    other.pass(4);
    assert.ok(other.closed);
    other.end();
  }
  wire.end();
});

test("a stream is sent in chunks as they come, and its end is told", () => {
  const wire = new Wire(() => {});
  wire.send(get("/"));
  const { exchange } = wire.calls[0]!;
  exchange.begin(OK);
  assert.match(wire.settle(), /\r\nTransfer-Encoding: chunked\r\n\r\n$/);
  wire.received = "";
  exchange.write(bytesOfBinaryString("hello"));
  exchange.write(bytesOfBinaryString(""));
  assert.equal(wire.settle(), "5\r\nhello\r\n");
  wire.received = "";
  exchange.write(new Uint8Array(40_000).fill(0x61));
  assert.equal(wire.settle(), `9c40\r\n${"a".repeat(40_000)}\r\n`);
  wire.received = "";
  exchange.end();
  exchange.write(bytesOfBinaryString("late"));
  exchange.end();
  assert.equal(wire.settle(), "0\r\n\r\n");
  wire.send(get("/next"));
  assert.equal(wire.calls.length, 2);
  wire.end();
  assert.ok(wire.calls[1]!.aborted);
});

test("a stream to HTTP/1.0 ends with the connection, one to HEAD has no body", () => {
  const stream = (call: Call): void => {
    call.exchange.begin(OK);
    call.exchange.write(bytesOfBinaryString("hello"));
    call.exchange.end();
  };
  const wire = new Wire(stream);
  assert.match(wire.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n$/);
  const received = wire.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  assert.match(received, /\r\nConnection: close\r\n\r\nhello$/);
  assert.doesNotMatch(received, /chunked/);
  assert.ok(wire.ended);
  wire.end();
});

test("a stream and its request may overlap", () => {
  const wire = new Wire(() => {}, {}, {}, (call) => call.exchange.begin(OK));
  assert.doesNotMatch(wire.send(chunked("/", "5\r\nfirst\r\n")), /close/);
  wire.calls[0]!.exchange.write(bytesOfBinaryString("one"));
  assert.match(wire.settle(), /3\r\none\r\n$/);
  wire.send("6\r\nsecond\r\n0\r\n\r\n");
  assert.equal(wire.calls[0]!.body, "firstsecond");
  wire.calls[0]!.exchange.end();
  wire.settle();
  wire.send(get("/next"));
  assert.equal(wire.calls.length, 2, "both had ended");
  // One that goes on after its answer has ended has nobody to listen to it.
  wire.calls[1]!.exchange.end();
  wire.settle();
  wire.send(chunked("/", "5\r\nfirst\r\n"));
  wire.calls[2]!.exchange.end();
  wire.settle();
  assert.ok(wire.ended);
  wire.end();
});

test("a reply that is taken back leaves no trace", () => {
  const wire = new Wire((call) => {
    call.exchange.startReply(OK).write(bytesOfBinaryString("half an ans"));
    call.exchange.cancelReply();
    call.reply("whole");
  });
  assert.deepEqual(answers(wire.send(get("/1") + get("/2"))), ["200 whole", "200 whole"]);
  wire.end();
});

test("who waits for a slow client is told when it has caught up", () => {
  const wire = new Wire(() => {}, { outputBytesMax: 1_000 }, { capacityBytes: 500 });
  wire.pair.a.pause();
  wire.send(get("/"));
  const call = wire.calls[0]!;
  call.exchange.begin(OK);
  let writes = 0;
  while (call.exchange.writable && writes < 100) {
    call.exchange.write(new Uint8Array(100));
    writes += 1;
    wire.settle();
  }
  assert.ok(writes > 5 && writes < 30, String(writes));
  assert.equal(call.writables, 0);
  wire.pair.a.resume();
  wire.settle();
  assert.equal(call.writables, 1);
  assert.ok(call.exchange.writable);
  wire.end();
});

test("a client that takes none of its answers is read no more, and given up", () => {
  const limits = { outputBytesPause: 10_000, stallTimeoutMs: 5_000 };
  const wire = new Wire((call) => call.reply("x".repeat(1_000)), limits, {
    capacityBytes: 2_000,
    chunkBytesMax: 200,
  });
  wire.pair.a.pause();
  wire.send(get("/").repeat(200));
  assert.ok(wire.pair.b.paused);
  assert.ok(wire.calls.length < 30, String(wire.calls.length));
  wire.pass(4);
  assert.ok(!wire.pair.b.destroyed);
  wire.pass(4);
  assert.ok(wire.pair.b.destroyed);
  wire.end();
});

test("answers that wait for a slow client take no more memory than they are long", () => {
  const kept: Uint8Array[] = [];
  const wire = new Wire((call) => call.reply("x".repeat(100)), {}, { capacityBytes: 300 });
  const write = wire.pair.b.write.bind(wire.pair.b);
  wire.pair.b.write = (bytes) => {
    const result = write(bytes);
    if (result === "held") kept.push(bytes);
    return result;
  };
  wire.pair.a.pause();
  for (let i = 0; i < 50; i += 1) wire.send(get("/"));
  const allocated = new Set(kept.map(({ buffer }) => buffer));
  let bytes = 0;
  for (const buffer of allocated) bytes += buffer.byteLength;
  assert.ok(kept.length > 40 && bytes < 50 * 300 + 8_192, `${bytes} bytes in ${kept.length} writes`);
  wire.pair.a.resume();
  wire.received = "";
  assert.ok(answers(wire.settle()).length > 40);
  wire.end();
});

test("a malformed body is refused, and nothing behind it is served", () => {
  const wire = new Wire(echo);
  const received = wire.send(chunked("/", "5\r\nhelloX\r\n0\r\n\r\n") + get("/smuggled"));
  assert.deepEqual(answers(received), ["400 400 Bad Request"]);
  assert.ok(wire.calls[0]!.aborted && !wire.calls[0]!.ended);
  assert.equal(wire.calls.length, 1);
  assert.ok(wire.ended);
  wire.end();
  // When the answer has begun, it is broken off instead.
  const streaming = new Wire(echo, {}, {}, (call) => call.exchange.begin(OK));
  assert.doesNotMatch(streaming.send(chunked("/", "5\r\nhelloX\r\n")), /400/);
  assert.ok(streaming.closed && streaming.calls[0]!.aborted);
});

/** Requests that another implementation may understand differently, each with a second request inside. */
const smuggled = get("/smuggled");
const smuggling: readonly (readonly [name: string, text: string])[] = [
  [
    "CL.TE",
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${
      smuggled.length + 5
    }\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  ],
  [
    "TE.CL",
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n2f\r\n${smuggled}\r\n0\r\n\r\n`,
  ],
  [
    "TE.TE",
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n${smuggled}`,
  ],
  [
    "TE after a space",
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n${smuggled}`,
  ],
  [
    "TE behind a LF",
    `POST / HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  ],
  [
    "TE on a folded line",
    `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  ],
  [
    "CL.CL",
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: ${smuggled.length}\r\n\r\n${smuggled}`,
  ],
  ["CL.0 with a plus", `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n${smuggled}`],
  ["a chunk size of another base", chunked("/", `0x2f\r\n${smuggled}\r\n0\r\n\r\n`)],
  ["a chunk that ends with LF", chunked("/", `1\r\na\n0\r\n\r\n${smuggled}`)],
  ["a chunk extension with a LF", chunked("/", `2;\nxx\r\n2f\r\n0\r\n\r\n${smuggled}`)],
  ["a trailer with a LF", chunked("/", `0\r\nX: y\n\r\n\r\n${smuggled}`)],
  ["two hosts", `GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n${smuggled}`],
  [
    "chunks in HTTP/1.0",
    `POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${smuggled}`,
  ],
];

for (const [name, text] of smuggling) {
  test(`no second request is served out of ${name}`, () => {
    for (const chunkBytesMax of [65_536, 1, 5]) {
      const wire = new Wire(echo, {}, { chunkBytesMax });
      const received = answers(wire.send(text));
      assert.equal(received.length, 1);
      assert.match(received[0]!, /^400 /);
      assert.ok(wire.calls.every(({ ended }) => !ended));
      assert.ok(wire.ended);
      wire.end();
    }
  });
}

test("heads that are refused are answered with their status", () => {
  for (
    const [status, text] of [
      [414, get(`/${"a".repeat(20_000)}`)],
      [431, get("/", `X: ${"y".repeat(70_000)}\r\n`)],
      [431, get("/", "X: y\r\n".repeat(200))],
      [417, get("/", "Expect: more\r\n")],
      [501, get("/", "Transfer-Encoding: gzip\r\n")],
      [505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n"],
    ] as const
  ) {
    for (const chunkBytesMax of [65_536, 1_000]) {
      const wire = new Wire(echo, {}, { chunkBytesMax });
      assert.match(answers(wire.send(text)).join(), new RegExp(`^${status} ${status} `));
      assert.match(wire.received, /\r\nConnection: close\r\n/);
      assert.ok(wire.ended);
      wire.end();
    }
  }
});

test("a connection is closed when it is idle, and when a head or a body takes too long", () => {
  const limits = {
    idleTimeoutMs: 20_000,
    headTimeoutMs: 10_000,
    bodyTimeoutMs: 5_000,
    bodyBytesPerSecondMin: 1,
  };
  for (
    const [text, aliveSeconds] of [
      ["", 20],
      [get("/"), 20],
      ["G", 10],
      [`${get("/")}GET / HTTP/1.1\r\nHo`, 10],
      ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n", 5],
      ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc", 8],
      [chunked("/", "3\r\nabc\r\n"), 8],
    ] as const
  ) {
    const wire = new Wire(echo, limits);
    if (text !== "") wire.send(text);
    wire.pass(aliveSeconds);
    assert.ok(!wire.closed, `${JSON.stringify(text)} is alive after ${aliveSeconds} s`);
    wire.pass(2);
    assert.ok(wire.closed, `${JSON.stringify(text)} is closed`);
    wire.end();
  }
});

test("a head that comes byte by byte has no more time than another", () => {
  const wire = new Wire(echo, { headTimeoutMs: 10_000 });
  for (const character of "GET / HTTP/1.1\r\n") {
    wire.send(character);
    wire.pass(1);
  }
  assert.ok(wire.closed);
  wire.end();
});

test("a call that takes its time is left alone, and so is a body that is a stream", () => {
  const wire = new Wire(() => {}, { bodyTimeoutMs: 5_000, idleTimeoutMs: 10_000 }, {}, (call) => {
    call.exchange.bodyIsOpenEnded = true;
  });
  wire.send(chunked("/", "3\r\nabc\r\n"));
  wire.pass(100);
  wire.send("0\r\n\r\n");
  wire.pass(100);
  assert.ok(!wire.closed);
  wire.calls[0]!.reply("late");
  assert.deepEqual(answers(wire.settle()), ["200 late"]);
  wire.end();
});

test("a client that closes its side after the request has its answer, if that is soon", () => {
  for (const isSoon of [true, false]) {
    const wire = new Wire(() => {});
    wire.send(get("/1") + get("/2"));
    wire.pair.a.end();
    wire.settle();
    assert.ok(!wire.calls[0]!.aborted);
    if (isSoon) {
      wire.calls[0]!.reply("one");
      wire.settle();
      wire.calls[1]!.reply("two");
      assert.deepEqual(answers(wire.settle()), ["200 one", "200 two"]);
    } else {
      wire.pass(3);
      assert.ok(wire.calls[0]!.aborted);
    }
    assert.ok(wire.closed);
  }
  // One that closes in the midst of a request has none.
  for (const text of ["", "GET", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na"]) {
    const wire = new Wire(echo);
    if (text !== "") wire.send(text);
    wire.pair.a.end();
    assert.equal(wire.settle(), "");
    assert.ok(wire.closed);
    assert.ok(wire.calls.every(({ aborted, ended }) => aborted && !ended));
  }
});

test("drain() closes what is idle, and the rest after the response under way", () => {
  for (const text of ["", "GET", get("/")]) {
    const idle = new Wire(echo);
    if (text !== "") idle.send(text);
    idle.server.drain();
    idle.settle();
    assert.ok(idle.closed);
    assert.equal(idle.server.connections, 0);
  }
  const wire = new Wire(() => {});
  wire.send(get("/1") + get("/2"));
  wire.server.drain();
  wire.settle();
  assert.ok(!wire.ended);
  wire.calls[0]!.reply("one");
  assert.deepEqual(answers(wire.settle()), ["200 one"]);
  assert.match(wire.received, /\r\nConnection: close\r\n/);
  assert.ok(wire.ended);
  assert.equal(wire.calls.length, 1);
  wire.end();
});

test("the unwanted rest of a stream of messages has no more time than another body", () => {
  const wire = new Wire(echo, { bodyTimeoutMs: 5_000 }, {}, (call) => {
    call.exchange.bodyIsOpenEnded = true;
    call.reply("enough");
  });
  assert.deepEqual(answers(wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")), [
    "200 enough",
  ]);
  wire.pass(4);
  assert.ok(!wire.closed);
  wire.pass(4);
  assert.ok(wire.closed);
  wire.end();
});

test("random garbage and random requests break nothing", () => {
  const prng = new Prng(11);
  const parts = [
    "GET / HTTP/1.1\r\n",
    "POST /x HTTP/1.1\r\n",
    "Host: a\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Expect: 100-continue\r\n",
    "\r\n",
    "hello",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "\r",
    "\n",
    "\0",
    " ",
    get("/whole"),
    post("/whole", "hello"),
    chunked("/whole", "5\r\nhello\r\n0\r\n\r\n"),
  ];
  let served = 0;
  for (let round = 0; round < 2_000; round += 1) {
    const wire = new Wire(prng.below(2) === 0 ? echo : () => {}, {}, { chunkBytesMax: 1 + prng.below(40) });
    for (let i = prng.below(8); i >= 0; i -= 1) {
      wire.send(parts[prng.below(parts.length)]!);
      const open = wire.calls.at(-1);
      if (open !== undefined && open.ended && !open.exchange.ended && prng.below(2) === 0) echo(open);
    }
    served += wire.calls.filter(({ ended }) => ended).length;
    wire.end();
    for (const { exchange, ended, aborted } of wire.calls) {
      assert.ok(exchange.ended);
      assert.ok(ended || aborted || exchange.begun, "every call came to an end");
    }
  }
  assert.ok(served > 200, String(served));
});
