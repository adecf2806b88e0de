import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { textOf, utf8 } from "../../src/base/bytes.ts";
import type { FetchHandler } from "../../src/http1/fetch_adapter.ts";
import type { Http1Limits } from "../../src/http1/limits.ts";
import type { Http1Server } from "../../src/http1/server.ts";
import type { Listener, SocketAddress } from "../../src/ports/sockets.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { endOf } from "../harness/child_process.ts";
import { eventually, WAIT_MS_MAX, within } from "../harness/deadline.ts";
import { fetchServer } from "../harness/http1.ts";
import { calm, Received } from "../runtime/support.ts";

const { sockets } = await loadRuntime();
const loopback: SocketAddress = { kind: "tcp", host: "127.0.0.1", port: 0 };

/** Serves with `handler` while `body` runs. */
async function serving(
  handler: FetchHandler,
  body: (base: string, listener: Listener, server: Http1Server) => Promise<void>,
  limits: Partial<Http1Limits> = {},
): Promise<void> {
  const server = fetchServer(handler, limits);
  const listener = await sockets.listen(loopback, { ...calm, onHttp1: (stream) => server.accept(stream) });
  assert.ok(listener.address.kind === "tcp");
  try {
    await within("the test's requests", body(`http://127.0.0.1:${listener.address.port}`, listener, server));
  } finally {
    await within("the listener to close", listener.close());
  }
}

/** Sends text and returns all that comes until the server closes. */
async function raw(listener: Listener, text: string): Promise<string> {
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  stream.write(utf8(text));
  await received.until("the end of the response", () => received.ended || received.closed);
  stream.destroy();
  return received.text;
}

const close = { connection: "close" };
/** So long that two requests which are sent at once come within it. */
const HEAD_TIMEOUT_MS = 1_000;

test("a request reaches the handler with method, target, fields and body", async () => {
  await serving(async (request, info) => {
    assert.match(info.peer.remoteAddress, /^127\.0\.0\.1:\d+$/);
    assert.equal(info.bodyOfGet, undefined);
    const url = new URL(request.url);
    return Response.json({
      method: request.method,
      target: url.pathname + url.search,
      host: request.headers.get("host") === url.host,
      field: request.headers.get("x-field"),
      body: await request.text(),
    }, { status: 201, headers: { "x-answer": "yes" } });
  }, async (base) => {
    const response = await fetch(`${base}/v3/kv/put?a=b%20c`, {
      method: "POST",
      body: "ü".repeat(1000),
      headers: { ...close, "x-field": "one, two" },
    });
    assert.equal(response.status, 201);
    assert.equal(response.headers.get("x-answer"), "yes");
    assert.deepEqual(await response.json(), {
      method: "POST",
      target: "/v3/kv/put?a=b%20c",
      host: true,
      field: "one, two",
      body: "ü".repeat(1000),
    });
  });
});

test("a head comes before the body that is sent right behind it", async () => {
  const requests = 300;
  await serving(async (request) => new Response(await request.text()), async (_, listener) => {
    assert.ok(listener.address.kind === "tcp");
    // Another process: within this one the pieces do not get in each other's way.
    const sender = spawn(process.execPath, [
      ..."deno" in process.versions ? ["run", "-A"] : [],
      fileURLToPath(new URL("testdata/send_in_pieces.ts", import.meta.url)),
      String(listener.address.port),
      String(requests),
    ], { stdio: ["ignore", "pipe", "inherit"] });
    let printed = "";
    sender.stdout.on("data", (data: Uint8Array) => printed += textOf(data));
    await endOf(sender, "the sender", () => printed);
    assert.equal(printed, `${requests}\n`);
  });
});

test("a short body is sent with its length, a HEAD or 204 response without a body", async () => {
  await serving((request) => {
    if (request.url.endsWith("/none")) return new Response(null, { status: 204 });
    return new Response("twelve bytes", { headers: { "set-cookie": "a=1", "x-method": request.method } });
  }, async (_base, listener) => {
    const get = await raw(listener, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert.match(get, /^HTTP\/1\.1 200 OK\r\n/);
    assert.match(get, /\r\ncontent-length: 12\r\n/i);
    assert.match(get, /\r\n\r\ntwelve bytes$/);
    const head = await raw(listener, "HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert.match(head, /\r\nx-method: HEAD\r\n/i);
    assert.match(head, /\r\n\r\n$/);
    const none = await raw(listener, "GET /none HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert.match(none, /^HTTP\/1\.1 204 No Content\r\n[^]*\r\n\r\n$/);
  });
});

test("the head and each part of a streamed response leave when they are there", async () => {
  const parts: ReadableStreamDefaultController<Uint8Array>[] = [];
  await serving(
    () => new Response(new ReadableStream({ start: (controller) => void parts.push(controller) })),
    async (base) => {
      const response = await fetch(base, { headers: close });
      assert.equal(response.status, 200);
      const reader = response.body!.getReader();
      for (const text of ["first", "second"]) {
        parts[0]!.enqueue(utf8(text));
        assert.equal(new TextDecoder().decode((await reader.read()).value), text);
      }
      parts[0]!.close();
      assert.equal((await reader.read()).done, true);
    },
  );
});

test("a large response waits for a reader that is slow", async () => {
  const partBytes = 64 * 1024;
  const parts = 400;
  let made = 0;
  await serving(() =>
    new Response(
      new ReadableStream<Uint8Array>({
        pull(controller) {
          if (made === parts) return controller.close();
          controller.enqueue(new Uint8Array(partBytes).fill(made));
          made += 1;
        },
      }),
    ), async (_base, listener) => {
    const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
    const received = new Received();
    stream.handler = received;
    stream.pause();
    stream.write(utf8("GET / HTTP/1.0\r\n\r\n"));
    let before = -1;
    // Until the buffers between the two are full.
    while (before !== made || made === 0) {
      before = made;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.ok(made < parts, "25 MiB fit into no kernel buffer");
    stream.resume();
    await received.until("the rest", () => received.ended);
    const all = received.bytes;
    const head = received.text.indexOf("\r\n\r\n") + 4;
    assert.equal(all.length - head, partBytes * parts);
    assert.equal(all.at(-1), (parts - 1) % 256);
    stream.destroy();
  });
});

test("a streamed request body stops the sender while the handler does not read", async () => {
  const partBytes = 64 * 1024;
  const parts = 400;
  let proceed: () => void = () => {};
  const wait = new Promise<void>((resolve) => {
    proceed = resolve;
  });
  await serving(async (request) => {
    await wait;
    let length = 0;
    for await (const chunk of request.body!) length += chunk.length;
    return new Response(String(length));
  }, async (_base, listener) => {
    const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
    const received = new Received();
    stream.handler = received;
    stream.write(
      utf8(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${partBytes * parts}\r\nconnection: close\r\n\r\n`),
    );
    for (let i = 0; i < parts; i += 1) stream.write(new Uint8Array(partBytes));
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.ok(stream.queuedBytes > 0, "25 MiB fit into no kernel buffer");
    proceed();
    await received.until("the response", () => received.ended || received.closed);
    assert.match(received.text, new RegExp(`\r\n\r\n${partBytes * parts}$`));
    stream.destroy();
  });
});

test("a GET can carry a body", async () => {
  await serving(async (request, info) => {
    assert.equal(request.body, null);
    return new Response(await new Response(info.bodyOfGet).text());
  }, async (_base, listener) => {
    const answer = await raw(
      listener,
      'GET /members/hashkv HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 14\r\n\r\n{"revision":1}',
    );
    assert.match(answer, /\r\n\r\n\{"revision":1\}$/);
  });
});

test("the request's signal is aborted when the client goes away, and not otherwise", async () => {
  const signals: AbortSignal[] = [];
  await serving((request) => {
    signals.push(request.signal);
    if (request.url.endsWith("/quick")) return new Response("done");
    return new Promise(() => {});
  }, async (base, listener) => {
    await (await fetch(`${base}/quick`, { headers: close })).text();
    const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
    stream.handler = new Received();
    stream.write(utf8("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    await eventually("the second request", () => signals.length === 2);
    assert.equal(signals[1]!.aborted, false);
    stream.destroy();
    await eventually("the abort", () => signals[1]!.aborted);
    assert.equal(signals[0]!.aborted, false);
  });
});

test("a streamed response is cancelled when the client goes away", async () => {
  let cancelled = false;
  await serving(() =>
    new Response(
      new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(utf8("begun")),
        cancel() {
          cancelled = true;
        },
      }),
    ), async (_base, listener) => {
    const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
    const received = new Received();
    stream.handler = received;
    stream.write(utf8("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    await received.until("the beginning", () => received.text.includes("begun"));
    stream.destroy();
    await eventually("the cancellation", () => cancelled);
  });
});

test("a handler that fails gives 500 without detail, or breaks the response off", async () => {
  await serving((request) => {
    if (request.url.endsWith("/late")) {
      return new Response(
        new ReadableStream({
          start(controller) {
            controller.enqueue(utf8("begun"));
            setTimeout(() => controller.error(new Error("secret")), 20);
          },
        }),
      );
    }
    throw new Error("secret");
  }, async (_base, listener) => {
    const early = await raw(listener, "GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert.match(early, /^HTTP\/1\.1 500 /);
    assert.doesNotMatch(early, /secret/);
    const late = await raw(listener, "GET /late HTTP/1.1\r\nhost: a\r\n\r\n");
    assert.match(late, /begun/);
    assert.doesNotMatch(late, /\r\n0\r\n|secret/, "the last chunk must be missing");
  });
});

test("what is no HTTP request is refused", async () => {
  await serving(() => new Response("served"), async (_base, listener) => {
    for (
      const text of [
        "\x00\x01\x02\x03\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\nconnection: close\r\n\r\n",
        "TRACE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        `GET / HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(200_000)}\r\n\r\n`,
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
      ]
    ) {
      const answer = await raw(listener, text);
      assert.doesNotMatch(answer, /served/, text.slice(0, 40));
      assert.match(answer, /^(HTTP\/1\.1 4|$)/, text.slice(0, 40));
    }
  });
});

test("a method that nobody knows is never taken for another", async () => {
  await serving((request) => new Response(`served ${request.method}`), async (_base, listener) => {
    const answer = await raw(listener, "NONSENSE / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert.match(answer, /^HTTP\/1\.1 405|served NONSENSE$/);
  });
});

test("requests share a connection, pipelined ones too, until it is idle for too long", async () => {
  await serving(
    async (request) => {
      await new Promise((resolve) => setTimeout(resolve, 10));
      return new Response(new URL(request.url).pathname);
    },
    async (_base, listener) => {
      const before = performance.now();
      const answers = await raw(
        listener,
        "GET /a HTTP/1.1\r\nhost: a\r\n\r\nGET /b HTTP/1.1\r\nhost: a\r\n\r\n",
      );
      assert.match(answers, /\/a[^]*\/b$/);
      assert.ok(performance.now() - before >= HEAD_TIMEOUT_MS);
      // A head that never ends.
      assert.doesNotMatch(await raw(listener, "GET /c HTTP/1.1\r\nhost"), /\/c/);
    },
    { idleTimeoutMs: HEAD_TIMEOUT_MS, headTimeoutMs: HEAD_TIMEOUT_MS },
  );
});

test("drain() closes idle connections at once and busy ones after their response", async () => {
  let proceed: () => void = () => {};
  let begun = false;
  await serving(async (request) => {
    if (request.url.endsWith("/quick")) return new Response("quick");
    begun = true;
    await new Promise<void>((resolve) => {
      proceed = resolve;
    });
    return new Response("slow");
  }, async (_base, listener, server) => {
    const idle = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
    const idleReceived = new Received();
    idle.handler = idleReceived;
    idle.write(utf8("GET /quick HTTP/1.1\r\nhost: a\r\n\r\n"));
    await idleReceived.until("the response", () => idleReceived.text.includes("quick"));
    const busy = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
    const busyReceived = new Received();
    busy.handler = busyReceived;
    busy.write(utf8("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n"));
    await eventually("the request", () => begun);
    server.drain();
    await idleReceived.until("the idle one's end", () => idleReceived.ended || idleReceived.closed);
    assert.equal(busyReceived.ended, false);
    proceed();
    await busyReceived.until("the busy one's end", () => busyReceived.ended || busyReceived.closed);
    assert.match(busyReceived.text, /slow$/);
    idle.destroy();
    busy.destroy();
  });
});

test("an answer that does not wait for the body's end leaves no client waiting on that connection", async () => {
  await serving(async (request) => {
    if (request.method === "GET") return new Response("next");
    await request.body!.getReader().read(); // Neither the rest nor that it is not wanted.
    return new Response("enough", { status: 429 });
  }, async (_base, listener) => {
    for (const size of [200_000, 6_000_000]) {
      const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
      const received = new Received();
      stream.handler = received;
      stream.write(utf8(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${size}\r\n\r\n`));
      stream.write(new Uint8Array(size));
      await received.until("the answer", () => received.text.includes("enough"));
      stream.write(utf8("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
      // The server may also close: it must not leave the request without an answer.
      await received.until(
        "the next answer",
        () => received.text.endsWith("next") || received.ended || received.closed,
      );
      stream.destroy();
    }
  });
});
