/** Frames of RFC 6455 as a client makes them, well or badly, and those of a server read strictly. */
import assert from "node:assert/strict";
import { concatBytes, utf8 } from "../../src/base/bytes.ts";

export const TEXT = 1;
export const BINARY = 2;
export const CONTINUATION = 0;
export const CLOSE = 8;
export const PING = 9;
export const PONG = 10;

/** The key of RFC 6455 section 1.3, and what answers it. */
export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
export const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

export interface FrameOptions {
  readonly final?: boolean;
  readonly reserved?: number;
  readonly masked?: boolean;
  /** Octets of the length, when it is not to be the shortest form. */
  readonly lengthBytes?: 0 | 2 | 8;
  /** What the frame says of its length, when that is a lie. */
  readonly length?: bigint;
}

export function frame(opcode: number, payload: string | Uint8Array, options: FrameOptions = {}): Uint8Array {
  const bytes = typeof payload === "string" ? utf8(payload) : payload;
  const { final = true, reserved = 0, masked = true } = options;
  const length = options.length ?? BigInt(bytes.length);
  const lengthBytes = options.lengthBytes ?? (length < 126n ? 0 : length < 65_536n ? 2 : 8);
  const header = new Uint8Array(2 + lengthBytes);
  const view = new DataView(header.buffer);
  header[0] = (final ? 0x80 : 0) | reserved << 4 | opcode;
  header[1] = (masked ? 0x80 : 0) | (lengthBytes === 0 ? Number(length) : lengthBytes === 2 ? 126 : 127);
  if (lengthBytes === 2) view.setUint16(2, Number(length));
  if (lengthBytes === 8) view.setBigUint64(2, length);
  if (!masked) return concatBytes([header, bytes]);
  const mask = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);
  return concatBytes([header, mask, bytes.map((byte, i) => byte ^ mask[i & 3]!)]);
}

export function closeFrame(code: number, reason = ""): Uint8Array {
  return frame(CLOSE, concatBytes([Uint8Array.of(code >> 8, code & 0xff), utf8(reason)]));
}

export function handshake(target: string, fields: Readonly<Record<string, string>> = {}): string {
  const all = {
    Host: "a",
    Upgrade: "websocket",
    Connection: "keep-alive, Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
    ...fields,
  };
  const lines = Object.entries(all).filter(([, value]) => value !== "").map(([name, value]) =>
    `${name}: ${value}\r\n`
  );
  return `GET ${target} HTTP/1.1\r\n${lines.join("")}\r\n`;
}

/** Whole frames of a server, as "text:hello", "close:1000"; parts of a message as "text…:hel", "continuation:lo". */
export function serverFrames(bytes: Uint8Array): string[] {
  const frames: string[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 0;
  while (at + 2 <= bytes.length) {
    const first = bytes[at]!;
    const second = bytes[at + 1]!;
    assert.equal(first & 0x70, 0, "reserved bits");
    assert.ok(second < 0x80, "a server does not mask");
    const lengthBytes = second === 127 ? 8 : second === 126 ? 2 : 0;
    if (at + 2 + lengthBytes > bytes.length) break;
    const length = second === 127
      ? Number(view.getBigUint64(at + 2))
      : second === 126
      ? view.getUint16(at + 2)
      : second;
    at += 2 + lengthBytes;
    if (at + length > bytes.length) break;
    const opcode = first & 0x0f;
    const payload = bytes.subarray(at, at + length);
    const name = { 0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong" }[opcode];
    assert.ok(name !== undefined, `opcode ${opcode}`);
    const shown = opcode === CLOSE && length >= 2
      ? `${payload[0]! << 8 | payload[1]!}${new TextDecoder().decode(payload.subarray(2))}`
      : new TextDecoder().decode(payload);
    frames.push(`${name}${first < 0x80 ? "…" : ""}:${shown}`);
    at += length;
  }
  return frames;
}
