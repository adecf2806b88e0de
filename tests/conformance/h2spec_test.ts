import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { homedir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ConnectionSlots } from "../../src/base/connection_slots.ts";
import type { RequestHandler } from "../../src/http2/api.ts";
import { http2Options, ServerConnection } from "../../src/http2/connection.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { endOf } from "../harness/child_process.ts";

/** Go module github.com/summerwind/h2spec, on PATH or where `go install` puts it. */
const candidates = ["h2spec", join(homedir(), "go", "bin", "h2spec")];
const h2spec = candidates.find((command) => spawnSync(command, ["--version"]).status === 0);

/** Answers each request when it is complete, so that what h2spec sends after it meets a known state. */
const handler: RequestHandler = {
  onRequest: (stream) => ({
    onData() {},
    onEnd() {
      stream.sendFields([[":status", "200"]], false);
      stream.sendData(new TextEncoder().encode("hello"), true);
    },
    onReset() {},
    onWritable() {},
  }),
};

test("h2spec --strict finds nothing to fault in the HTTP/2 engine", {
  skip: h2spec === undefined && "h2spec is not installed",
}, async () => {
  const { sockets, clock } = await loadRuntime();
  const options = http2Options(clock);
  const listener = await sockets.listen({ kind: "tcp", host: "127.0.0.1", port: 0 }, {
    // Every byte goes to the engine: what is no preface is its to refuse.
    onRaw: (stream) => void new ServerConnection(stream, handler, options),
    slots: new ConnectionSlots(1000),
    handshakeTimeoutMs: 10_000,
    prefaceTimeoutMs: 10_000,
  });
  try {
    const { address } = listener;
    assert.ok(address.kind === "tcp");
    const output = await run(h2spec!, ["--strict", "-h", "127.0.0.1", "-p", String(address.port)]);
    const summary = /(\d+) tests, \d+ passed, 0 skipped, 0 failed/.exec(output);
    assert.ok(summary !== null && Number(summary[1]) > 140, output.slice(output.indexOf("Failures")));
  } finally {
    await listener.close();
  }
});

async function run(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => output += String(chunk));
  await endOf(child, command, () => output);
  return output;
}
