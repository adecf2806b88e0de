import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import process from "node:process";
import { test } from "node:test";
import { type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
  Http2SessionManager,
} from "@connectrpc/connect-node";
import { createTransport as createConnect } from "@connectrpc/connect/protocol-connect";
import { createTransport as createGrpc } from "@connectrpc/connect/protocol-grpc";
import { createTransport as createGrpcWeb } from "@connectrpc/connect/protocol-grpc-web";
import { equalBytes, utf8 } from "../../src/base/bytes.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { Maintenance } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import {
  Health,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../../src/gen/grpc/health/v1/health_pb.ts";
import { within } from "../harness/deadline.ts";
import { type EtcdProcess, startEtcd } from "../harness/etcd_process.ts";
import { connectHttp2 } from "../harness/http2_client.ts";

/* Every protocol on the one client port, by Connect's own clients. */

const bareOptions = {
  interceptors: [],
  acceptCompression: [],
  sendCompression: null,
  compressMinBytes: 1024,
  readMaxBytes: 1 << 30,
  writeMaxBytes: 1 << 30,
};

let starting: Promise<EtcdProcess> | undefined;

function server(): Promise<EtcdProcess> {
  return starting ??= startEtcd();
}

/** Transports by the name of their protocol. */
const overHttp1: Readonly<Record<string, (baseUrl: string) => Transport>> = {
  "Connect in binary over HTTP/1.1": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "Connect in JSON over HTTP/1.1": (baseUrl) =>
    createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "gRPC-Web in binary over HTTP/1.1": (baseUrl) =>
    createGrpcWebTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "gRPC-Web in JSON over HTTP/1.1": (baseUrl) =>
    createGrpcWebTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
};

for (const [name, newTransport] of Object.entries(overHttp1)) {
  test(`the server speaks ${name}`, async () => {
    await useTransport(newTransport(`http://${(await server()).endpoint}`), name);
  });
}

const overHttp2 = {
  "Connect in binary over HTTP/2": [createConnectTransport, createConnect, true],
  "Connect in JSON over HTTP/2": [createConnectTransport, createConnect, false],
  "gRPC-Web in binary over HTTP/2": [createGrpcWebTransport, createGrpcWeb, true],
  "gRPC": [createGrpcTransport, createGrpc, true],
} as const;

for (const [name, [viaNode, viaOurs, useBinaryFormat]] of Object.entries(overHttp2)) {
  test(`the server speaks ${name}`, async () => {
    const { endpoint, port } = await server();
    const baseUrl = `http://${endpoint}`;
    if ("deno" in process.versions) {
      const client = await connectHttp2(port);
      await useTransport(
        viaOurs({ ...bareOptions, baseUrl, useBinaryFormat, httpClient: client.call }),
        name,
      );
      return await client.close();
    }
    const sessionManager = new Http2SessionManager(baseUrl);
    try {
      await useTransport(viaNode({ baseUrl, httpVersion: "2", useBinaryFormat, sessionManager }), name);
    } finally {
      sessionManager.abort();
    }
  });
}

function useTransport(transport: Transport, name: string): Promise<void> {
  return within(`calls by ${name}`, makeCalls(transport, name));
}

async function makeCalls(transport: Transport, name: string): Promise<void> {
  const isJson = name.includes("JSON");
  const prefix = utf8(`${name}/`);
  const kv = createClient(KV, transport);
  const key = (name: string): Uint8Array => Uint8Array.from([...prefix, ...utf8(name)]);
  const value = Uint8Array.from({ length: 256 }, (_, i) => i);
  const put = await kv.put({ key: key("a"), value });
  assert.ok(put.header!.revision > 1n);
  const got = await kv.range({ key: key("a") });
  assert.ok(equalBytes(got.kvs[0]!.value, value));
  assert.equal(got.header!.clusterId, put.header!.clusterId);
  await usesTransactions(kv, key("a"));
  await usesStreams(kv, prefix);
  await refuses(kv, key("a"));
  // In base64 a value that is too large is more than a message may be: it is refused for that.
  if (!isJson) await refusesLargeValues(kv, key("a"));
  const large = new Uint8Array(1_000_000).fill(7);
  await kv.put({ key: key("large"), value: large });
  assert.ok(equalBytes((await kv.range({ key: key("large") })).kvs[0]!.value, large));
  const status = await createClient(Maintenance, transport).status({});
  assert.equal(status.leader, put.header!.memberId);
  const { status: health } = await createClient(Health, transport).check({});
  assert.equal(health, ServingStatus.SERVING);
}

async function usesTransactions(kv: Client<typeof KV>, key: Uint8Array): Promise<void> {
  const { succeeded, responses } = await kv.txn({
    compare: [{ key, result: 1, target: 0, targetUnion: { case: "version", value: 0n } }],
    success: [{ request: { case: "requestRange", value: { key, countOnly: true } } }],
  });
  assert.equal(succeeded, true);
  const [first] = responses;
  assert.equal(first?.response.case === "responseRange" && first.response.value.count, 1n);
}

async function usesStreams(kv: Client<typeof KV>, prefix: Uint8Array): Promise<void> {
  const names = Array.from({ length: 50 }, (_, i) => Uint8Array.from([...prefix, 0x73, i]));
  const success = names.map((key) => ({ request: { case: "requestPut" as const, value: { key } } }));
  await kv.txn({ success });
  const keys: Uint8Array[] = [];
  let count = 0n;
  const range = { key: Uint8Array.from([...prefix, 0x73]), rangeEnd: Uint8Array.from([...prefix, 0x74]) };
  for await (const { rangeResponse } of kv.rangeStream(range)) {
    keys.push(...rangeResponse!.kvs.map((each) => each.key));
    count = rangeResponse!.count;
  }
  assert.deepEqual(keys, names);
  assert.equal(count, 50n);
}

/** Errors have the code and text that gRPC clients get. */
async function refuses(kv: Client<typeof KV>, key: Uint8Array): Promise<void> {
  await fails(() => kv.put({}), Code.InvalidArgument, "etcdserver: key is not provided");
  const future = "etcdserver: mvcc: required revision is a future revision";
  await fails(() => kv.range({ key, revision: 1_000_000n }), Code.OutOfRange, future);
  await fails(() => kv.put({ key, lease: 4711n }), Code.NotFound, "etcdserver: requested lease not found");
  const sorted = "RangeStream does not support custom sort orders";
  await fails(() => drain(kv.rangeStream({ key, sortOrder: 2 })), Code.Unimplemented, sorted);
}

async function refusesLargeValues(kv: Client<typeof KV>, key: Uint8Array): Promise<void> {
  const value = new Uint8Array(1_572_864);
  await fails(() => kv.put({ key, value }), Code.InvalidArgument, "etcdserver: request is too large");
}

async function fails(call: () => Promise<unknown>, code: Code, text: string): Promise<void> {
  const error = await call().then(() => undefined, (reason: unknown) => reason);
  assert.ok(error instanceof ConnectError, `${text}: ${error}`);
  assert.deepEqual({ code: error.code, text: error.rawMessage }, { code, text });
}

async function drain(stream: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of stream);
}

interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

async function http(
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body = "",
): Promise<HttpAnswer> {
  const { port } = await server();
  const answer = new Promise<HttpAnswer>((resolve, reject) => {
    const request = httpRequest(
      { host: "127.0.0.1", port, method, path, headers, agent: false },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (part: string) => text += part);
        response.on(
          "end",
          () => resolve({ status: response.statusCode!, headers: response.headers, body: text }),
        );
      },
    );
    request.on("error", reject);
    request.end(body);
  });
  return await within(`an answer to ${method} ${path}`, answer);
}

test("a Connect call is no more than a POST of JSON", async () => {
  const json = { "content-type": "application/json" };
  const put = await http("POST", "/etcdserverpb.KV/Put", json, '{"key":"cGxhaW4=","value":"MQ=="}');
  assert.equal(put.status, 200);
  const range = await http("POST", "/etcdserverpb.KV/Range", json, '{"key":"cGxhaW4="}');
  const { kvs, count } = JSON.parse(range.body) as { kvs: { key: string; value: string }[]; count: string };
  assert.deepEqual([kvs[0]?.key, kvs[0]?.value, count], ["cGxhaW4=", "MQ==", "1"]);
  const refused = await http("POST", "/etcdserverpb.KV/Put", json, "{}");
  assert.equal(refused.status, 400);
  assert.deepEqual(JSON.parse(refused.body), {
    code: "invalid_argument",
    message: "etcdserver: key is not provided",
  });
});

test("malformed calls over HTTP/1.1 are refused", async () => {
  const json = { "content-type": "application/json" };
  const put = "/etcdserverpb.KV/Put";
  const statuses = {
    "no JSON": (await http("POST", put, json, "{")).status,
    "bytes not in base64": (await http("POST", put, json, '{"key":"***"}')).status,
    "a number too large":
      (await http("POST", put, json, '{"key":"YQ==","lease":"9223372036854775808"}')).status,
    "nesting without end": (await http("POST", put, json, '{"a":'.repeat(100_000))).status,
    "another content type": (await http("POST", put, { "content-type": "text/plain" }, "{}")).status,
    "GET of what has side effects": (await http("GET", put)).status,
    "an unknown method": (await http("POST", "/etcdserverpb.KV/Nope", json, "{}")).status,
    "an unknown service": (await http("POST", "/x.Y/Z", json, "{}")).status,
  };
  assert.deepEqual(statuses, {
    "no JSON": 400,
    "bytes not in base64": 400,
    "a number too large": 400,
    "nesting without end": 400,
    "another content type": 415,
    "GET of what has side effects": 405,
    "an unknown method": 404,
    "an unknown service": 404,
  });
});

test("gRPC itself is not served over HTTP/1.1: it could not say how a call ended", async () => {
  for (const type of ["application/grpc", "application/grpc+proto", "Application/GRPC"]) {
    const { status } = await http("POST", "/etcdserverpb.KV/Put", { "content-type": type }, "\0\0\0\0\0");
    assert.equal(status, 404, type);
  }
});

test("a stream that its deadline ends says so: Connect and gRPC-Web", async () => {
  const path = "/etcdts.v1.BrowserService/Watch";
  const request = '{"key":"YQ=="}';
  const framed = `\0\0\0\0${String.fromCharCode(request.length)}${request}`;
  const type = { "content-type": "application/connect+json", "connect-timeout-ms": "200" };
  const connect = await http("POST", path, type, framed);
  assert.match(connect.body, /"code":"deadline_exceeded"/);
  const webType = { "content-type": "application/grpc-web+json", "grpc-timeout": "200m" };
  const web = await http("POST", path, webType, framed);
  assert.match(web.body, /grpc-status: 4\r\n/);
});

test("gRPC-Web in text: base64 both ways, in parts as they come", async () => {
  const type = { "content-type": "application/grpc-web-text+json", "grpc-timeout": "300m" };
  const ask = async (path: string, json: string, parts = 1): Promise<string> => {
    const text = `\0\0\0\0${String.fromCharCode(json.length)}${json}`;
    const cut = parts === 1 ? text.length : Math.floor(text.length / parts);
    let body = "";
    for (let at = 0; at < text.length; at += cut) body += btoa(text.slice(at, at + cut));
    const answer = await http("POST", path, type, body);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["content-type"], type["content-type"]);
    return answer.body.replace(/[^=]+={0,2}/g, (part) => atob(part));
  };
  const put = "/etcdserverpb.KV/Put";
  assert.match(await ask(put, '{"key":"dGV4dA==","value":"MQ=="}'), /"header":.*grpc-status: 0\r\n$/s);
  assert.match(
    await ask(put, "{}", 2),
    /key%20is%20not%20provided.*grpc-status: 3\r\n/s,
  );
  assert.match(
    await ask("/etcdserverpb.KV/Range", '{"key":"dGV4dA=="}', 4),
    /"value":"MQ==".*grpc-status: 0/s,
  );
  const watched = await ask("/etcdts.v1.BrowserService/Watch", '{"key":"dGV4dA==","startRevision":"1"}');
  assert.match(watched, /"created":true.*"events":\[.*grpc-status: 4\r\n/s);
  for (const body of ["AAAA!", "AAAAA", "====", "AAA=A", "AAAA AAAA"]) {
    assert.equal((await http("POST", put, type, body)).status, 400, body);
  }
  assert.equal((await http("POST", put, type, "A".repeat(4 << 20))).status, 413);
});

test("browsers of any origin may ask, as etcd allows by default", async () => {
  const origin = "https://example.com";
  const preflight = await http("OPTIONS", "/etcdserverpb.KV/Range", {
    origin,
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,connect-protocol-version",
  });
  assert.equal(preflight.status, 200);
  assert.match(String(preflight.headers["access-control-allow-methods"]), /POST/);
  const allowed = String(preflight.headers["access-control-allow-headers"]);
  assert.match(allowed, /content-type/i);
  assert.match(allowed, /connect-protocol-version/i);
  const json = { origin, "content-type": "application/json", "connect-protocol-version": "1" };
  const answer = await http("POST", "/etcdserverpb.KV/Range", json, '{"key":"YQ=="}');
  assert.equal(answer.status, 200);
  assert.ok(["*", origin].includes(String(answer.headers["access-control-allow-origin"])));
});

test("health, version and metrics are where etcd has them", async () => {
  assert.deepEqual(JSON.parse((await http("GET", "/health")).body), { health: "true", reason: "" });
  assert.equal((await http("POST", "/health")).status, 405);
  assert.equal((await http("GET", "/livez")).body, "ok\n");
  assert.match((await http("GET", "/readyz?verbose")).body, /^\[\+\]data_corruption ok$/m);
  assert.deepEqual(JSON.parse((await http("GET", "/version")).body), {
    etcdserver: "3.7.1",
    etcdcluster: "3.7.0",
    storage: "3.7.0",
  });
  assert.match((await http("GET", "/metrics")).body, /^etcd_server_has_leader 1$/m);
  assert.equal((await http("GET", "/nothing")).status, 404);
});

test("the server of all protocols ends when it is told to", async () => {
  assert.deepEqual(await (await server()).stop(), { code: null, signal: "SIGTERM" });
});
