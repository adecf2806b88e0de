/**
 * What the client port serves beside JSON and gRPC: health in all its forms, version, metrics, and nothing
 * elsewhere. The answers were recorded from etcd 3.7.1, in testdata/http_session.txt: ours must give them, and so must
 * a Go etcd of 3.7 where there is one. `RECORD=1` writes the file anew from it.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import process from "node:process";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import { KV, RangeResponseSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { within } from "../harness/deadline.ts";
import {
  type EtcdProcess,
  findGoEtcd,
  freePort,
  httpGet,
  type ServerOptions,
  startEtcd,
  startGoEtcd,
} from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { postJson } from "../harness/json_client.ts";

const recording = new URL("testdata/http_session.txt", import.meta.url);
const RECORDED_MINOR = 7;
const timeout = 300_000;

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

function ask(port: number, method: string, path: string): Promise<Answer> {
  const answer = new Promise<Answer>((resolve, reject) => {
    const call = request({ host: "127.0.0.1", port, method, path, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (text: string) => body += text);
      response.on("end", () => resolve({ status: response.statusCode!, headers: response.headers, body }));
      response.on("error", reject);
    });
    call.on("error", reject);
    call.end();
  });
  return within(`an answer to ${method} ${path}`, answer);
}

const alarm = (action: string, kind: string): string =>
  `alarm {"action":"${action}","memberID":"10276657743932975437","alarm":"${kind}"}`;

/** `METHOD path`, or an alarm to raise or disarm. */
const steps: readonly string[] = [
  ...["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"].flatMap((method) =>
    ["/health", "/livez", "/readyz", "/readyz/non_learner", "/version", "/nothing"]
      .map((path) => `${method} ${path}`)
  ),
  "GET /livez?verbose",
  "GET /livez?verbose=0",
  "GET /livez/serializable_read",
  "GET /livez/serializable_read?verbose",
  "GET /livez/serializable_read?exclude=serializable_read&verbose",
  "GET /livez?exclude=serializable_read&verbose",
  "GET /livez?exclude=nothing",
  "GET /livez/",
  "GET /livez/nothing",
  "GET /livez/linearizable_read",
  "GET /readyz?verbose",
  "GET /readyz?verbose&exclude=non_learner&exclude=data_corruption&exclude=linearizable_read",
  "GET /readyz/data_corruption?verbose",
  "GET /readyz/linearizable_read?verbose",
  "GET /health?exclude=NOSPACE&exclude=CORRUPT",
  "GET /health?exclude=NOTHING",
  "GET /health?serializable=true",
  "GET /health?serializable=perhaps",
  "GET /health/",
  "GET /version/",
  "GET /metrics/",
  "GET /",
  "GET /v3",
  "POST /v3",
  "GET /v3beta",
  "GET //health?verbose",
  "POST //health",
  "POST /v3//kv/range?a//b",
  "GET /v3/kv//range",
  "PATCH /version",
  "GET /v3alpha/kv/range",
  "POST /debug/vars",
  "HEAD /debug/vars",
  "GET /debug/vars/",
  "GET /debug/pprof/",
  "GET /debug/requests",
  alarm("ACTIVATE", "NOSPACE"),
  "GET /health",
  "GET /health?exclude=NOSPACE",
  "GET /health?exclude=CORRUPT",
  "GET /livez?verbose",
  "GET /readyz?verbose",
  alarm("ACTIVATE", "CORRUPT"),
  "GET /health?exclude=NOSPACE",
  "GET /health?exclude=NOSPACE&exclude=CORRUPT",
  "GET /livez",
  "GET /readyz",
  "GET /readyz?exclude=data_corruption",
  "GET /readyz/data_corruption",
  alarm("DEACTIVATE", "NOSPACE"),
  alarm("DEACTIVATE", "CORRUPT"),
  "GET /readyz",
  "GET /health",
];

/** The checks of one answer come in no order with etcd. */
function settled(body: string): string {
  const lines = body.split("\n");
  const checks = lines.filter((line) => /^\[[+-]\]/.test(line)).sort();
  return [...checks, ...lines.filter((line) => !/^\[[+-]\]/.test(line))].join("\n");
}

const SHOWN_HEADERS = ["allow", "content-type", "location", "x-content-type-options"];

async function transcript({ port }: EtcdProcess): Promise<string> {
  let text = "";
  for (const step of steps) {
    const [method, path] = step.split(" ", 2) as [string, string];
    if (method === "alarm") {
      const { status } = await postJson(port, "/v3/maintenance/alarm", path);
      text += `${step}\n${status}\n\n`;
      continue;
    }
    const { status, headers, body } = await ask(port, method, path);
    const shown = SHOWN_HEADERS.filter((name) => headers[name] !== undefined)
      .map((name) => `${name}: ${headers[name]}\n`).join("");
    text += `${step}\n${status}\n${shown}${settled(body)}\n\n`;
  }
  const { body } = await httpGet(port, "/metrics");
  const counted = body.split("\n").filter((line) => /^etcd_server_health/.test(line)).sort();
  return `${text}${counted.join("\n")}\n`;
}

async function transcriptOf(server: EtcdProcess): Promise<string> {
  try {
    return await transcript(server);
  } finally {
    await server.stop();
  }
}

const go = findGoEtcd();
const comparable = go !== undefined && go.minor >= RECORDED_MINOR ? go : undefined;
const noGo = comparable === undefined && "no etcd 3.7 on this machine";
if (process.env["RECORD"] === "1") {
  if (comparable === undefined) throw new Error("There is no etcd 3.7 to record from");
  writeFileSync(recording, await transcriptOf(await startGoEtcd(comparable)));
}
const recorded = readFileSync(recording, "utf8");

test("health, version and all other paths answer as etcd's do", { timeout }, async () => {
  assert.equal(await transcriptOf(await startEtcd()), recorded);
});

test("etcd in Go answers as it is recorded", { timeout, skip: noGo }, async () => {
  assert.equal(await transcriptOf(await startGoEtcd(comparable!)), recorded);
});

test("/metrics and /debug/vars are in the form in which etcd has them", { timeout }, async () => {
  const server = await startEtcd();
  try {
    const type = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
    for (const method of ["GET", "POST", "PUT"]) {
      const { status, headers, body } = await ask(server.port, method, "/metrics");
      assert.deepEqual([status, headers["content-type"]], [200, type]);
      assert.match(body, /^etcd_server_has_leader 1$/m);
    }
    const { status, headers, body } = await ask(server.port, "GET", "/debug/vars");
    assert.deepEqual([status, headers["content-type"]], [200, "application/json; charset=utf-8"]);
    const vars = JSON.parse(body);
    assert.deepEqual(Object.keys(vars), ["cmdline", "file_descriptor_limit", "memstats", "raft.status"]);
    const { commit, applied, term, progress, ...raft } = vars["raft.status"];
    assert.ok(commit >= 3 && applied === commit && term === 2, body);
    const id = "8e9e05c52164694d";
    assert.deepEqual(raft, { id, vote: id, lead: id, raftState: "StateLeader", leadtransferee: "0" });
    assert.deepEqual(progress, { [id]: { match: commit, next: commit + 1, state: "StateReplicate" } });
  } finally {
    await server.stop();
  }
});

for (const [name, start] of [["ours", startEtcd], ["etcd in Go", startGo]] as const) {
  const skip = start === startGo && noGo;
  test(`--listen-client-http-urls gives HTTP a port of its own: ${name}`, { timeout, skip }, async () => {
    const httpPort = await freePort();
    const server = await start({
      flags: [`--listen-client-http-urls=http://127.0.0.1:${httpPort}`],
      httpPort,
    });
    try {
      for (const path of ["/health", "/version", "/metrics", "/readyz", "/debug/vars"]) {
        assert.equal((await ask(httpPort, "GET", path)).status, 200, path);
      }
      const { body } = await postJson(httpPort, "/v3/kv/put", '{"key":"YQ==","value":"Yg=="}');
      assert.equal(JSON.parse(body).header.revision, "2");
      await assert.rejects(ask(server.port, "GET", "/health"));
      await assert.rejects(postJson(server.port, "/v3/kv/range", '{"key":"YQ=="}'));
      const client = await GrpcClient.connect(server.port);
      const { status, messages } = await client.call(KV.method.range, { key: utf8("a") });
      await client.close();
      assert.deepEqual([status, fromBinary(RangeResponseSchema, messages[0]!).count], ["OK", 1n]);
    } finally {
      await server.stop();
    }
  });
}

function startGo(options: ServerOptions): Promise<EtcdProcess> {
  return startGoEtcd(comparable!, options);
}
