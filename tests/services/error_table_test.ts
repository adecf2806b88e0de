import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { wireErrors } from "../../src/services/error_table.ts";

/** Code and text of every error in etcd 3.7.1's client-visible catalogue (api/v3rpc/rpctypes/error.go). */
const catalogue = readFileSync(new URL("testdata/rpc_errors.tsv", import.meta.url), "utf8").trim().split("\n")
  .map((line) => line.split("\t") as [code: string, text: string]);

/** etcd's server sends these as Unknown, whatever the catalogue says (api/v3rpc/util.go). */
const sentAsUnknown = [
  "etcdserver: re-configuration failed due to not enough started members",
  "etcdserver: too many requests",
];

const rows: readonly (readonly [number, string])[] = Object.values(wireErrors);

test("wireErrors has every error of etcd's catalogue with its code and text", () => {
  for (const [code, text] of catalogue) {
    const row = rows.find(([, ours]) => ours === text);
    assert.ok(row !== undefined, `No row says "${text}"`);
    assert.equal(row[0], sentAsUnknown.includes(text) ? 2 : Number(code), text);
  }
});

test("wireErrors beyond the catalogue has only errors that etcd does not map to a status", () => {
  const known = new Set(catalogue.map(([, text]) => text));
  const others = rows.filter(([, text]) => !known.has(text));
  // Of a call's own context, and of RangeStream, which makes its statuses itself.
  const mapped = others.filter(([code]) => code !== 2).map(([, text]) => text).sort();
  assert.deepEqual(mapped, [
    "RangeStream does not support custom sort orders",
    "RangeStream does not support revision filters",
    "context canceled",
    "context deadline exceeded",
  ]);
});

test("wireErrors says each text once", () => {
  assert.equal(new Set(rows.map(([, text]) => text)).size, rows.length);
});
