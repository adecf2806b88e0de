import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageBudget, MessageReader } from "../../src/grpc/framing.ts";
import { Prng } from "../../src/base/prng.ts";

const LIMITS = { receiveBytesMax: 100_000 };

function framed(bytes: Uint8Array, flags = 0, length = bytes.length): Uint8Array {
  const frame = new Uint8Array(5 + bytes.length);
  frame[0] = flags;
  new DataView(frame.buffer).setUint32(1, length);
  frame.set(bytes, 5);
  return frame;
}

function reader(budgetBytes = 1_000_000) {
  const messages: { compressed: boolean; bytes: Uint8Array }[] = [];
  const budget = new MessageBudget(budgetBytes);
  const each = new MessageReader(
    LIMITS,
    budget,
    (compressed, bytes) => void messages.push({ compressed, bytes }),
  );
  return { messages, budget, reader: each };
}

test("MessageReader.push() finds the same messages however they are cut", () => {
  const prng = new Prng(7);
  for (let round = 0; round < 200; round += 1) {
    const sent = Array.from({ length: 1 + prng.uint32() % 5 }, () => {
      const bytes = new Uint8Array(prng.uint32() % 40_000);
      return bytes.fill(prng.uint32() & 255);
    });
    const stream = new Uint8Array(sent.reduce((sum, bytes) => sum + bytes.length + 5, 0));
    let end = 0;
    for (const bytes of sent) {
      stream.set(framed(bytes), end);
      end += bytes.length + 5;
    }
    const { messages, reader: each } = reader();
    for (let at = 0; at < end;) {
      const next = Math.min(end, at + 1 + prng.uint32() % 20_000);
      each.push(stream, at, next);
      at = next;
    }
    assert.deepEqual(
      messages.map(({ bytes }) => Buffer.from(bytes).toString("latin1")),
      sent.map((bytes) => Buffer.from(bytes).toString("latin1")),
    );
    assert.ok(each.atBoundary);
  }
});

test("MessageReader.push() refuses by the prefix alone", () => {
  const tooLong = framed(new Uint8Array(0), 0, LIMITS.receiveBytesMax + 1);
  assert.throws(() => reader().reader.push(tooLong, 0, 5), {
    code: 8,
    message: "grpc: received message larger than max (100001 vs. 100000)",
  });
  const longest = framed(new Uint8Array(0), 0, 0xffffffff);
  assert.throws(() => reader().reader.push(longest, 0, 5), { code: 8 });
  const flags = framed(new Uint8Array(0), 0x7f);
  assert.throws(() => reader().reader.push(flags, 0, 5), {
    code: 13,
    message: "grpc: received unexpected payload format 127",
  });
});

test("MessageReader holds no more than has arrived, and the budget bounds all of a connection", () => {
  const { budget, reader: first } = reader(40_000);
  const claim = framed(new Uint8Array(10), 0, 90_000);
  first.push(claim, 0, claim.length);
  const second = new MessageReader(LIMITS, budget, () => {});
  second.push(claim, 0, claim.length);
  // Two beginnings fit although they claim 180,000 bytes; a third does not.
  const third = new MessageReader(LIMITS, budget, () => {});
  assert.throws(() => third.push(claim, 0, claim.length), { code: 8 });
  first.close();
  third.push(new Uint8Array(1), 0, 1);
});
