/** The JSON API over WebSockets: with the client of the runtime, with one that breaks the rules, and beside etcd in Go. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, utf8 } from "../../src/base/bytes.ts";
import { eventually, WAIT_MS_MAX } from "../harness/deadline.ts";
import { type EtcdProcess, findGoEtcd, httpGet, startEtcd, startGoEtcd } from "../harness/etcd_process.ts";
import { HostileSocket } from "../harness/hostile_socket.ts";
import { postJson, withoutSpaces } from "../harness/json_client.ts";
import { WebSocketClient } from "../harness/websocket_client.ts";
import { frame, handshake, serverFrames, TEXT } from "../harness/websocket_frames.ts";

const base64 = (text: string): string => btoa(text);
const put = (key: string, value: string): string => `{"key":"${base64(key)}","value":"${base64(value)}"}`;
const watch = (key: string, more = ""): string => `{"create_request":{"key":"${base64(key)}"${more}}}`;

async function serving(
  run: (server: EtcdProcess) => Promise<void>,
  flags: readonly string[] = [],
): Promise<void> {
  const server = await startEtcd({ flags });
  try {
    await run(server);
  } finally {
    await server.stop();
  }
}

/** What one request is answered with, and the code of the close after it. */
async function ask(
  port: number,
  path: string,
  message: string | Uint8Array,
): Promise<readonly [string, number]> {
  const client = await WebSocketClient.open(port, path);
  client.send(message);
  return [await client.next(), await client.whenClosed()];
}

/** A connection with a handshake of its own, whose answer has come. */
async function connected(
  port: number,
  target: string,
  fields: Record<string, string> = {},
): Promise<HostileSocket> {
  const socket = await HostileSocket.connect(port);
  await socket.send(utf8(handshake(target, { Host: "127.0.0.1", ...fields })));
  await socket.until(() => headEnd(socket.received) > 0, WAIT_MS_MAX);
  return socket;
}

function headEnd(bytes: Uint8Array): number {
  const at = new TextDecoder("latin1").decode(bytes).indexOf("\r\n\r\n");
  return at < 0 ? -1 : at + 4;
}

/** The frames behind the head. */
function framesOf(socket: HostileSocket): string[] {
  return serverFrames(socket.received.slice(headEnd(socket.received)));
}

/** How many watch calls have ended because their client had gone. */
async function cancelledWatches(port: number): Promise<number> {
  const { body } = await httpGet(port, "/metrics");
  const line = body.split("\n").find((candidate) =>
    /^grpc_server_handled_total\{.*grpc_code="Canceled".*grpc_method="Watch"/.test(candidate)
  );
  return Number(line?.split(" ")[1] ?? "0");
}

/** Streams, whose messages are the same with etcd in Go. */
async function streams({ port }: EtcdProcess): Promise<string[]> {
  const log: string[] = [];
  const watching = await WebSocketClient.open(port, "/v3/watch", ["Bearer", "token"]);
  log.push(watching.protocol);
  const change = async (key: string, value: string): Promise<void> =>
    assert.equal((await postJson(port, "/v3/kv/put", put(key, value))).status, 200) as void;
  const next = async (client: WebSocketClient, count: number): Promise<void> => {
    for (let i = 0; i < count; i += 1) log.push(await client.next());
  };
  watching.send(watch("foo"));
  await next(watching, 1);
  await change("foo", "bar");
  await change("other", "x");
  await change("foo", "");
  await next(watching, 2);
  watching.send(utf8(watch("foo", ',"start_revision":"2","prev_kv":true,"watch_id":"7"')));
  await next(watching, 2);
  watching.send(`{"cancel_request":{"watch_id":"7"}} ${watch("other", ',"startRevision":3')}`);
  await next(watching, 3);
  await change("other", "<y>");
  await next(watching, 1);
  assert.equal((await postJson(port, "/v3/lease/grant", '{"TTL":60,"ID":"77"}')).status, 200);
  const keeping = await WebSocketClient.open(port, "/v3/lease/keepalive?method=GET");
  keeping.send('{"ID":"77"}');
  await next(keeping, 1);
  keeping.send('\n{"ID":"78"}\n{"ID":77}');
  await next(keeping, 2);
  assert.deepEqual([watching.arrived, keeping.arrived], [[], []]);
  await Promise.all([watching.close(), keeping.close()]);
  // There the connection ends without a close frame.
  for (const [path, message] of [["/v3/kv/range", "[]"], ["/v3/kv/nothing", "{}"]] as const) {
    const refused = await WebSocketClient.open(port, path);
    refused.send(message);
    await next(refused, 1);
    await refused.whenClosed();
  }
  return log;
}

test("watches and keepalives over WebSockets send their messages as they come", async () => {
  await serving(async (server) => {
    const log = await streams(server);
    assert.equal(log[0], "Bearer");
    assert.match(log[1]!, /^\{"result":\{"header":\{.*"revision":"1",.*\},"created":true\}\}$/);
    assert.match(log[2]!, /"events":\[\{"kv":\{"key":"Zm9v",.*"value":"YmFy"\}\}\]\}\}$/);
    assert.match(log.at(-5)!, /"ID":"77","TTL":"60"\}\}$/);
    assert.equal(log.at(-2), '{"code":3,"message":"proto: syntax error (line 1:1): unexpected token ["}');
    await eventually("the watch to have ended", async () => await cancelledWatches(server.port) === 1);
  });
});

const go = findGoEtcd();
const comparable = go !== undefined && go.minor >= 7 ? go : undefined;
test(
  "etcd in Go sends the same messages over WebSockets",
  { skip: comparable === undefined ? "no etcd 3.7 on this machine" : false },
  async () => {
    const theirs = await startGoEtcd(comparable!);
    try {
      const expected = (await streams(theirs)).map(withoutSpaces);
      await serving(async (ours) => assert.deepEqual(await streams(ours), expected));
    } finally {
      await theirs.stop();
    }
  },
);

test("a call with one request has one answer over a WebSocket, which is closed then", async () => {
  await serving(async ({ port }) => {
    const [answer, code] = await ask(port, "/v3/kv/put?method=POST", put("foo", "bar"));
    assert.deepEqual([JSON.parse(answer).header.revision, code], ["2", 1000]);
    assert.deepEqual(await ask(port, "/v3beta/kv/compaction", utf8('{"revision":"40"}')), [
      '{"code":11,"message":"etcdserver: mvcc: required revision is a future revision"}',
      1000,
    ]);
    assert.deepEqual(await ask(port, "/v3/watch", "nonsense"), [
      '{"error":{"code":3,"message":"proto: syntax error: a message is to begin with {"}}',
      1000,
    ]);
    const snapshot = await WebSocketClient.open(port, "/v3/maintenance/snapshot");
    snapshot.send("{}");
    assert.match(await snapshot.next(), /^\{"result":\{"remaining_bytes":/);
    assert.equal(await snapshot.whenClosed(), 1000);

    // A reply that goes out in pieces is one message.
    const value = "v".repeat(500_000);
    for (let i = 0; i < 6; i += 1) await postJson(port, "/v3/kv/put", put(`large${i}`, value));
    const range = `{"key":"${base64("large")}","range_end":"${base64("largf")}"}`;
    const [large, end] = await ask(port, "/v3/kv/range", range);
    assert.equal(end, 1000);
    assert.equal(large, (await postJson(port, "/v3/kv/range", range)).body);
    const { kvs } = JSON.parse(large) as { readonly kvs: readonly { readonly value: string }[] };
    assert.deepEqual(kvs.map((kv) => atob(kv.value) === value), Array(6).fill(true));
  });
});

test("a WebSocket of a foreign origin or host is refused, as is a wrong handshake", async () => {
  const flags = ["--cors=http://app.example:8080", "--host-whitelist=127.0.0.1"];
  await serving(async ({ port }) => {
    const status = async (target: string, fields: Record<string, string>): Promise<number> => {
      const socket = await connected(port, target, fields);
      const head = new TextDecoder().decode(socket.received);
      await socket.destroy();
      return Number(/^HTTP\/1\.1 (\d+) /.exec(head)?.[1]);
    };
    const cases: readonly [string, Record<string, string>, number][] = [
      ["/v3/watch", {}, 101],
      ["/v3/watch", { Origin: "http://app.example:8080" }, 101],
      ["/v3/watch", { Origin: "http://evil.example" }, 403],
      ["/v3/watch", { Origin: "null" }, 403],
      ["/v3beta/watch", { Origin: "http://app.example" }, 403],
      ["/v3/watch", { Host: "evil.example" }, 421],
      ["/v3/watch", { "Sec-WebSocket-Version": "12" }, 426],
      ["/v3/watch", { "Sec-WebSocket-Key": "short" }, 400],
      ["/v3/watch", { Upgrade: "h2c" }, 501], // A GET as any other.
      // Only the JSON API is served so.
      ["/version", {}, 200],
      ["/v2/keys", {}, 404],
    ];
    for (const [target, fields, expected] of cases) {
      assert.equal(await status(target, fields), expected, `${target} ${JSON.stringify(fields)}`);
    }
  }, flags);
});

test("frames that break the rules close, and messages that are too large do", async () => {
  await serving(async ({ port }) => {
    const cases: readonly [Uint8Array, string][] = [
      [frame(TEXT, "{}", { masked: false }), "close:1002"],
      [frame(TEXT, Uint8Array.of(0x7b, 0xff)), "close:1007"],
      [frame(TEXT, "", { length: 1n << 40n }), "close:1009"],
    ];
    for (const [bytes, expected] of cases) {
      const socket = await connected(port, "/v3/watch");
      await socket.send(concatBytes([frame(TEXT, watch("foo")), bytes]));
      await socket.until(() => framesOf(socket).some((shown) => shown.startsWith("close:")), WAIT_MS_MAX);
      assert.equal(framesOf(socket).at(-1), expected);
      await socket.destroy();
    }
    await eventually("the watches to have ended", async () => await cancelledWatches(port) === cases.length);
  });
});

test("a watcher that never reads costs others nothing; one that vanishes is forgotten", async () => {
  await serving(async ({ port }) => {
    const socket = await connected(port, "/v3/watch");
    await socket.send(frame(TEXT, watch("foo")));
    await socket.until(() => framesOf(socket).length === 1, WAIT_MS_MAX);
    socket.pause();
    const reader = await WebSocketClient.open(port, "/v3/watch");
    reader.send(watch("foo"));
    await reader.next();
    const value = "v".repeat(1_000_000);
    // More than the kernel keeps for a socket, and the server too.
    for (let i = 0; i < 16; i += 1) {
      assert.equal((await postJson(port, "/v3/kv/put", put("foo", `${i}${value}`))).status, 200);
      assert.match(await reader.next(), new RegExp(`"version":"${i + 1}"`));
    }
    assert.equal(await cancelledWatches(port), 0);
    await socket.destroy();
    await eventually("the watch of who has vanished to end", async () => await cancelledWatches(port) === 1);
    assert.equal(await reader.close(), 1000);
    await eventually("the other watch to end", async () => await cancelledWatches(port) === 2);
  });
});

test("a server that is stopped says to its WebSockets that it goes away", async () => {
  const server = await startEtcd();
  const watching = await WebSocketClient.open(server.port, "/v3/watch");
  watching.send(watch("foo"));
  await watching.next();
  await server.stop();
  assert.equal(await watching.whenClosed(), 1001);
});
