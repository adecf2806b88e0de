/**
 * Sessions over the JSON gateway whose replies were recorded from etcd 3.7.1, in testdata/json_session.txt: ours must
 * give them byte by byte, and so must a Go etcd of 3.7 where there is one. `RECORD=1` writes the file anew from it.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import process from "node:process";
import { type EtcdProcess, findGoEtcd, startEtcd, startGoEtcd } from "../harness/etcd_process.ts";
import { type JsonRequestOptions, postJson, withoutSpaces } from "../harness/json_client.ts";

const recording = new URL("testdata/json_session.txt", import.meta.url);
const RECORDED_MINOR = 7;

type Step = readonly [path: string, body: string, options?: StepOptions];
interface StepOptions extends JsonRequestOptions {
  /** The words of an error are not etcd's: its code is compared. */
  readonly codeOnly?: boolean;
}

const base64 = (text: string): string => btoa(text);
const leader = base64("/service/batman/leader");

const steps: readonly Step[] = [
  ["/v3/kv/put", `{"key":"${base64("foo")}","value":"${base64("bar")}"}`],
  ["/v3/kv/put", `{"key":"${base64("foo")}","value":"${base64("bar2")}","prev_kv":true}`],
  ["/v3/kv/put", `{ "key": "${base64("foo3")}", "value": "" , "prevKv": true, "unknown": [{}] }`],
  ["/v3/kv/range", `{"key":"${base64("foo")}"}`],
  ["/v3/kv/range", `{"key":"${base64("foo")}","range_end":"${base64("fop")}","limit":"1"}`],
  [
    "/v3/kv/range",
    `{"key":"AA==","rangeEnd":"AA==","sortOrder":"DESCEND","sort_target":"KEY","keysOnly":true}`,
  ],
  ["/v3/kv/range", `{"key":"AA==","range_end":"AA==","sort_order":2,"sort_target":3,"count_only":false}`],
  ["/v3/kv/range", `{"key":"${base64("none")}","serializable":true}`],
  ["/v3/kv/range", `{"key":"${base64("foo")}","revision":9007199254740993}`],
  ["/v3/kv/range", "{}"],
  ["/v3/kv/range", ""],
  // A leader key, as Patroni takes it.
  ["/v3/lease/grant", '{"TTL":30,"ID":"7587"}'],
  [
    "/v3/kv/txn",
    `{"compare":[{"key":"${leader}","target":"CREATE","create_revision":"0"}],` +
    `"success":[{"request_put":{"key":"${leader}","value":"${base64("pg0")}","lease":7587}}],"failure":[]}`,
  ],
  [
    "/v3/kv/txn",
    `{"compare":[{"target":"CREATE","key":"${leader}","create_revision":"0"}],` +
    `"success":[{"request_put":{"key":"${leader}","value":"${base64("pg1")}"}}],` +
    `"failure":[{"request_txn":{"compare":[{"key":"${leader}","target":"VALUE","value":"${
      base64("pg0")
    }"}],` +
    `"success":[{"request_range":{"key":"${leader}"}},{"request_delete_range":{"key":"${base64("x")}"}}]}}]}`,
  ],
  ["/v3/kv/txn", `{"compare":[{"result":"GREATER","target":"MOD","key":"${leader}","mod_revision":"99"}]}`],
  ["/v3/lease/keepalive", '{"ID":"7587"}'],
  ["/v3/lease/keepalive", '{"ID":7587} {"ID":1}\n{"ID":"7587"}'],
  ["/v3/lease/keepalive", '{"ID":99}'],
  ["/v3/lease/leases", "{}"],
  ["/v3/kv/lease/leases", ""],
  ["/v3/lease/timetolive", '{"ID":"99"}'],
  ["/v3/lease/grant", '{"TTL":30,"ID":"7587"}'],
  ["/v3/kv/deleterange", `{"key":"${base64("foo")}","range_end":"${base64("fop")}","prev_kv":true}`],
  ["/v3/kv/deleterange", `{"key":"${base64("foo")}"}`],
  ["/v3/kv/lease/revoke", '{"ID":"7587"}'],
  ["/v3/lease/revoke", '{"ID":"7587"}'],
  ["/v3/kv/compaction", '{"revision":"4","physical":true}'],
  ["/v3/kv/compaction", '{"revision":"4"}'],
  ["/v3/kv/compaction", '{"revision":"400"}'],
  ["/v3/kv/range", `{"key":"${base64("foo")}","revision":"3"}`],
  ["/v3beta/kv/range", `{"key":"${base64("foo")}","limit":1e1,"sort_order":"OF_LATER"}`],
  ["/v3/kv/put", `{"key":"${base64("foo")}","lease":"12"}`],
  ["/v3/kv/put", `{"key":"${base64("foo")}","ignore_value":true,"value":"${base64("x")}"}`],
  // Watches, as Patroni and APISIX have them.
  ["/v3/kv/put", `{"key":"${base64("w1")}","value":"${base64("1")}"}`],
  ["/v3/kv/put", `{"key":"${base64("w2")}","value":"${base64("<2>")}"}`],
  ["/v3/kv/deleterange", `{"key":"${base64("w1")}"}`],
  ["/v3/watch", `{"create_request":{"key":"${base64("w1")}","start_revision":"1"}}`, { lines: 2 }],
  [
    "/v3/watch",
    `{"create_request":{"key":"${base64("w")}","range_end":"${base64("x")}","start_revision":8}}`,
    { lines: 2 },
  ],
  [
    "/v3/watch",
    `{"createRequest":{"key":"${base64("w1")}","startRevision":8,"filters":["NOPUT"],"prevKv":true}}`,
    { lines: 2 },
  ],
  ["/v3/watch", `{"create_request":{"key":"${base64("foo")}","watch_id":"7","filters":[1]}}`, { lines: 1 }],
  ["/v3/watch", '{"create_request":{"key":"Zm9v"}}{"cancel_request":{"watch_id":0}}', { lines: 2 }],
  ["/v3/watch", "", { method: "GET" }],
  ["/v3/cluster/member/list", "{}"],
  ["/v3/maintenance/status", "{}"],
  ["/v3/maintenance/transfer-leadership", '{"targetID":"10276657743932975437"}'],
  ["/v3/maintenance/transfer-leadership", '{"targetID":"5"}'],
  ["/v3/maintenance/transfer-leadership", "{}"],
  // What is no request.
  ["/v3/kv/range", "", { method: "GET" }],
  ["/v3/kv/put", `{"key":"${base64("foo")}"}`, { method: "PUT" }],
  ["/v3/kv/nothing", "{}"],
  ["/v3/kv/range/", "{}"],
  ["/v3/kv/range", '{"key":"!!"}'],
  ["/v3/kv/range", '{"key":"Zm9v","limit":1.5}'],
  ["/v3/kv/range", '{"key":"Zm9v",\n "key":"Zm9v"}'],
  ["/v3/kv/range", '{"key":"Zm9v","serializable":"yes"}'],
  ["/v3/kv/range", '{"key":"Zm9v","limit":NaN}', { codeOnly: true }],
  ["/v3/kv/range", '{"key":"Zm9v","limit":9223372036854775808}'],
  ["/v3/kv/range", "[]"],
  ["/v3/kv/range", "null"],
  ["/v3/kv/range", '{"key":"Zm9v"', { codeOnly: true }],
  ["/v3/kv/range", `{"a":${"[".repeat(10_001)}`, { codeOnly: true }],
  ["/v3/kv/range", '{"key":"Zm9v","__proto__":{"limit":1},"constructor":2}'],
  ["/v3/kv/range", '{"key":"Zm9v"}', { headers: { "grpc-timeout": "soon" } }],
  ["/v3/maintenance/snapshot", "{", { codeOnly: true }],
  ["/v3/kv/r%61nge", '{"key":"Zm9v"}'],
  ["/v3/kv%2Frange", '{"key":"Zm9v"}'],
  ["/v3/kv/range%25", '{"key":"Zm9v"}'],
];

/** Sizes and counts of log entries are each server's own. */
function settled(text: string): string {
  return text.replace(/"(dbSize|dbSizeInUse|raftIndex|raftAppliedIndex)":"\d+"/g, '"$1":"…"');
}

type Normalize = (body: string) => string;

async function transcript({ port }: EtcdProcess, normalize: Normalize): Promise<string> {
  let text = "";
  for (const [path, body, options = {}] of steps) {
    const reply = await postJson(port, path, body, options);
    const shown = options.codeOnly === true
      ? `code ${(JSON.parse(reply.body) as { readonly code: number }).code}\n`
      : normalize(settled(reply.body.endsWith("\n") ? reply.body : `${reply.body}\n`));
    const asked = body.length > 200 ? `${body.slice(0, 60)}…` : body;
    text += `${options.method ?? "POST"} ${path} ${asked.replaceAll("\n", "\\n")}\n`;
    text += `${reply.status} ${reply.contentType}\n${shown}\n`;
  }
  return text;
}

async function transcriptOf(
  server: EtcdProcess,
  normalize: Normalize = (body) => body,
): Promise<string> {
  try {
    return await transcript(server, normalize);
  } finally {
    await server.stop();
  }
}

const go = findGoEtcd();
const comparable = go !== undefined && go.minor >= RECORDED_MINOR ? go : undefined;
if (process.env["RECORD"] === "1") {
  if (comparable === undefined) throw new Error("There is no etcd 3.7 to record from");
  writeFileSync(recording, await transcriptOf(await startGoEtcd(comparable), withoutSpaces));
}
const recorded = readFileSync(recording, "utf8");

test("the JSON gateway answers a session as etcd does, byte by byte", async () => {
  assert.equal(await transcriptOf(await startEtcd()), recorded);
});

test(
  "etcd in Go answers the session as it is recorded",
  { skip: comparable === undefined ? "no etcd 3.7 on this machine" : false },
  async () => {
    assert.equal(await transcriptOf(await startGoEtcd(comparable!), withoutSpaces), recorded);
  },
);
