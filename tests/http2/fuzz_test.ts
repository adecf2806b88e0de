import { test } from "node:test";
import assert from "node:assert/strict";
import { Prng } from "../../src/base/prng.ts";
import { utf8 } from "../../src/base/bytes.ts";
import { ClientConnection, clientOptions } from "../../src/http2/client_connection.ts";
import { HpackDecoder } from "../../src/http2/hpack/decoder.ts";
import { encodeStaticBlock } from "../../src/http2/hpack/encoder.ts";
import { Setting } from "../../src/http2/frames.ts";
import { byteStreamPair } from "../harness/byte_stream_pair.ts";
import {
  data,
  fieldsOf,
  frame,
  getBlock,
  headers,
  join,
  ManualClock,
  okBlock,
  ping,
  postBlock,
  rst,
  ServerFixture,
  settings,
  trailersBlock,
  uint32,
  windowUpdate,
} from "./support.ts";

const SEEDS = 150;

function randomBytes(prng: Prng, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => prng.uint32() & 255);
}

function below(prng: Prng, bound: number): number {
  return prng.uint32() % bound;
}

/** A frame that makes sense about half of the time. */
function randomFrame(prng: Prng): Uint8Array {
  const id = below(prng, 8) === 0 ? prng.uint32() >>> 1 : below(prng, 40);
  switch (below(prng, 14)) {
    case 0:
    case 1:
      return headers(id | 1, postBlock, below(prng, 2) === 0);
    case 2:
      return headers(id | 1, join([getBlock, randomBytes(prng, below(prng, 20))]), below(prng, 2) === 0);
    case 3:
      return frame(1, prng.uint32() & 0xff, id, randomBytes(prng, below(prng, 60)));
    case 4:
    case 5:
      return data(id | 1, randomBytes(prng, below(prng, 500)), below(prng, 3) === 0);
    case 6:
      return frame(9, prng.uint32() & 4, id | 1, randomBytes(prng, below(prng, 30)));
    case 7:
      return rst(id, below(prng, 20));
    case 8:
      return windowUpdate(
        below(prng, 2) === 0 ? 0 : id,
        below(prng, 4) === 0 ? prng.uint32() : below(prng, 70_000),
      );
    case 9:
      return settings([below(prng, 8), below(prng, 3) === 0 ? prng.uint32() : below(prng, 70_000)]);
    case 10:
      return ping("x");
    case 11:
      return frame(7, 0, 0, join([uint32(id), uint32(below(prng, 15)), randomBytes(prng, below(prng, 10))]));
    case 12:
      return headers(id | 1, below(prng, 2) === 0 ? okBlock : trailersBlock, below(prng, 2) === 0);
    default:
      return frame(below(prng, 256), prng.uint32() & 255, id, randomBytes(prng, below(prng, 40)));
  }
}

/** Frames of a client that keeps to the rules but for one in `hostile`, and one octet in many of them. */
class RandomClient {
  readonly #prng: Prng;
  readonly #hostile: number;
  #nextId = 1;
  #open: number[] = [];

  constructor(prng: Prng) {
    this.#prng = prng;
    this.#hostile = [10_000, 300, 30, 3][below(prng, 4)]!;
  }

  frames(): Uint8Array {
    const count = 1 + below(this.#prng, 30);
    const bytes = join(Array.from({ length: count }, () => this.#frame()));
    if (below(this.#prng, this.#hostile) < count) {
      bytes[below(this.#prng, bytes.length)] = this.#prng.uint32();
    }
    return bytes;
  }

  #frame(): Uint8Array {
    const prng = this.#prng;
    if (below(prng, this.#hostile) === 0) return randomFrame(prng);
    const id = this.#open[below(prng, this.#open.length + 1)];
    switch (below(prng, 6)) {
      case 0:
        return windowUpdate(0, 1 + below(prng, 70_000));
      case 1:
        return settings([Setting.initialWindowSize, below(prng, 70_000)]);
      default:
        if (id !== undefined) return this.#continue(id);
        this.#nextId += 2;
        if (below(prng, 2) === 0) return headers(this.#nextId - 2, postBlock, true);
        this.#open.push(this.#nextId - 2);
        return headers(this.#nextId - 2, getBlock, false);
    }
  }

  #continue(id: number): Uint8Array {
    const prng = this.#prng;
    const end = below(prng, 3) === 0;
    if (end) this.#open = this.#open.filter((open) => open !== id);
    if (end && below(prng, 3) === 0) return rst(id, 8);
    if (end && below(prng, 3) === 0) return headers(id, trailersBlock, true);
    return data(id, randomBytes(prng, below(prng, 500)), end);
  }
}

test("ServerConnection survives random frames, in bounds", () => {
  const ends = { open: 0, ended: 0 };
  let answered = 0;
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const prng = new Prng(seed);
    const server = new ServerFixture({
      chunkBytesMax: [65_536, 997, 13][seed % 3]!,
      capacityBytes: [Infinity, 2_000][seed % 2]!,
      limits: { streamsMax: 10 },
      onRequest(request) {
        if (below(prng, 8) === 0) throw new Error("defect");
        request.onEnd = () => {
          answered += 1;
          request.reply(randomBytes(prng, below(prng, 3_000)));
        };
        if (below(prng, 4) === 0) request.stream.holdCredit();
        if (below(prng, 16) === 0) request.stream.reset(8);
      },
    });
    const peer = new RandomClient(prng);
    for (let lot = 0; lot < 20; lot += 1) {
      server.send(peer.frames());
      assert.ok(server.connection.streamCount <= 10, `seed ${seed}`);
      assert.ok(server.pair.b.queuedBytes <= 400_000, `seed ${seed}`);
      if (below(prng, 3) === 0) server.advance(below(prng, 2_000));
    }
    ends[server.connection.ended ? "ended" : "open"] += 1;
    for (const defect of server.defects) assert.equal((defect as Error).message, "defect", `seed ${seed}`);
    server.pair.a.destroy();
    server.advance(2_000);
    assert.equal(server.closed, 1, `seed ${seed}`);
    assert.equal(server.clock.timers, 0, `seed ${seed}`);
    for (const request of server.requests) {
      assert.ok(request.stream.closed, `seed ${seed}: stream ${request.stream.id} is open`);
    }
  }
  // The mixture is worth something only if it ends connections and also gets through.
  assert.ok(ends.ended > SEEDS / 10, JSON.stringify(ends));
  assert.ok(answered > SEEDS, `${answered} requests were answered`);
});

test("ServerConnection survives random bytes after the preface", () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const prng = new Prng(seed);
    const server = new ServerFixture({ silent: seed % 5 === 0 });
    for (let lot = 0; lot < 10; lot += 1) server.send(randomBytes(prng, below(prng, 200)));
    server.connection.destroy();
    server.settle();
    assert.equal(server.closed, 1);
  }
});

test("ClientConnection survives a server of random frames", () => {
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const prng = new Prng(seed);
    const clock = new ManualClock();
    const pair = byteStreamPair({ chunkBytesMax: [65_536, 50][seed % 2]! });
    let closed = 0;
    let opened = 0;
    let over = 0;
    const defects: unknown[] = [];
    const client = new ClientConnection(
      pair.a,
      clientOptions(clock, { onClosed: () => closed += 1, onDefect: (error) => defects.push(error) }),
    );
    const settle = () => {
      do pair.settle(); while (clock.turn());
    };
    pair.b.write(settings());
    for (let lot = 0; lot < 20; lot += 1) {
      const stream = client.open(postBlock, {
        onHead() {},
        onData() {},
        onEnd: () => over += 1,
        onReset: () => over += 1,
        onWritable() {},
      }, false);
      if (stream !== undefined) opened += 1;
      stream?.sendData(randomBytes(prng, below(prng, 30_000)), below(prng, 2) === 0);
      pair.b.write(join(Array.from({ length: 1 + below(prng, 10) }, () => randomFrame(prng))));
      settle();
    }
    client.destroy();
    settle();
    assert.deepEqual(defects, [], `seed ${seed}`);
    assert.equal(closed, 1, `seed ${seed}`);
    assert.equal(over, opened, `seed ${seed}: each request ends once`);
    assert.equal(clock.timers, 0);
  }
});

test("HpackDecoder survives random blocks and keeps its table in bounds", () => {
  const prng = new Prng(7);
  const valid = encodeStaticBlock([[":method", "GET"], ["a", "b"], ["user-agent", "fuzz/1.0"]]);
  let decoded = 0;
  for (let i = 0; i < 20_000; i += 1) {
    const decoder = new HpackDecoder(4096);
    for (let block = 0; block < 4; block += 1) {
      const bytes = below(prng, 2) === 0 ? randomBytes(prng, below(prng, 40)) : valid.slice();
      if (bytes.length > 0 && below(prng, 2) === 0) bytes[below(prng, bytes.length)] = prng.uint32();
      if (fieldsOf(decoder, bytes) === undefined) break;
      decoded += 1;
      assert.ok(decoder.table.size <= 4096);
    }
  }
  assert.ok(decoded > 5_000, `${decoded} blocks were valid`);
});

test("every prefix of a valid block is decoded or refused", () => {
  const block = encodeStaticBlock([[":method", "GET"], ["grpc-timeout", "1S"], ["a", utf8("é").join("")]]);
  for (let length = 0; length <= block.length; length += 1) {
    const fields = fieldsOf(new HpackDecoder(4096), block.subarray(0, length));
    assert.ok(fields === undefined || fields.length <= 3);
  }
});
