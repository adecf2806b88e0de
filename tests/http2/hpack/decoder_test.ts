import { test } from "node:test";
import assert from "node:assert/strict";
import { HpackDecoder } from "../../../src/http2/hpack/decoder.ts";
import { DynamicTable, HeaderEntry } from "../../../src/http2/hpack/table.ts";
import { runScript, scriptsUnder } from "../../harness/datadriven.ts";
import { fieldsOf, hex } from "../support.ts";

for (const script of scriptsUnder("tests/http2/hpack/testdata")) {
  test(`hpack script: ${script.name}`, () => {
    let decoder = new HpackDecoder(4096);
    runScript(script, (command) => {
      if (command.name === "decoder") {
        decoder = new HpackDecoder(Number(command.args.get("size")?.[0] ?? 4096));
      }
      const fields = fieldsOf(decoder, hex(command.input));
      if (fields === undefined) return "malformed";
      const { count, size } = decoder.table;
      const table = `table: ${count} ${count === 1 ? "entry" : "entries"}, ${size} octets`;
      return [...fields.map(([name, value]) => `${name}: ${value}`), table].join("\n");
    });
  });
}

test("DynamicTable keeps its order over many evictions", () => {
  const table = new DynamicTable(200);
  const model: string[] = [];
  for (let i = 0; i < 1_000; i += 1) {
    const name = "n".repeat(1 + i % 30);
    table.insert(new HeaderEntry(name, String(i % 10)));
    model.unshift(name);
    while (model.reduce((sum, n) => sum + n.length + 33, 0) > 200) model.pop();
    assert.equal(table.count, model.length);
    model.forEach((n, at) => assert.equal(table.entryAt(at)?.field[0], n));
    assert.equal(table.entryAt(model.length), undefined);
  }
});

test("HpackDecoder decodes a literal of 100,000 octets", () => {
  const length = 100_000;
  // 0x7f and the rest of the length in groups of seven bits (RFC 7541 section 5.1).
  const rest = length - 127;
  const prefix = [0x00, 0x01, 0x61, 0x7f, (rest & 127) | 128, ((rest >> 7) & 127) | 128, rest >> 14];
  const block = new Uint8Array(prefix.length + length).fill(0xe9);
  block.set(prefix);
  const fields = fieldsOf(new HpackDecoder(4096), block)!;
  assert.equal(fields[0]![1], "\u00e9".repeat(length));
});
