import { binaryString } from "../base/binary_string.ts";
import { utf8 } from "../base/bytes.ts";
import type { Digest } from "../ports/digest.ts";
import type { HeaderField } from "./api.ts";
import type { Exchange } from "./exchange.ts";
import { ResponseHead } from "./response_head.ts";

/** What the key is joined with before it is hashed (RFC 6455 section 1.3). */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** 16 octets in base64. */
const KEY = /^[+/0-9A-Za-z]{21}[AQgw]==$/;
const VERSION = "13";

const textField: HeaderField = ["Content-Type", "text/plain; charset=utf-8"];
export const badHandshake = new ResponseHead(400, [textField]);
/** RFC 6455 section 4.4: the client learns which version there is. */
export const wrongVersion = new ResponseHead(426, [
  textField,
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Version", VERSION],
]);

/** Whether a request asks for a WebSocket. One that asks in another way than by GET is taken for what it is without. */
export function asksForWebSocket(exchange: Exchange): boolean {
  if (exchange.method !== "GET" || exchange.head.minorVersion !== 1) return false;
  return hasToken(exchange.header("upgrade"), "websocket") &&
    hasToken(exchange.header("connection"), "upgrade");
}

function hasToken(list: string | undefined, token: string): boolean {
  return list !== undefined && list.toLowerCase().split(",").some((item) => item.trim() === token);
}

/**
 * The answer to a request that asks for a WebSocket (RFC 6455 section 4.2): 101, or what refuses it. Extensions are
 * never agreed to, and of subprotocols the one that is given.
 */
export function answerHandshake(
  exchange: Exchange,
  digest: Digest,
  subprotocol: string | undefined,
): ResponseHead {
  if (exchange.header("sec-websocket-version") !== VERSION) return wrongVersion;
  const key = exchange.header("sec-websocket-key") ?? "";
  if (!KEY.test(key) || exchange.head.bodyLength !== 0) return badHandshake;
  const fields: HeaderField[] = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", btoa(binaryString(digest.sha1(utf8(key + ACCEPT_SUFFIX))))],
  ];
  if (subprotocol !== undefined) fields.push(["Sec-WebSocket-Protocol", subprotocol]);
  return new ResponseHead(101, fields);
}
