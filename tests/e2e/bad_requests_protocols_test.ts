/** The bad requests of the gRPC test in the other protocols of the port: the same code and the same text. */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { fromBinary, type JsonValue, toJson } from "@bufbuild/protobuf";
import { concatBytes } from "../../src/base/bytes.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { codeNames, decodeStatusMessage } from "../../src/grpc/status.ts";
import { type BadRequest, badRequests, putA } from "../harness/bad_requests.ts";
import { WAIT_MS_MAX } from "../harness/deadline.ts";
import { allStarted, type EtcdProcess, findGoEtcd, startEtcd, startGoEtcd } from "../harness/etcd_process.ts";

const PREFIX_BYTES = 5;
const TRAILERS = 0x80;
const NESTING_MAX = 1_000;

interface Answer {
  readonly status: string;
  readonly message: string;
}

interface HttpRequest {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | string;
}

interface Protocol {
  /** Undefined for what this protocol cannot say. */
  readonly request: (request: BadRequest) => HttpRequest | undefined;
  readonly answer: (httpStatus: number, body: Uint8Array) => Answer;
  /** Base64 makes what is larger than a request may be also larger than what is read of one. */
  readonly enlargesBytes?: boolean;
}

const protocols = {
  "gRPC-Web": {
    request: ({ path, body, options }) => {
      if (options?.halfOpen === true || options?.head !== undefined) return undefined;
      const headers = { "content-type": "application/grpc-web+proto", ...headersOf(options?.metadata ?? []) };
      return { path, headers, body };
    },
    answer: grpcWebAnswer,
  },
  "Connect in binary": {
    request: (bad) => {
      const body = messageOf(bad);
      return body === undefined
        ? undefined
        : { path: bad.path, headers: { "content-type": "application/proto" }, body };
    },
    answer: connectAnswer,
  },
  "Connect in JSON": {
    request: (bad) => {
      const body = jsonOf(bad);
      return body === undefined
        ? undefined
        : { path: bad.path, headers: { "content-type": "application/json" }, body };
    },
    answer: connectAnswer,
    enlargesBytes: true,
  },
  "the JSON gateway": {
    request: (bad) => {
      const body = jsonOf(bad);
      const path = gatewayPaths[bad.path];
      return body === undefined || path === undefined
        ? undefined
        : { path, headers: { "content-type": "application/json" }, body };
    },
    answer: gatewayAnswer,
  },
} as const satisfies Readonly<Record<string, Protocol>>;

const gatewayPaths: Readonly<Record<string, string | undefined>> = {
  "/etcdserverpb.KV/Put": "/v3/kv/put",
  "/etcdserverpb.KV/Range": "/v3/kv/range",
  "/etcdserverpb.KV/DeleteRange": "/v3/kv/deleterange",
  "/etcdserverpb.KV/Txn": "/v3/kv/txn",
  "/etcdserverpb.KV/Compact": "/v3/kv/compaction",
};

function headersOf(fields: readonly (readonly [string, string])[]): Record<string, string> {
  return Object.fromEntries(fields);
}

/** The one message of a request that sends one, and nothing special beside it. */
function messageOf({ body, options }: BadRequest): Uint8Array | undefined {
  if (options !== undefined || body.length < PREFIX_BYTES) return undefined;
  const length = new DataView(body.buffer, body.byteOffset).getUint32(1);
  return body[0] === 0 && length === body.length - PREFIX_BYTES ? body.subarray(PREFIX_BYTES) : undefined;
}

function jsonOf(bad: BadRequest): string | undefined {
  const message = messageOf(bad);
  const method = KV.methods.find(({ name }) => bad.path === `/${KV.typeName}/${name}`);
  if (message === undefined || method === undefined || bad.status === "Internal") return undefined;
  let json: JsonValue;
  try {
    json = toJson(method.input, fromBinary(method.input, message, { recursionLimit: NESTING_MAX }));
  } catch {
    return undefined; // An unknown enum, for one, has no name.
  }
  return JSON.stringify(json);
}

function grpcWebAnswer(httpStatus: number, body: Uint8Array): Answer {
  if (httpStatus !== 200) return { status: `http ${httpStatus}`, message: "" };
  for (let at = 0; at + PREFIX_BYTES <= body.length;) {
    const end = at + PREFIX_BYTES + new DataView(body.buffer, body.byteOffset).getUint32(at + 1);
    if (body[at] === TRAILERS) {
      const text = new TextDecoder().decode(body.subarray(at + PREFIX_BYTES, end));
      const fields = new Map(
        text.trim().split("\r\n").map((line) => {
          const colon = line.indexOf(":");
          return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const;
        }),
      );
      return {
        status: codeNames[Number(fields.get("grpc-status"))] ?? "none",
        message: decodeStatusMessage(fields.get("grpc-message") ?? ""),
      };
    }
    at = end;
  }
  return { status: "no trailers", message: "" };
}

function connectAnswer(httpStatus: number, body: Uint8Array): Answer {
  if (httpStatus === 200) return { status: "OK", message: "" };
  const { code, message = "" } = JSON.parse(new TextDecoder().decode(body)) as {
    readonly code: string;
    readonly message?: string;
  };
  const status = code.split("_").map((word) => word[0]!.toUpperCase() + word.slice(1)).join("");
  return { status, message };
}

function gatewayAnswer(httpStatus: number, body: Uint8Array): Answer {
  if (httpStatus === 200) return { status: "OK", message: "" };
  const { code, message } = JSON.parse(new TextDecoder().decode(body)) as Record<"code" | "message", unknown>;
  return { status: codeNames[Number(code)] ?? String(code), message: String(message) };
}

/** Over a connection of its own: some answers end it. */
function post(port: number, { path, headers, body }: HttpRequest): Promise<[number, Uint8Array]> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(
      { host: "127.0.0.1", port, path, method: "POST", headers, agent: false },
      (response) => {
        const parts: Uint8Array[] = [];
        response.on("data", (part: Uint8Array) => parts.push(part));
        response.on("end", () => {
          clearTimeout(timer);
          resolve([response.statusCode!, concatBytes(parts)]);
        });
        response.on("error", reject);
      },
    );
    const timer = setTimeout(() => request.destroy(new Error(`${path}: no answer`)), WAIT_MS_MAX);
    request.on("error", (error) => {
      clearTimeout(timer);
      reject(error);
    });
    request.end(body);
  });
}

const goEtcd = findGoEtcd();
const COMPARED_MINOR = 7;

for (const [name, protocol] of Object.entries(protocols) as [string, Protocol][]) {
  test(`bad requests are answered as over gRPC: ${name}`, async () => {
    const comparesGo = protocol === protocols["the JSON gateway"] && goEtcd?.minor === COMPARED_MINOR;
    const starting = [startEtcd(), ...comparesGo ? [startGoEtcd(goEtcd!)] : []];
    const servers = await allStarted(starting);
    try {
      for (const server of servers) {
        assert.deepEqual(
          await wrongAnswers(server, protocol),
          [],
          server === servers[0] ? "ours" : "the Go etcd",
        );
        assert.ok(server.alive);
      }
    } finally {
      await Promise.all(servers.map((server) => server.stop()));
    }
  });
}

/** Groups whose codes and texts are those of the library that reads this protocol: here it counts that it refuses. */
const ofLibrary: ReadonlySet<string> = new Set(["compression and framing", "malformed protobuf", "timeouts"]);

async function wrongAnswers({ port }: EtcdProcess, protocol: Protocol): Promise<string[]> {
  const wrong: string[] = [];
  for (const [group, cases] of Object.entries(badRequests)) {
    if (group === "heads") continue; // Those of gRPC.
    // Revisions at which the cases read.
    for (let i = 0; i < 4; i += 1) {
      await post(port, { path: "/v3/kv/put", headers: {}, body: `{"key":"YQ=="}` });
    }
    for (const bad of cases) {
      const request = protocol.request(bad);
      if (request === undefined) continue;
      const found = protocol.answer(...await post(port, request));
      if (protocol.enlargesBytes === true && isTooLarge(bad) && isTooLarge(found)) continue;
      if (isExpected(bad, found, ofLibrary.has(group))) continue;
      wrong.push(`${bad.name}: ${found.status} "${found.message}", and not ${bad.status} "${bad.message}"`);
    }
  }
  return wrong;
}

function isTooLarge(
  { status, message = "" }: { readonly status: string; readonly message?: string },
): boolean {
  return message.includes("too large") || status === "ResourceExhausted";
}

function isExpected(bad: BadRequest, found: Answer, isOfLibrary: boolean): boolean {
  if (bad.differs !== undefined) return true;
  // A second message is one too many for Connect's library, which also reads a field of the wrong type on.
  if (isOfLibrary) return (bad.status === "OK" && bad.name !== "two messages") === (found.status === "OK");
  const isLengthOfLibrary = bad.message?.startsWith("grpc: received message larger") === true;
  return found.status === bad.status &&
    (bad.message === undefined || isLengthOfLibrary || found.message === bad.message);
}

test("a compressed bomb is refused before it unfolds: Connect", async () => {
  const server = await startEtcd();
  try {
    const headers = { "content-type": "application/proto", "content-encoding": "gzip" };
    const body = gzipSync(new Uint8Array(64 << 20));
    const answer = connectAnswer(...await post(server.port, { path: putA.path, headers, body }));
    assert.deepEqual(answer.status, "ResourceExhausted");
    const json = { ...headers, "content-type": "application/json" };
    const inJson = connectAnswer(...await post(server.port, { path: putA.path, headers: json, body }));
    assert.deepEqual(inJson.status, "ResourceExhausted");
    const goodBody = gzipSync(putA.body.subarray(PREFIX_BYTES));
    assert.equal((await post(server.port, { path: putA.path, headers, body: goodBody }))[0], 200);
  } finally {
    await server.stop();
  }
});

test("deadlines that are none are refused: Connect", async () => {
  const server = await startEtcd();
  try {
    for (const timeout of ["-1", "x", "99999999999", "1.5"]) {
      const headers = { "content-type": "application/proto", "connect-timeout-ms": timeout };
      const answer = connectAnswer(
        ...await post(server.port, { path: putA.path, headers, body: putA.body.subarray(PREFIX_BYTES) }),
      );
      assert.equal(answer.status, "InvalidArgument", timeout);
    }
  } finally {
    await server.stop();
  }
});
