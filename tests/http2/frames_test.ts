import { test } from "node:test";
import assert from "node:assert/strict";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import {
  FrameReader,
  writeGoAway,
  writeHeaderBlock,
  writeReset,
  writeWindowUpdate,
} from "../../src/http2/frames.ts";
import { data, frame, hex, join, rst, windowUpdate } from "./support.ts";

interface Seen {
  readonly type: number;
  readonly flags: number;
  readonly id: number;
  readonly payload: number[];
  readonly source: Uint8Array;
}

function reader(frameBytesMax = 16_384): { frames: FrameReader; seen: Seen[]; oversized: () => number } {
  const seen: Seen[] = [];
  let oversized = 0;
  const frames = new FrameReader({
    onFrame(type, flags, id, bytes, start, end) {
      seen.push({ type, flags, id, payload: [...bytes.subarray(start, end)], source: bytes });
      return true;
    },
    onOversizedFrame: () => oversized += 1,
  }, frameBytesMax);
  return { frames, seen, oversized: () => oversized };
}

const stream = join([
  frame(4, 0, 0),
  data(1, hex("010203"), false),
  frame(6, 1, 0, hex("0102030405060708")),
  data(3, new Uint8Array(300).fill(7), true),
  windowUpdate(0x7fffffff, 5),
]);

test("FrameReader gives the same frames for every way to cut a stream in two", () => {
  const whole = reader();
  whole.frames.read(stream, 0);
  const expected = whole.seen.map(({ type, flags, id, payload }) => ({ type, flags, id, payload }));
  assert.equal(expected.length, 5);
  for (let cut = 0; cut <= stream.length; cut += 1) {
    const { frames, seen } = reader();
    frames.read(stream.slice(0, cut), 0);
    frames.read(stream.slice(cut), 0);
    assert.deepEqual(
      seen.map(({ type, flags, id, payload }) => ({ type, flags, id, payload })),
      expected,
      `cut ${cut}`,
    );
    assert.equal(frames.incomplete, false);
  }
});

test("FrameReader gives the same frames byte by byte", () => {
  const { frames, seen } = reader();
  for (const byte of stream) frames.read(Uint8Array.of(byte), 0);
  assert.deepEqual(seen.map((s) => [s.type, s.id, s.payload.length]), [
    [4, 0, 0],
    [0, 1, 3],
    [6, 0, 8],
    [0, 3, 300],
    [8, 0x7fffffff, 4],
  ]);
});

test("FrameReader copies only the frame that lies in two chunks", () => {
  const { frames, seen } = reader();
  const cut = 9 + 9 + 3 + 9 + 8 + 100;
  const first = stream.slice(0, cut);
  const second = stream.slice(cut);
  frames.read(first, 0);
  assert.equal(frames.incomplete, true);
  frames.read(second, 0);
  const where = seen.map(({ source }) =>
    source === first ? "first" : source === second ? "second" : "copied"
  );
  assert.deepEqual(where, ["first", "first", "first", "copied", "second"]);
});

test("FrameReader stops at a frame that is too long, however its header arrives", () => {
  for (const cut of [1, 3, 8, 9, 12]) {
    const { frames, seen, oversized } = reader(100);
    const bytes = join([data(1, new Uint8Array(100), false), data(1, new Uint8Array(101), false)]);
    frames.read(bytes.slice(0, 109 + cut), 0);
    if (oversized() === 0) frames.read(bytes.slice(109 + cut), 0);
    assert.equal(oversized(), 1);
    assert.equal(seen.length, 1);
  }
});

test("FrameReader gives no frame after the sink has stopped it", () => {
  let count = 0;
  const frames = new FrameReader({ onFrame: () => (count += 1) < 2, onOversizedFrame() {} }, 16_384);
  frames.read(stream, 0);
  assert.equal(count, 2);
});

test("FrameReader ignores the reserved bit of a stream id", () => {
  const { frames, seen } = reader();
  frames.read(hex("000000 00 00 80000001"), 0);
  assert.equal(seen[0]!.id, 1);
});

test("frame writers give the octets of RFC 9113 section 6", () => {
  const out = new ByteWriter();
  writeReset(out, 5, 8);
  assert.deepEqual(out.toBytes(), hex("000004 03 00 00000005 00000008"));
  assert.deepEqual(out.toBytes(), rst(5, 8));
  out.clear();
  writeWindowUpdate(out, 0, 0x7fffffff);
  assert.deepEqual(out.toBytes(), hex("000004 08 00 00000000 7fffffff"));
  out.clear();
  writeGoAway(out, 0x7fffffff, 11, hex("6162"));
  assert.deepEqual(out.toBytes(), hex("00000a 07 00 00000000 7fffffff 0000000b 6162"));
});

test("writeHeaderBlock() continues a block that exceeds the frame size", () => {
  const out = new ByteWriter();
  writeHeaderBlock(out, 3, hex("0102030405"), true, 2);
  assert.deepEqual(
    out.toBytes(),
    hex("000002 01 01 00000003 0102  000002 09 00 00000003 0304  000001 09 04 00000003 05"),
  );
  out.clear();
  writeHeaderBlock(out, 3, hex("0102"), false, 2);
  assert.deepEqual(out.toBytes(), hex("000002 01 04 00000003 0102"));
});
