import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { eventually, within } from "../harness/deadline.ts";
import { freePort, runtimeCommand } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";

/* The examples of embedding, each on its own runtime: the one that runs this test. */

const runtime = "deno" in process.versions ? "deno" : "bun" in process.versions ? "bun" : "node";
const options = (name: string) => ({
  timeout: 300_000,
  skip: runtime !== name && `this is an example for ${name}`,
});

/** An example as a process with a data directory of its own. */
async function withExample(
  env: Readonly<Record<string, string>>,
  use: (example: { readonly child: ChildProcess; readonly output: () => string }) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "etcd-example-"));
  const [command, ...args] = runtimeCommand();
  const child = spawn(command!, [...args, `examples/${runtime}.ts`, join(directory, "data")], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (text: string) => output += text);
  }
  try {
    await within("the example", use({ child, output: () => output }));
  } catch (error) {
    throw new Error(`The example printed:\n${output}`, { cause: error });
  } finally {
    const isRunning = child.exitCode === null && child.signalCode === null;
    const closed = isRunning ? once(child, "close") : undefined;
    child.kill("SIGKILL");
    await closed;
    rmSync(directory, { recursive: true });
  }
}

/** Asks it to end, and expects it to close its etcd. Deno's exit status of a child says nothing after a signal. */
async function stop(child: ChildProcess, output: () => string): Promise<void> {
  const closed = once(child, "close");
  child.kill("SIGTERM");
  await closed;
  assert.match(output(), /^closed$/m);
}

test("examples/bun.ts keeps what is put over HTTP in an etcd without sockets", options("bun"), async () => {
  const port = await freePort();
  await withExample({ PORT: String(port) }, async ({ child, output }) => {
    await eventually("it to serve", () => output().includes("serving"));
    const url = `http://127.0.0.1:${port}/greeting`;
    assert.equal((await fetch(url)).status, 404);
    assert.equal(await (await fetch(url, { method: "PUT", body: "hello" })).text(), "revision 2\n");
    assert.equal(await (await fetch(url)).text(), "hello");
    await stop(child, output);
  });
});

test("examples/deno.ts streams what others change in its etcd", options("deno"), async () => {
  const [port, clientPort] = [await freePort(), await freePort()];
  const env = { PORT: String(port), CLIENT_URL: `http://127.0.0.1:${clientPort}` };
  await withExample(env, async ({ child, output }) => {
    await eventually("it to serve", () => output().includes("serving"));
    const aborting = new AbortController();
    const { body } = await fetch(`http://127.0.0.1:${port}/`, { signal: aborting.signal });
    const reader = body!.pipeThrough(new TextDecoderStream()).getReader();
    assert.equal((await reader.read()).value, ": watching\n\n");
    const client = await GrpcClient.connect(clientPort);
    await client.call(KV.method.put, { key: utf8("greeting"), value: utf8("hello") });
    await client.close();
    assert.equal((await reader.read()).value, "data: greeting=hello at 2\n\n");
    await stop(child, output);
    aborting.abort();
  });
});

test("examples/node.ts does one job after the other under a lock", options("node"), async () => {
  await withExample({}, async ({ child, output }) => {
    const [code] = await once(child, "close");
    assert.equal(code, 0);
    assert.match(output(), /^(?:first did job 1\nsecond did job 2|second did job 1\nfirst did job 2)\n$/);
  });
});
