import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { test } from "node:test";
import { sleep } from "../harness/crash_server.ts";
import {
  type EtcdProcess,
  findGoEtcd,
  findProgram,
  startEtcd,
  startGoEtcd,
} from "../harness/etcd_process.ts";

/*
 * The commands of etcdctl that go on until they are told to end: watch, lock, elect, make-mirror. What they print is
 * the same before ours and before an etcd 3.7 in Go.
 */

const etcdctl = findProgram("etcdctl");
const go = findGoEtcd();
const env = { PATH: process.env["PATH"] ?? "" };
const timeout = 90_000;
const WAIT_MS_MAX = 20_000;

const running = new Set<ChildProcess>();

/** One etcdctl that runs on, and what it has printed. */
class Running {
  readonly child: ChildProcess;
  readonly #closed: Promise<unknown>;
  output = "";

  constructor(server: EtcdProcess, args: readonly string[]) {
    this.child = spawn(etcdctl!, [`--endpoints=${server.endpoint}`, ...args], { env, stdio: "pipe" });
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding("utf8").on("data", (text: string) => this.output += text);
    }
    running.add(this.child);
    this.#closed = once(this.child, "close").then(() => running.delete(this.child));
  }

  /** Waits until it has printed `text`. */
  async until(text: string): Promise<void> {
    const deadlineMs = performance.now() + WAIT_MS_MAX;
    while (!this.output.includes(text)) {
      assert.ok(
        performance.now() < deadlineMs,
        `no ${JSON.stringify(text)} in ${JSON.stringify(this.output)}`,
      );
      await sleep(10);
    }
  }

  async stop(signal: "SIGINT" | "SIGKILL" = "SIGKILL"): Promise<string> {
    this.child.kill(signal);
    await this.#closed;
    return this.output;
  }

  async ended(): Promise<string> {
    await this.#closed;
    return this.output;
  }
}

function run(server: EtcdProcess, ...args: string[]): string {
  const { stdout, stderr, status } = spawnSync(etcdctl!, [`--endpoints=${server.endpoint}`, ...args], {
    encoding: "utf8",
    env,
    timeout: WAIT_MS_MAX,
  });
  assert.equal(status, 0, `etcdctl ${args.join(" ")}: ${stderr}`);
  return stdout;
}

async function watches(server: EtcdProcess): Promise<void> {
  run(server, "put", "wk", "v0"); // Revision 2.
  const live = new Running(server, ["watch", "wk", "--prefix", "--prev-kv"]);
  const past = new Running(server, ["watch", "wk", "wl", "--rev=1", "-w=json"]);
  const executing = new Running(server, [
    "watch",
    "wk",
    "--",
    "sh",
    "-c",
    "echo $ETCD_WATCH_REVISION $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE",
  ]);
  const interactive = new Running(server, ["watch", "-i"]);
  interactive.child.stdin!.write("watch wk\nwatch --prefix x\nprogress\n");
  await interactive.until("progress notify: 2");
  await past.until("djA=");
  await sleep(500); // The others print nothing when their watch begins.
  run(server, "put", "wk", "v1");
  run(server, "put", "wk2", "q");
  run(server, "put", "xa", "1");
  run(server, "del", "wk");
  await live.until("DELETE\nwk\nv1\nwk\n");
  assert.equal(
    await live.stop(),
    "PUT\nwk\nv0\nwk\nv1\nPUT\nwk2\nq\nDELETE\nwk\nv1\nwk\n\n",
  );
  await executing.until("DELETE\nwk\n\n6");
  await sleep(100);
  assert.equal(
    (await executing.stop()).replaceAll('"', ""),
    "PUT\nwk\nv1\n3 PUT wk v1\nDELETE\nwk\n\n6 DELETE wk \n",
  );
  await interactive.until("DELETE\nwk\n");
  const heard = await interactive.stop();
  assert.equal(
    heard.replace(/(?:progress notify: 2\n)+/, "progress notify: 2\n").replace(/^Error.*\n/m, ""),
    "progress notify: 2\nPUT\nwk\nv1\nPUT\nxa\n1\nDELETE\nwk\n\n",
  );
  await past.until('"mod_revision":6');
  const lines = (await past.stop()).trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(
    lines.map(({ Header: { revision, raft_term }, Events }) => [
      revision,
      raft_term,
      // deno-lint-ignore no-explicit-any -- as etcdctl prints it
      Events.map(({ type, kv }: any) =>
        `${type ?? 0} ${atob(kv.key)}=${atob(kv.value ?? "")}@${kv.mod_revision}`
      )
        .join(),
    ]),
    [[2, 2, "0 wk=v0@2"], [3, 2, "0 wk=v1@3"], [4, 2, "0 wk2=q@4"], [6, 2, "1 wk=@6"]],
  );
  run(server, "compaction", "4");
  const compacted = new Running(server, ["watch", "wk", "--rev=2"]);
  assert.match(
    await compacted.ended(),
    /watch was canceled \(etcdserver: mvcc: required revision has been compacted\)\nError: watch is canceled by the server/,
  );
}

async function locks(server: EtcdProcess): Promise<void> {
  assert.equal(run(server, "lock", "jobs", "echo", "done"), "done\n");
  const first = new Running(server, ["lock", "jobs"]);
  await first.until("jobs/");
  const second = new Running(server, ["lock", "jobs"]);
  await sleep(500);
  assert.equal(second.output, "");
  await first.stop("SIGINT");
  await second.until("jobs/");
  assert.match(first.output, /^jobs\/[0-9a-f]{12,16}\n/);
  assert.notEqual(first.output.trim(), second.output.trim());
  await second.stop("SIGINT");
  assert.equal(run(server, "get", "jobs", "--prefix"), "");
}

async function elections(server: EtcdProcess): Promise<void> {
  const observer = new Running(server, ["elect", "-l", "chief"]);
  const first = new Running(server, ["elect", "chief", "one"]);
  await first.until("one\n");
  const second = new Running(server, ["elect", "chief", "two"]);
  await sleep(500);
  assert.equal(second.output, "");
  await first.stop("SIGINT");
  await second.until("two\n");
  assert.match(second.output, /^chief\/[0-9a-f]{12,16}\ntwo\n/);
  await observer.until("two\n");
  assert.match(await observer.stop(), /^chief\/[0-9a-f]+\none\nchief\/[0-9a-f]+\ntwo\n$/);
  await second.stop("SIGINT");
}

async function mirrors(server: EtcdProcess): Promise<void> {
  const target = await startEtcd();
  try {
    for (let i = 0; i < 5; i += 1) run(server, "put", `mirror/${i}`, `${i}`);
    const mirror = new Running(server, ["make-mirror", target.endpoint, "--prefix=mirror/"]);
    const mirrored = () =>
      run(target, "get", "mirror/", "--prefix", "--keys-only").split(/\s+/).filter(Boolean);
    const until = async (count: number) => {
      const deadlineMs = performance.now() + WAIT_MS_MAX;
      while (mirrored().length !== count) {
        assert.ok(performance.now() < deadlineMs, `${mirrored()} ${mirror.output}`);
        await sleep(50);
      }
    };
    await until(5);
    run(server, "del", "mirror/3");
    await until(4);
    run(server, "put", "mirror/x", "new");
    await until(5);
    assert.equal(run(target, "get", "mirror/x"), "mirror/x\nnew\n");
    await mirror.stop();
  } finally {
    await target.stop();
  }
}

for (const [name, start] of [["ours", startEtcd], ["etcd in Go", () => startGoEtcd(go!)]] as const) {
  const noGo = name !== "ours" && (go === undefined || go.minor < 7) &&
    "there is no etcd 3.7 on this machine";
  const skip = etcdctl === undefined ? "there is no etcdctl on this machine" : noGo;
  test(`etcdctl watches, locks, elects and mirrors: ${name}`, { skip, timeout }, async () => {
    const server = await start();
    try {
      await watches(server);
      await locks(server);
      await elections(server);
      await mirrors(server);
    } finally {
      for (const child of running) child.kill("SIGKILL");
      await server.stop();
    }
  });
}
