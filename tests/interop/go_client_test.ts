import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { endOf } from "../harness/child_process.ts";
import { WAIT_MS_MAX } from "../harness/deadline.ts";
import { findProgram, startEtcd } from "../harness/etcd_process.ts";

/* The tests in ./go: etcd's own client, in Go, asks our server. */

/** What the client's go.mod asks for. */
const GO_MINOR_MIN = 26;
/** On a fresh machine, etcd's client and gRPC are compiled first. */
const BUILD_AND_RUN_MS_MAX = 4 * 60_000;
/** Go fetches nothing: neither another Go nor modules. */
const offline = { ...process.env, GOTOOLCHAIN: "local", GOPROXY: "off" };

const directory = fileURLToPath(new URL("go/", import.meta.url));
const go = findProgram("go");

test("the Go client gets from our server what it expects of etcd", {
  skip: reasonToSkip(),
  timeout: BUILD_AND_RUN_MS_MAX + WAIT_MS_MAX,
}, async () => {
  const server = await startEtcd();
  try {
    const { status, output } = await run(go!, ["test", "-count=1", "./..."], server.endpoint);
    assert.ok(server.alive, server.output);
    assert.equal(status, 0, `${output}\n${server.output}`);
  } finally {
    await server.stop();
  }
});

function reasonToSkip(): string | false {
  if (go === undefined) return "there is no go on this machine";
  const options = { encoding: "utf8", env: offline, cwd: directory } as const;
  const version = spawnSync(go, ["env", "GOVERSION"], options).stdout;
  const minor = /^go1\.(\d+)/.exec(version)?.[1];
  if (Number(minor ?? 0) < GO_MINOR_MIN) return `the client needs Go 1.${GO_MINOR_MIN}`;
  const { status } = spawnSync(go, ["list", "-test", "-deps", "./..."], options);
  return status === 0 ? false : `the client's modules are missing: "go mod download" in ${directory}`;
}

async function run(
  command: string,
  args: readonly string[],
  endpoint: string,
): Promise<{ readonly status: number | null; readonly output: string }> {
  const child = spawn(command, args, { cwd: directory, env: { ...offline, ETCD_ENDPOINT: endpoint } });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text: string) => output += text);
  }
  const { code } = await endOf(child, args.join(" "), () => output, BUILD_AND_RUN_MS_MAX);
  return { status: code, output };
}
