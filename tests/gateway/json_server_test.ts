/** The JSON gateway of a running server: what is no matter of messages. */
import assert from "node:assert/strict";
import { type ClientRequest, request } from "node:http";
import { test } from "node:test";
import { eventually, WAIT_MS_MAX } from "../harness/deadline.ts";
import { type EtcdProcess, httpGet, startEtcd } from "../harness/etcd_process.ts";
import { postJson } from "../harness/json_client.ts";

const PUT = '{"key":"Zm9v","value":"YmFy"}';
const GET = '{"key":"Zm9v"}';

async function serving(flags: readonly string[], run: (server: EtcdProcess) => Promise<void>): Promise<void> {
  const server = await startEtcd({ flags });
  try {
    await run(server);
  } finally {
    await server.stop();
  }
}

/** A body that arrives in pieces, with a turn of the event loop between them. */
function postInPieces(
  port: number,
  path: string,
  pieces: readonly string[],
  linesWanted: number,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: "127.0.0.1", port, path, method: "POST", agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.split("\n").length <= linesWanted) return;
        clearTimeout(timer);
        resolve(text);
        outgoing.destroy();
      });
      response.on("error", () => {});
    });
    const timer = setTimeout(() => outgoing.destroy(new Error("no answer")), WAIT_MS_MAX);
    outgoing.on("error", reject);
    const next = (at: number): void => {
      if (at >= pieces.length) return; // The body stays open.
      outgoing.write(pieces[at]!);
      setTimeout(() => next(at + 1), 5);
    };
    next(0);
  });
}

/** How many watch calls have ended because their client had gone. */
async function cancelledWatches(port: number): Promise<number> {
  const { body } = await httpGet(port, "/metrics");
  const line = body.split("\n").find((candidate) =>
    /^grpc_server_handled_total\{.*grpc_code="Canceled".*grpc_method="Watch"/.test(candidate)
  );
  return Number(line?.split(" ")[1] ?? "0");
}

test("the gateway refuses foreign origins and hosts, and bodies that are too large", async () => {
  const flags = ["--cors=http://app.example:8080", "--host-whitelist=127.0.0.1", "--max-request-bytes=1000"];
  await serving(flags, async ({ port }) => {
    const put = (headers: Record<string, string>, path = "/v3/kv/put") =>
      postJson(port, path, PUT, { headers });
    assert.equal((await put({})).status, 200);
    assert.equal((await put({ origin: "http://app.example:8080" })).status, 200);
    assert.equal((await put({ origin: "http://evil.example" })).status, 403);
    assert.equal((await put({ host: "evil.example" })).status, 421);
    assert.equal((await put({ host: "evil.example" }, "/v3beta/kv/put")).status, 421);
    const preflight = { method: "OPTIONS", headers: { origin: "http://evil.example" } };
    assert.equal((await postJson(port, "/v3/kv/put", "", preflight)).status, 403);
    assert.match((await postJson(port, "/v3/kv/range", GET)).body, /"version":"2"/);

    const large = (length: number) => `{"key":"Zm9v","value":"${"A".repeat(length)}"}`;
    assert.deepEqual(await postJson(port, "/v3/kv/put", large(4_000)), {
      status: 400,
      contentType: "application/json",
      body: '{"code":3,"message":"etcdserver: request is too large"}',
    });
    const refused = await postJson(port, "/v3/kv/put", large(800_000));
    assert.equal(refused.status, 429);
    assert.match(
      refused.body,
      /^\{"code":8,"message":"grpc: received message larger than max \(\d+ vs\. \d+\)"\}$/,
    );
    assert.equal((await postJson(port, "/v3/kv/put", large(3_000_000))).status, 429);
    assert.equal((await put({})).status, 200);
  });
});

test("the gateway serves a stream whose body comes in pieces and stays open, and lets it go", async () => {
  await serving([], async ({ port }) => {
    const pieces = [
      '{"create_',
      'request":{"key":"Zm9v"}',
      '}\n{"create_request":{"key":"Zm9v","watch_id":5}}',
    ];
    const watching = postInPieces(port, "/v3/watch", pieces, 2);
    assert.match(await watching, /"created":true\}\}\n.*"watch_id":"5","created":true\}\}\n$/);
    await eventually(
      "the watch of a client that has gone to end",
      async () => await cancelledWatches(port) > 0,
    );
    const keepAlives = ['{"ID":', '"1"}{', '"ID":2}', "{}"];
    assert.equal((await postInPieces(port, "/v3/lease/keepalive", keepAlives, 3)).split("\n").length, 4);
    const broken = await postJson(port, "/v3/watch", '{"create_request":');
    assert.deepEqual([broken.status, broken.body], [
      400,
      '{"error":{"code":3,"message":"unexpected EOF"}}\n',
    ]);
  });
});

test("the gateway takes over HTTP/1.1 what fetch sends, with many requests on a connection", async () => {
  await serving([], async ({ port }) => {
    for (let round = 1; round <= 20; round += 1) {
      const response = await fetch(`http://127.0.0.1:${port}/v3/kv/put`, { method: "POST", body: PUT });
      const { header } = await response.json() as { readonly header: { readonly revision: string } };
      assert.equal(header.revision, String(round + 1));
    }
  });
});

test("a stream ends at the deadline that its client has set", async () => {
  await serving([], async ({ port }) => {
    const line = '{"error":{"code":4,"message":"context deadline exceeded"}}\n';
    const silent = await postJson(port, "/v3/watch", "{}", { headers: { "grpc-timeout": "50m" } });
    assert.deepEqual([silent.status, silent.body], [504, line]);
    // Long enough for the server to make the watch.
    const headers = { "grpc-timeout": "1S" };
    const watching = await postJson(port, "/v3/watch", '{"create_request":{"key":"Zm9v"}}', { headers });
    assert.equal(watching.status, 200);
    assert.ok(watching.body.endsWith(`"created":true}}\n${line}`), watching.body);
  });
});

test("--enable-grpc-gateway=false leaves /v3 unserved", async () => {
  await serving(["--enable-grpc-gateway=false"], async ({ port }) => {
    const { status, body } = await postJson(port, "/v3/kv/put", PUT);
    assert.deepEqual([status, body], [404, "404 page not found\n"]);
  });
});

test("calls past --max-concurrent-streams wait for others to end, in order, unless their client goes", async () => {
  await serving(["--max-concurrent-streams=2"], async ({ port }) => {
    const watches = [await openWatch(port), await openWatch(port)];
    const answers: string[] = [];
    const put = postJson(port, "/v3/kv/put", PUT).then(() => answers.push("put"));
    const gone = request({ host: "127.0.0.1", port, path: "/v3/kv/put", method: "POST", agent: false });
    gone.on("error", () => {});
    gone.write('{"key":"Z29uZQ=="');
    const get = postJson(port, "/v3/kv/range", GET).then(({ body }) => {
      answers.push("get");
      assert.match(body, /"value":"YmFy"/);
    });
    // Health goes by another way.
    for (let i = 0; i < 20; i += 1) assert.equal((await httpGet(port, "/health")).status, 200);
    assert.deepEqual(answers, []);
    gone.destroy();
    watches[0]!.destroy();
    await put;
    await get;
    assert.deepEqual(answers, ["put", "get"]);
    const { body } = await postJson(port, "/v3/kv/range", '{"key":"Z29uZQ=="}');
    assert.doesNotMatch(body, /"kvs"/);
    watches[1]!.destroy();
  });
});

/** A watch that has been answered. */
function openWatch(port: number): Promise<ClientRequest> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host: "127.0.0.1", port, path: "/v3/watch", method: "POST", agent: false },
      (response) => {
        response.on("error", () => {});
        response.once("data", () => resolve(outgoing));
      },
    );
    outgoing.on("error", reject);
    outgoing.write('{"create_request":{"key":"YQ=="}}');
  });
}
