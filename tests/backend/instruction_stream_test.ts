import assert from "node:assert/strict";
import { test } from "node:test";
import { InstructionStream } from "../../src/backend/instruction_stream.ts";
import { Dice } from "./entry_script.ts";

/** Memory with made-up addresses, read as the native write thread reads it. */
class FakeMemory {
  readonly #buffers: ArrayBuffer[] = [];

  addressOf = (buffer: ArrayBuffer): number => {
    this.#buffers.push(buffer);
    return this.#buffers.length * 0x1_0000_0000;
  };

  run(start: number): string[] {
    const done: string[] = [];
    let address = start;
    while (true) {
      const buffer = this.#buffers[Math.floor(address / 0x1_0000_0000) - 1]!;
      const view = new DataView(buffer);
      let at = address % 0x1_0000_0000;
      assert.equal(at % 8, 0);
      const flags = view.getUint32(at, true);
      if (flags === 0) return done;
      if ((flags & 0xf) === 3) {
        address = view.getFloat64(at + 8, true);
        continue;
      }
      const keyLength = view.getUint32(at + 8, true);
      const key = [...new Uint8Array(buffer, at + 12, keyLength)];
      const what = `${flags.toString(16)} ${view.getUint32(at + 4, true)} ${key}`;
      at = (at + 12 + keyLength + 16) & ~7;
      if ((flags & 0xf) === 15) {
        done.push(`${what} = ${view.getUint32(at - 4, true)} at ${view.getFloat64(at, true)}`);
        at += 8;
      } else done.push(what);
      address = Math.floor(address / 0x1_0000_0000) * 0x1_0000_0000 + at;
    }
  }
}

test("InstructionStream writes what the write thread reads, over many buffers and after clear()", () => {
  const memory = new FakeMemory();
  const stream = new InstructionStream(memory.addressOf);
  for (const seed of [1, 2]) {
    const dice = new Dice(seed);
    const expected: string[] = [];
    for (let n = 0; n < 5000; n += 1) {
      const key = new Uint8Array(dice.below(100) === 0 ? 1 + dice.below(4026) : 1 + dice.below(40)).fill(n);
      const database = 2 + dice.below(10);
      const address = 1000 + n * 8;
      const act = dice.below(3);
      if (act === 0) stream.put(database, key, address, n);
      else if (act === 1) stream.append(database, key, address, n);
      else stream.delete(database, key);
      const flags = ["f", "2000f", "d"][act]!;
      expected.push(`${flags} ${database} ${[...key]}` + (act === 2 ? "" : ` = ${n} at ${address}`));
    }
    assert.equal(stream.count, 5000);
    assert.deepEqual(memory.run(stream.finish()), expected);
    stream.clear();
    assert.equal(stream.count, 0);
    assert.deepEqual(memory.run(stream.finish()), []);
  }
});

test("InstructionStream asserts on keys and values that LMDB would not take", () => {
  const stream = new InstructionStream(new FakeMemory().addressOf);
  assert.throws(() => stream.put(2, new Uint8Array(0), 0, 0), /Key length/);
  assert.throws(() => stream.delete(2, new Uint8Array(4027)), /Key length/);
  assert.throws(() => stream.put(2, new Uint8Array(1), 0, 2 ** 31), /too long/);
  assert.equal(stream.count, 0);
});
