import assert from "node:assert/strict";
import { test } from "node:test";
import { binaryString, bytesOfBinaryString } from "../../src/base/binary_string.ts";
import { ChunkedReader } from "../../src/http1/chunked_reader.ts";
import { defaultHttp1Limits } from "../../src/http1/limits.ts";

const limits = { ...defaultHttp1Limits, chunkExtensionsBytesMax: 1_000, trailerBytesMax: 100 };

/** What a body says, and what follows it; "malformed", or "unfinished". */
function read(text: string, pieceBytes = text.length): string {
  let data = "";
  const reader = new ChunkedReader(limits, (bytes, start, end) => {
    assert.ok(start < end);
    data += binaryString(bytes.subarray(start, end));
  });
  for (let at = 0; at < text.length; at += pieceBytes) {
    const piece = bytesOfBinaryString(text.slice(at, at + pieceBytes));
    const end = reader.read(piece, 0);
    if (end < 0) return "malformed";
    if (reader.done) return `${data}|${text.slice(at + end)}`;
    assert.equal(end, piece.length);
  }
  return "unfinished";
}

const bodies: readonly (readonly [name: string, text: string, expected: string])[] = [
  ["nothing", "0\r\n\r\n", "|"],
  ["chunks and what follows", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET", "hello world|GET"],
  [
    "sizes in hexadecimal",
    "A\r\n0123456789\r\n0000000b\r\nabcdefghijk\r\n00\r\n\r\n",
    "0123456789abcdefghijk|",
  ],
  ["line ends in data", "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n|"],
  ["extensions", '3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n', "abc|"],
  ["trailers", "1\r\na\r\n0\r\nX: y\r\nContent-Length: 5\r\n\r\nrest", "a|rest"],
  ["a body without its end", "5\r\nhello\r\n", "unfinished"],
  ["a chunk without its end", "5\r\nhel", "unfinished"],
  ["trailers without their end", "0\r\nX: y\r\n", "unfinished"],
  ["no size", "\r\nhello\r\n", "malformed"],
  ["a size that is no number", "g\r\n", "malformed"],
  ["a size with a sign", "+5\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a negative size", "-5\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a size with 0x", "0x5\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a size with an underscore", "1_0\r\n", "malformed"],
  ["a size beyond 4 GiB", "100000000\r\n", "malformed"],
  ["a size that would wrap around", "ffffffffffffffff5\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a space before the size", " 5\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a space after the size", "5 \r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a size line that ends with LF", "5\nhello\r\n0\r\n\r\n", "malformed"],
  ["a size line that ends with CR", "5\rhello\r\n0\r\n\r\n", "malformed"],
  ["an extension with a LF", "5;a\nb\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["an extension with a CR", "5;a\rb\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["an extension with a NUL", "5;\0\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a long extension", `5;${"a".repeat(300)}\r\nhello\r\n0\r\n\r\n`, "malformed"],
  ["many extensions", `${`1;${"a".repeat(200)}\r\nx\r\n`.repeat(6)}0\r\n\r\n`, "malformed"],
  ["a chunk that is longer than its size", "5\r\nhello!\r\n0\r\n\r\n", "malformed"],
  ["a chunk that is shorter than its size", "6\r\nhello\r\n0\r\n\r\n", "malformed"],
  ["a chunk that ends with LF", "5\r\nhello\n0\r\n\r\n", "malformed"],
  ["an end with a LF", "0\r\n\n", "malformed"],
  ["an end with a CR", "0\r\n\rX", "malformed"],
  ["a trailer without a colon", "0\r\nX\r\n\r\n", "malformed"],
  ["a trailer without a name", "0\r\n: y\r\n\r\n", "malformed"],
  ["a folded trailer", "0\r\nX: y\r\n z\r\n\r\n", "malformed"],
  ["a trailer with a LF", "0\r\nX: y\nz: a\r\n\r\n", "malformed"],
  ["long trailers", `0\r\nX: ${"y".repeat(100)}\r\n\r\n`, "malformed"],
];

for (const [name, text, expected] of bodies) {
  test(`a chunked body: ${name}`, () => {
    for (const pieceBytes of [text.length, 1, 2, 3, 7]) assert.equal(read(text, pieceBytes), expected);
  });
}
