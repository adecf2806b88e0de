/** The command as a process: what only a real one can show, its exit status, signals and streams. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { endOf } from "../../harness/child_process.ts";
import { eventually, WAIT_MS_MAX } from "../../harness/deadline.ts";
import { freePort, httpGet, runtimeCommand } from "../../harness/etcd_process.ts";

/** From its start on: a server is waited for, asked, and told to end. */
const ENDED_MS_MAX = 3 * WAIT_MS_MAX;

const mainModule = fileURLToPath(new URL("../../../mod.ts", import.meta.url));

interface Ended {
  readonly status: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

class Command {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  err = "";

  constructor(args: readonly string[], directory: string, extraEnv: Readonly<Record<string, string>> = {}) {
    const [program, ...before] = runtimeCommand() as [string, ...string[]];
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("ETCD")));
    this.child = spawn(program, [...before, mainModule, ...args], {
      cwd: directory,
      env: { ...env as Record<string, string>, ...extraEnv },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let out = "";
    this.child.stdout!.setEncoding("utf8").on("data", (text: string) => out += text);
    this.child.stderr!.setEncoding("utf8").on("data", (text: string) => this.err += text);
    this.ended = endOf(this.child, args.join(" "), () => this.err, ENDED_MS_MAX)
      .then(({ code, signal }) => ({ status: code, signal, out, err: this.err }));
    this.ended.catch(() => {}); // Who waits for it is told.
  }

  async until(text: string): Promise<void> {
    const isThere = (): boolean => this.err.includes(text);
    try {
      await eventually(text, () => isThere() || this.child.exitCode !== null, () => this.err);
      assert.ok(isThere(), `it ended without ${JSON.stringify(text)}:\n${this.err}`);
    } catch (error) {
      this.child.kill("SIGKILL");
      throw error;
    }
  }
}

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "etcd-command-"));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function lastLine(err: string): Record<string, string> {
  return JSON.parse(err.trimEnd().split("\n").at(-1)!) as Record<string, string>;
}

test("etcd's exit status is 0 for --version and --help, 2 for a wrong command line, 1 for a wrong value", async () => {
  await withDirectory(async (directory) => {
    const [version, help, usage, wrong] = await Promise.all(
      [["--version"], ["--help"], ["--nosuch"], ["--election-timeout=1"]]
        .map((args) => new Command(args, directory).ended),
    ) as [Ended, Ended, Ended, Ended];
    assert.deepEqual([version.status, help.status, usage.status, wrong.status], [0, 0, 2, 1]);
    assert.match(
      version.out,
      /^etcd Version: 3\.7\.1\nGit SHA: .+\nGo Version: (?:node|bun|deno)[\d.]+\nGo OS\/Arch: \w+\/\w+\n$/,
    );
    assert.match(help.out, /^Usage:\n[^]*--listen-client-urls[^]*Examples:\n/);
    assert.match(usage.err, /^flag provided but not defined: -nosuch\nUsage:\n/);
    assert.equal(usage.out + wrong.out + version.err + help.err, "");
    assert.deepEqual(readdirSync(directory), []);
  });
});

test("etcd serves until SIGTERM, ends by that signal, and says why it cannot start again", async () => {
  await withDirectory(async (directory) => {
    const [clientPort, peerPort, otherPort] = await Promise.all([freePort(), freePort(), freePort()]);
    const flags = (port: number): string[] => [
      "--name=m1",
      `--listen-client-urls=http://127.0.0.1:${port}`,
      `--advertise-client-urls=http://127.0.0.1:${port}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    ];
    const server = new Command(flags(clientPort), directory);
    await server.until("now serving peer/client/metrics");
    assert.equal((await httpGet(clientPort, "/health")).status, 200);

    const sameDirectory = [...flags(otherPort), "--listen-peer-urls=http://127.0.0.1:0"];
    const [locked, inUse] = await Promise.all([
      new Command(sameDirectory, directory).ended,
      new Command([...flags(otherPort), "--data-dir=other"], directory).ended,
    ]);
    assert.equal(locked.status, 1);
    assert.match(lastLine(locked.err)["error"]!, /the data directory m1\.etcd is in use by another process/);
    assert.equal(inUse.status, 1);
    assert.deepEqual(lastLine(inUse.err)["msg"], "discovery failed");
    assert.equal(
      lastLine(inUse.err)["error"],
      `listen tcp 127.0.0.1:${peerPort}: bind: address already in use`,
    );
    assert.deepEqual(readdirSync(directory), ["m1.etcd"]);

    server.child.kill("SIGTERM");
    const ended = await server.ended;
    assert.deepEqual([ended.status, ended.signal], [null, "SIGTERM"]);
    assert.match(ended.err, /"msg":"received signal; shutting down","signal":"terminated"/);
    assert.equal(lastLine(ended.err)["msg"], "closed etcd server");

    const again = new Command(flags(clientPort), directory);
    await again.until("server has already been initialized");
    await again.until("now serving peer/client/metrics");
    again.child.kill("SIGINT");
    assert.equal((await again.ended).signal, "SIGINT");

    const walDirectory = join(directory, "m1.etcd/member/wal");
    const wal = openSync(join(walDirectory, readdirSync(walDirectory)[0]!), "r+");
    writeSync(wal, "damaged", 100);
    closeSync(wal);
    const damaged = await new Command(flags(clientPort), directory).ended;
    assert.equal(damaged.status, 1);
    const line = lastLine(damaged.err);
    assert.deepEqual([line["level"], line["msg"], line["stacktrace"]], [
      "fatal",
      "failed to start etcd server",
      undefined,
    ]);
    assert.match(line["error"]!, /m1\.etcd\/member\/wal\/.*\.wal/);
  });
});

test("etcd says in the system's words which file it cannot use", async () => {
  await withDirectory(async (directory) => {
    const outcomes = await Promise.all(
      [["--log-outputs=none/etcd.log"], ["--config-file=/"], ["--data-dir=/dev/null"]]
        .map((args) => new Command(args, directory).ended),
    );
    assert.deepEqual(outcomes.map(({ status }) => status), [1, 1, 1]);
    assert.deepEqual(outcomes.map(({ err }) => [lastLine(err)["msg"], lastLine(err)["error"]]), [
      ["failed to verify flags", `open sink "none/etcd.log": open none/etcd.log: no such file or directory`],
      ["failed to verify flags", "read /: is a directory"],
      ["failed to list data directory", "readdirent /dev/null: not a directory"],
    ]);
  });
});

test("etcd tells systemd when it serves", async () => {
  await withDirectory(async (directory) => {
    writeFileSync(join(directory, "systemd-notify"), '#!/bin/sh\necho "$@ $NOTIFY_SOCKET" >told\n', {
      mode: 0o755,
    });
    const [clientPort, peerPort] = await Promise.all([freePort(), freePort()]);
    const flags = [
      `--listen-client-urls=http://127.0.0.1:${clientPort}`,
      `--advertise-client-urls=http://127.0.0.1:${clientPort}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
    ];
    const env = { NOTIFY_SOCKET: "/run/notify", PATH: `${directory}:${process.env["PATH"]}` };
    const server = new Command(flags, directory, env);
    await server.until("successfully notified init daemon");
    assert.equal(readFileSync(join(directory, "told"), "utf8"), "--ready /run/notify\n");
    server.child.kill("SIGTERM");
    const { err } = await server.ended;
    assert.ok(err.indexOf("ready to serve client requests") < err.indexOf("successfully notified"));
    writeFileSync(join(directory, "systemd-notify"), "#!/bin/sh\nexit 3\n", { mode: 0o755 });
    const untold = new Command(flags, directory, env);
    await untold.until(
      '"msg":"failed to notify systemd for readiness","error":"systemd-notify ended with 3"',
    );
    assert.equal((await httpGet(clientPort, "/health")).status, 200);
    untold.child.kill("SIGTERM");
    await untold.ended;
  });
});

test("etcd warns of a data directory that others may read, and of strangers in it", async () => {
  await withDirectory(async (directory) => {
    mkdirSync(join(directory, "open", "lost+found"), { recursive: true });
    const [clientPort, peerPort] = await Promise.all([freePort(), freePort()]);
    const server = new Command([
      "--data-dir=open",
      `--listen-client-urls=http://127.0.0.1:${clientPort}`,
      `--advertise-client-urls=http://127.0.0.1:${clientPort}`,
      `--listen-peer-urls=http://127.0.0.1:${peerPort}`,
      "--log-format=console",
      "--log-outputs=stderr,etcd.log",
    ], directory);
    await server.until("now serving");
    server.child.kill("SIGTERM");
    await server.ended;
    assert.match(
      server.err,
      /\twarn\tcheck file permission\t\{"error": "directory \\"open\\" exist, but the permission is \\"drwx/,
    );
    assert.match(server.err, /\twarn\tfound invalid file under data directory\t\{"filename": "lost\+found"/);
    assert.ok(readdirSync(directory).includes("etcd.log"));
  });
});
