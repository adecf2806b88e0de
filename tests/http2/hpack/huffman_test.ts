import { test } from "node:test";
import assert from "node:assert/strict";
import { ByteWriter } from "../../../src/base/byte_writer.ts";
import {
  decodeHuffman,
  encodeHuffman,
  HUFFMAN_MALFORMED,
  huffmanDecodedMax,
  huffmanEncodedLength,
} from "../../../src/http2/hpack/huffman.ts";
import { hex } from "../support.ts";

function encode(text: string): Uint8Array {
  const out = new ByteWriter();
  encodeHuffman(out, text);
  return out.toBytes();
}

function decode(bytes: Uint8Array): string | undefined {
  const target = new Uint8Array(huffmanDecodedMax(bytes.length));
  const length = decodeHuffman(bytes, 0, bytes.length, target);
  return length === HUFFMAN_MALFORMED ? undefined : String.fromCharCode(...target.subarray(0, length));
}

test("encodeHuffman() gives the strings of RFC 7541 appendix C", () => {
  assert.deepEqual(encode("www.example.com"), hex("f1e3c2e5f23a6ba0ab90f4ff"));
  assert.deepEqual(encode("no-cache"), hex("a8eb10649cbf"));
  assert.deepEqual(encode("custom-key"), hex("25a849e95ba97d7f"));
  assert.deepEqual(
    encode("Mon, 21 Oct 2013 20:13:21 GMT"),
    hex("d07abe941054d444a8200595040b8166e082a62d1bff"),
  );
});

test("encodeHuffman() gives the codes of RFC 7541 appendix B for its rarest symbols", () => {
  // Codes as the table prints them, padded with ones: "\\" is 0x7fff0 in 19 bits, NUL 0x1ff8 in 13, LF 0x3ffffffc in 30.
  assert.deepEqual(encode("\\"), hex("fffe1f"));
  assert.deepEqual(encode("\u0000"), hex("ffc7"));
  assert.deepEqual(encode("\n"), hex("fffffff3"));
  assert.deepEqual(encode("\u00ff"), hex("fffffbbf"));
});

test("decodeHuffman() returns what was encoded, for every pair of octets", () => {
  for (let first = 0; first < 256; first += 1) {
    for (let second = 0; second < 256; second += 1) {
      const text = String.fromCharCode(first, second);
      const bytes = encode(text);
      assert.equal(bytes.length, huffmanEncodedLength(text));
      if (decode(bytes) !== text) assert.fail(`${first}, ${second}`);
    }
  }
});

test("decodeHuffman() accepts only what encodeHuffman() makes", () => {
  // Every string of two octets, and of three that begin with a long code: decoding is valid if and only if encoding
  // the result gives the same octets.
  let valid = 0;
  for (let value = 0; value < 0x10000; value += 1) {
    for (const prefix of [[], [0xff]]) {
      const bytes = Uint8Array.from([...prefix, value >> 8, value & 255]);
      const text = decode(bytes);
      if (text === undefined) continue;
      valid += 1;
      assert.deepEqual(encode(text), bytes);
    }
  }
  assert.ok(valid > 1_000, `${valid} valid strings`);
});
