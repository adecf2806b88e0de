import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { WAIT_MS_MAX } from "../harness/deadline.ts";
import { type Command, runScript, scriptsUnder } from "../harness/datadriven.ts";
import {
  type EtcdProcess,
  findGoEtcd,
  findProgram,
  startEtcd,
  startGoEtcd,
} from "../harness/etcd_process.ts";

/*
 * Scripts of etcdctl commands. What they expect was printed by etcdctl 3.4 with etcd 3.7 behind it: REWRITE=1 runs
 * them against a Go etcd of that version and never against ours. An older one is not compared: it prints other
 * versions, errors and hashes.
 */
const EXPECTED_MINOR = 7;

const rewrites = process.env["REWRITE"] === "1";
const etcdctl = findProgram("etcdctl");
const goEtcd = findGoEtcd();
const skip = reasonToSkip();

for (const script of scriptsUnder("tests/e2e/testdata/etcdctl")) {
  if (!rewrites) {
    test(`etcdctl script: ${script.name}`, { skip }, async () => {
      await withServer(() => startEtcd(), (server) => runScript(script, (command) => run(server, command)));
    });
  }
  test(`etcdctl script: ${script.name}, as a Go etcd answers it`, {
    skip: skip || (goEtcd?.minor === EXPECTED_MINOR ? false : "there is no etcd 3.7 on this machine"),
  }, async () => {
    await withServer(
      () => startGoEtcd(goEtcd!),
      (server) => runScript(script, (command) => run(server, command)),
    );
  });
}

function reasonToSkip(): string | false {
  if (etcdctl === undefined) return "there is no etcdctl on this machine";
  const { stdout } = spawnSync(etcdctl, ["version"], { encoding: "utf8", env: environment() });
  return /etcdctl version: 3\.4\./.test(stdout) ? false : "the scripts are written for etcdctl 3.4";
}

async function withServer(
  start: () => Promise<EtcdProcess>,
  use: (server: EtcdProcess) => void,
): Promise<void> {
  const server = await start();
  try {
    use(server);
  } finally {
    await server.stop();
  }
}

/** What a command prints to both streams and, when it fails, its exit status. */
function run(server: EtcdProcess, { name, words, input }: Command): string {
  const args = [`--endpoints=${server.endpoint}`, name, ...words];
  const { stdout, stderr, status } = spawnSync(etcdctl!, args, {
    input: input === "" ? "" : `${input}\n\n\n\n`,
    env: environment(),
    timeout: WAIT_MS_MAX,
  });
  assert.ok(status !== null, `etcdctl ${name} did not end:\n${server.output}`);
  const exit = status === 0 ? "" : `exit ${status}\n`;
  return `${normalise(stdout.toString("utf8"), server)}${normalise(stderr.toString("utf8"), server)}${exit}`;
}

function environment(): Record<string, string> {
  return { PATH: process.env["PATH"] ?? "", ETCDCTL_API: "3" };
}

/** Takes out what is not the server's to say: addresses, times, and how large its file is. */
function normalise(text: string, { endpoint }: EtcdProcess): string {
  return text
    .replaceAll(endpoint, "ENDPOINT")
    .replace(/^\{"level":"warn".*"error":"(.*)"\}$/gm, "warning: $1")
    .replace(/took = [0-9.]+[mµ]?s/g, "took = TIME")
    .replace(/ +[0-9.]+ [kM]?B \|/g, "   SIZE |")
    .replace(/[0-9.]+ [kM]?B\b/g, "SIZE")
    .replace(/"(dbSize|dbSizeInUse)":\d+/g, '"$1":SIZE')
    .replace(/"(DBSize|DBSizeInUse)" : \d+/g, '"$1" : SIZE');
}
