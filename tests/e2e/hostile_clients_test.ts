/**
 * Bad input and bad behaviour of every kind, against one process, while a good client goes on. After all of it the
 * process lives, the good client has been answered every time and soon, memory has come back, and the log names no
 * secret.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { concatBytes, equalBytes, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { KV, RangeRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { FRAME_HEADERS, FRAME_RST_STREAM, Setting } from "../../src/http2/frames.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import { badRequests, wrongAnswers } from "../harness/bad_requests.ts";
import { WAIT_MS_MAX } from "../harness/deadline.ts";
import { type EtcdProcess, startEtcd } from "../harness/etcd_process.ts";
import { frame as message, GrpcClient, grpcHead } from "../harness/grpc_client.ts";
import { HostileSocket } from "../harness/hostile_socket.ts";
import { data, frame, headers, hex, ping, rst, settings, windowUpdate } from "../http2/support.ts";

/** It is in requests that are refused; no line of the log may have it. */
const SECRET = "canary-4f1c9";
const CALM = /^11 /;
const ROUNDS_MIN = 3;
/** Until a round adds nothing to the memory: collectors take their time, and more of it on a busy machine. */
const ROUNDS_MAX = 10;
const LARGE_BYTES = 1_000_000;

const postBlock = encodeStaticBlock([...grpcHead("/etcdserverpb.KV/Put"), ["authorization", SECRET]]);
const rangeBlock = encodeStaticBlock(grpcHead("/etcdserverpb.KV/Range"));
const watchBlock = encodeStaticBlock(grpcHead("/etcdserverpb.Watch/Watch"));
const rangeOfLarge = message(
  toBinary(RangeRequestSchema, create(RangeRequestSchema, { key: utf8("large"), serializable: true })),
);

/** Attacks by name. Each resolves when the server has answered it as it should, and throws when it has not. */
const attacks: Readonly<Record<string, (port: number) => Promise<void>>> = {
  "requests that no proper client makes": async (port) => {
    for (const [group, cases] of Object.entries(badRequests)) {
      // What reads at fixed revisions depends on what was before; it has a test of its own.
      const same = group.startsWith("revisions") ? cases.slice(0, 4) : cases;
      assert.deepEqual(await wrongAnswers(port, same), [], group);
    }
  },

  "resets of requests just begun": (port) =>
    isFlood(port, CALM, (i) => concatBytes([headers(id(i), postBlock, false), rst(id(i), 8)])),
  "requests that make the server reset": (port) =>
    isFlood(port, CALM, (i) => concatBytes([headers(id(i), postBlock, false), windowUpdate(id(i), 0)])),
  "a header block without end": async (port) => {
    const socket = await HostileSocket.http2(port, settings());
    await socket.send(frame(FRAME_HEADERS, 0, 1, postBlock));
    await floods(socket, CALM, () => frame(9, 0, 1, new Uint8Array(1_000)));
  },
  "10,000 fields in a header": async (port) => {
    const fields = Array.from({ length: 10_000 }, (_, i) => [`x-${i % 40}`, ""] as const);
    const socket = await HostileSocket.http2(port, settings());
    for (let i = 0; i < 10; i += 1) await socket.send(tooManyFields(id(i), fields));
    assert.ok(await socket.until(() => socket.count(FRAME_HEADERS) === 10, WAIT_MS_MAX));
    await socket.destroy();
  },
  "a table that grows a thousandfold": async (port) => {
    const value = new Uint8Array(3_900).fill(0x61);
    const insert = concatBytes([hex("82 86 84 40 01 78 7f bd1d"), value]);
    const socket = await HostileSocket.http2(port, settings());
    await socket.send(headers(1, concatBytes([insert, new Uint8Array(10_000).fill(0xbe)]), true));
    assert.ok(await socket.until(() => socket.count(FRAME_HEADERS) === 1, WAIT_MS_MAX));
    await socket.destroy();
  },
  "a header block that is none": (port) => isFlood(port, /^9/, (i) => headers(id(i), hex("80"), true)),
  "SETTINGS": (port) => isFlood(port, CALM, () => settings([Setting.maxFrameSize, 16_384])),
  "PINGs": (port) => isFlood(port, /^11 too_many_pings/, () => ping("a")),
  "PRIORITY": (port) => isFlood(port, CALM, (i) => frame(2, 0, id(i), hex("0000000010"))),
  "empty DATA": (port) => isFlood(port, CALM, () => data(1, new Uint8Array(0), false), [openPut]),
  "WINDOW_UPDATEs": (port) => isFlood(port, CALM, () => windowUpdate(0, 1)),
  "a window that overflows": (port) => isFlood(port, /^3/, () => windowUpdate(0, 0x7fff_ffff)),
  "unknown frames": (port) => isFlood(port, CALM, () => frame(0x77, 0, 0, new Uint8Array(10))),
  "a frame longer than agreed": (port) => isFlood(port, /^6/, () => data(1, new Uint8Array(20_000), false)),
  "requests without end": async (port) => {
    const socket = await HostileSocket.http2(port, settings());
    for (let i = 0; i < 10_400; i += 100) {
      await socket.send(concatBytes(times(100, (j) => headers(id(i + j), postBlock, false))));
    }
    assert.ok(await socket.until(() => socket.count(FRAME_RST_STREAM) >= 400, WAIT_MS_MAX));
    await socket.destroy();
  },
  "watches that say nothing": async (port) => {
    const socket = await HostileSocket.http2(port, settings());
    for (let i = 0; i < 5_000; i += 100) {
      await socket.send(concatBytes(times(100, (j) => headers(id(i + j), watchBlock, false))));
    }
    await socket.destroy();
  },
  "large responses that nobody takes": async (port) => {
    const socket = await HostileSocket.http2(port, settings([Setting.initialWindowSize, 0]));
    await socket.send(concatBytes(times(100, (i) =>
      concatBytes([
        headers(id(i), rangeBlock, false),
        data(id(i), rangeOfLarge, true),
      ]))));
    assert.ok(await socket.until(() => socket.count(FRAME_HEADERS) === 100, WAIT_MS_MAX));
    await socket.destroy();
  },
  "large responses that nobody reads": async (port) => {
    const socket = await HostileSocket.http2(port, settings([Setting.initialWindowSize, 0x7fff_ffff]));
    socket.pause();
    await socket.send(windowUpdate(0, 0x7000_0000));
    await socket.send(concatBytes(times(50, (i) =>
      concatBytes([
        headers(id(i), rangeBlock, false),
        data(id(i), rangeOfLarge, true),
      ]))));
    await new Promise((resolve) => setTimeout(resolve, 200));
    await socket.destroy();
  },

  "bytes at random": async (port) => {
    const prng = new Prng(7);
    for (let i = 0; i < 30; i += 1) {
      const bytes = Uint8Array.from({ length: 1 + prng.below(2_000) }, () => prng.below(256));
      const socket = await HostileSocket.connect(port);
      await socket.send(bytes);
      await socket.destroy();
    }
    for (let i = 0; i < 30; i += 1) {
      const socket = await HostileSocket.http2(port, settings());
      await socket.send(Uint8Array.from({ length: 1 + prng.below(2_000) }, () => prng.below(256)));
      await socket.destroy();
    }
  },
  "TLS on a plain port": (port) => isClosed(port, hex("160301 0200 010001fc 0303"), utf8("x".repeat(500))),
  "HTTP/1.1 that is none": (port) => isClosed(port, utf8("GET\r\n\r\n")),
  "a header of HTTP/1.1 without end": async (port) => {
    const lines = utf8(`x-long: ${"x".repeat(1_000)}\r\n`.repeat(64));
    await isClosed(port, utf8("GET / HTTP/1.1\r\nhost: a\r\n"), ...times(20, () => lines));
  },
  "two lengths of one body": (port) =>
    isClosed(
      port,
      utf8(
        "POST /v3/kv/put HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /",
      ),
    ),
  "a chunk of no length": (port) =>
    isClosed(port, utf8("POST /v3/kv/put HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")),
  "JSON of 100 MB": async (port) => {
    const socket = await HostileSocket.connect(port);
    await socket.send(utf8(
      `POST /v3/kv/put HTTP/1.1\r\nhost: a\r\nauthorization: ${SECRET}\r\ncontent-length: 100000000\r\n\r\n` +
        `{"value":"`,
    ));
    const part = utf8("A".repeat(1 << 20));
    for (let i = 0; i < 100 && socket.received.length === 0; i += 1) await socket.send(part);
    assert.ok(await socket.until(() => socket.received.length > 0, WAIT_MS_MAX));
    await socket.destroy();
  },
  "JSON 100,000 deep": (port) => isRefused(port, "/v3/kv/txn", "application/json", deep('{"success":[', 1e5)),
  "Connect in JSON 100,000 deep": (port) =>
    isRefused(port, "/etcdserverpb.KV/Put", "application/json", deep('{"a":', 1e5)),
  "Connect in bytes that are no message": (port) =>
    isRefused(port, "/etcdserverpb.KV/Put", "application/proto", "\x0a\xff\xff"),
  "gRPC-Web that claims 4 GiB": (port) =>
    isRefused(port, "/etcdserverpb.KV/Put", "application/grpc-web+proto", "\0\x7f\x7f\x7f\x7f"),
  "gRPC-Web of trailers alone": (port) =>
    isRefused(port, "/etcdserverpb.KV/Put", "application/grpc-web+proto", "\x7f\0\0\0\x03a:b"),
};

const openPut = headers(1, postBlock, false);

function id(i: number): number {
  return i * 2 + 1;
}

function times<T>(count: number, make: (i: number) => T): T[] {
  return Array.from({ length: count }, (_, i) => make(i));
}

function deep(text: string, levels: number): string {
  return text.repeat(levels);
}

function tooManyFields(streamId: number, fields: readonly (readonly [string, string])[]): Uint8Array {
  const block = encodeStaticBlock([...grpcHead("/etcdserverpb.KV/Put"), ...fields]);
  const parts = [frame(FRAME_HEADERS, 1, streamId, block.subarray(0, 16_000))];
  for (let at = 16_000; at < block.length; at += 16_000) {
    parts.push(frame(9, at + 16_000 >= block.length ? 4 : 0, streamId, block.subarray(at, at + 16_000)));
  }
  return concatBytes(parts);
}

async function isFlood(
  port: number,
  goAway: RegExp,
  make: (i: number) => Uint8Array,
  first: readonly Uint8Array[] = [],
): Promise<void> {
  const socket = await HostileSocket.http2(port, settings());
  for (const bytes of first) await socket.send(bytes);
  await floods(socket, goAway, make);
}

/** Sends until the server has had enough: at the latest after 20,000 of a kind. */
async function floods(
  socket: HostileSocket,
  goAway: RegExp,
  make: (i: number) => Uint8Array,
): Promise<void> {
  for (let sent = 0; sent < 20_000 && socket.goAway === undefined && !socket.closed; sent += 50) {
    await socket.send(concatBytes(times(50, (i) => make(sent + i))));
  }
  assert.ok(await socket.until(() => socket.goAway !== undefined, WAIT_MS_MAX), "no GOAWAY");
  // A server that closes while more comes may see its GOAWAY lost with the connection.
  if (socket.goAway !== undefined) assert.match(socket.goAway, goAway);
  assert.ok(await socket.until(() => socket.closed, WAIT_MS_MAX), "the connection stays open");
  await socket.destroy();
}

/** The server ends the connection, with an answer of HTTP/1.1 or without. */
async function isClosed(port: number, ...parts: readonly Uint8Array[]): Promise<void> {
  const socket = await HostileSocket.connect(port);
  for (const part of parts) await socket.send(part);
  assert.ok(await socket.until(() => socket.closed, WAIT_MS_MAX), "the connection stays open");
  const text = new TextDecoder().decode(socket.received);
  assert.match(text, /^(?:HTTP\/1\.1 4\d\d |$)/);
  await socket.destroy();
}

/** The server answers, and says no. */
async function isRefused(port: number, path: string, type: string, body: string): Promise<void> {
  const bytes = Uint8Array.from(body, (character) => character.charCodeAt(0));
  const head = `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: ${type}\r\nauthorization: ${SECRET}\r\n` +
    `content-length: ${bytes.length}\r\nconnection: close\r\n\r\n`;
  const socket = await HostileSocket.connect(port);
  await socket.send(concatBytes([utf8(head), bytes]));
  assert.ok(await socket.until(() => socket.closed, WAIT_MS_MAX), "no answer");
  const answer = new TextDecoder().decode(socket.received);
  assert.match(answer, /^HTTP\/1\.1 (?:4\d\d |500 |200 [^]*grpc-status: ?(?!0\b)\d)/i);
  await socket.destroy();
}

/** Puts and gets without a break, on a connection of its own. */
class GoodClient {
  readonly #client: GrpcClient;
  readonly #done: Promise<void>;
  #stopped = false;
  /** Milliseconds that a put and a get took together. */
  readonly turnsMs: number[] = [];

  private constructor(client: GrpcClient) {
    this.#client = client;
    this.#done = this.#run();
    this.#done.catch(() => {}); // `stop` tells.
  }

  static async connect(port: number): Promise<GoodClient> {
    return new GoodClient(await GrpcClient.connect(port));
  }

  async #run(): Promise<void> {
    const key = utf8("good");
    for (let i = 0; !this.#stopped; i += 1) {
      const value = utf8(`value ${i}`);
      const beganMs = performance.now();
      const put = await this.#client.call(KV.method.put, { key, value });
      assert.equal(put.status, "OK", put.message);
      const { response } = await this.#client.call(KV.method.range, { key });
      assert.ok(equalBytes(response!.kvs[0]!.value, value));
      this.turnsMs.push(performance.now() - beganMs);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#done;
    await this.#client.close();
  }
}

function percentile(values: readonly number[], fraction: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * fraction)]!;
}

/** Resident memory in MiB; undefined where the system does not tell it by files. */
function residentMiB(pid: number): number | undefined {
  try {
    const match = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
    return match === null ? undefined : Number(match[1]) / 1024;
  } catch {
    return undefined;
  }
}

/** Connections that do not go on, of each kind: they are there all the time, and the server ends them. */
async function slowConnections(port: number): Promise<HostileSocket[]> {
  const beginnings = [
    "",
    "P",
    "PRI * HTTP/2.0\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16",
  ];
  return await Promise.all(times(250, async (i) => {
    const socket = await HostileSocket.connect(port);
    await socket.send(utf8(beginnings[i % beginnings.length]!));
    return socket;
  }));
}

/** etcd's rule for these attacks: slower by no more than this factor, which a busy machine may need more than. */
const SLOWER_MAX = 5;
const SLOW_MS = 5_000;
const GROWTH_MIB_MAX = 32;

test("a good client is served, and memory comes back, whatever others do to the server", async () => {
  const server = await startEtcd();
  try {
    await survives(server);
  } finally {
    await server.stop();
  }
});

async function survives(server: EtcdProcess): Promise<void> {
  const { port } = server;
  const setUp = await GrpcClient.connect(port);
  await setUp.call(KV.method.put, { key: utf8("large"), value: new Uint8Array(LARGE_BYTES) });
  await setUp.close();
  const good = await GoodClient.connect(port);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const quiet = good.turnsMs.length;
  const slow = await slowConnections(port);
  const residents: number[] = [];
  const growth = (): number => residents.at(-1)! - residents.at(-2)!;
  const isOver = (): boolean => residents.length >= ROUNDS_MIN && growth() < GROWTH_MIB_MAX;
  while (!isOver() && residents.length < ROUNDS_MAX) {
    for (const [name, attack] of Object.entries(attacks)) {
      await attack(port).catch((error: Error) => assert.fail(`${name}: ${error.message}`));
      assert.ok(server.alive, `${name} ended the server:\n${server.output}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
    residents.push(residentMiB(server.pid) ?? 0);
  }
  for (const socket of slow) {
    assert.ok(await socket.until(() => socket.closed, WAIT_MS_MAX), "a slow connection stays open");
    await socket.destroy();
  }
  await good.stop();
  const [p99, quietP99] = [good.turnsMs.slice(quiet), good.turnsMs.slice(0, quiet)].map((turns) =>
    percentile(turns, 0.99)
  ) as [number, number];
  assert.ok(p99 < Math.max(SLOWER_MAX * quietP99, SLOW_MS), `${p99} ms, and ${quietP99} ms before`);
  // The heap of a runtime grows to what its collector finds handy, and then no more.
  assert.ok(isOver(), `memory after each round, in MiB: ${residents}`);
  assert.ok(!server.output.includes(SECRET), "a secret is in the log");
  assert.deepEqual(await server.stop(), { code: null, signal: "SIGTERM" });
}
