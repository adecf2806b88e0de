import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Etcd3, EtcdLockFailedError, type Watcher } from "etcd3";
import { sleep } from "../harness/crash_server.ts";
import { eventually, within } from "../harness/deadline.ts";
import { type EtcdProcess, startEtcd } from "../harness/etcd_process.ts";

/* What npm's package etcd3 builds on streams: watches, leases, locks and elections. */

const options = { timeout: 300_000 };
/** Seconds; longer than a few requests take, and than the client waits between two renewals. */
const SHORT_TTL = 5;
let starting: Promise<EtcdProcess> | undefined;

/** Runs `use` with two clients, on connections of their own, of the one server of this file. */
async function withClients(use: (client: Etcd3, other: Etcd3) => Promise<void>): Promise<void> {
  const server = await (starting ??= startEtcd());
  const clients = [0, 1].map(() => new Etcd3({ hosts: `http://${server.endpoint}` }));
  try {
    await within("the clients' calls", use(clients[0]!, clients[1]!), () => server.output);
  } finally {
    for (const client of clients) client.close();
  }
}

/** Gathers what a watcher tells, and waits for it. */
class Heard {
  readonly lines: string[] = [];

  constructor(watcher: Watcher) {
    watcher.on("put", ({ key, value, mod_revision }, previous) => {
      const before = !previous ? "" : ` after ${previous.value}`;
      this.lines.push(`put ${key}=${value}@${mod_revision}${before}`);
    });
    watcher.on("delete", ({ key, mod_revision }, previous) => {
      const before = !previous ? "" : ` after ${previous.value}`;
      this.lines.push(`delete ${key}@${mod_revision}${before}`);
    });
  }

  async until(count: number): Promise<readonly string[]> {
    await eventually(`${count} events`, () => this.lines.length >= count, () => this.lines.join("\n"));
    return this.lines;
  }
}

test(
  "etcd3 watches keys and prefixes, with what was before, from the past, and stops",
  options,
  () =>
    withClients(async (client, other) => {
      const first = Number((await client.put("watch/a").value("0")).header.revision);
      const exact = await client.watch().key("watch/a").withPreviousKV().create();
      const prefix = await client.watch().prefix("watch/").only("put").create();
      const past = await client.watch().prefix("watch/").startRevision(String(first)).create();
      const [exactly, underPrefix, fromPast] = [new Heard(exact), new Heard(prefix), new Heard(past)];
      await other.put("watch/a").value("1");
      await other.put("watch/b").value("2");
      await other.delete().key("watch/a");
      const [b, c, d] = [first + 1, first + 2, first + 3];
      assert.deepEqual(await exactly.until(2), [`put watch/a=1@${b} after 0`, `delete watch/a@${d} after 1`]);
      assert.deepEqual(await underPrefix.until(2), [`put watch/a=1@${b}`, `put watch/b=2@${c}`]);
      assert.deepEqual(await fromPast.until(4), [
        `put watch/a=0@${first}`,
        `put watch/a=1@${b}`,
        `put watch/b=2@${c}`,
        `delete watch/a@${d}`,
      ]);
      await exact.cancel();
      await other.put("watch/a").value("3");
      assert.equal((await underPrefix.until(3)).length, 3);
      assert.equal(exactly.lines.length, 2);
      await Promise.all([prefix.cancel(), past.cancel()]);
    }),
);

test(
  "etcd3 grants, renews and revokes leases, and hears that one is lost",
  options,
  () =>
    withClients(async (client, other) => {
      const lease = client.lease(SHORT_TTL, { autoKeepAlive: false });
      await lease.put("lease/short").value("x");
      const kept = client.lease(SHORT_TTL);
      await kept.put("lease/kept").value("y");
      const revoked = client.lease(100);
      await revoked.put("lease/revoked").value("z");
      assert.deepEqual(await other.getAll().prefix("lease/").keys(), [
        "lease/kept",
        "lease/revoked",
        "lease/short",
      ]);
      await lease.keepaliveOnce();
      await revoked.revoke();
      assert.deepEqual(await other.getAll().prefix("lease/").keys(), ["lease/kept", "lease/short"]);
      await eventually("the short lease to end", async () => await other.get("lease/short") === null);
      assert.deepEqual(await other.getAll().prefix("lease/").keys(), ["lease/kept"]);
      const lost = once(kept, "lost");
      await other.leaseClient.leaseRevoke({ ID: await kept.grant() });
      await lost;
      assert.equal(await other.get("lease/kept"), null);
      await assert.rejects(lease.keepaliveOnce(), /lease/i);
    }),
);

test("etcd3 locks out others until it unlocks", options, () =>
  withClients(async (client, other) => {
    const lock = client.lock("lock").ttl(60);
    await lock.acquire();
    await assert.rejects(other.lock("lock").ttl(60).acquire(), EtcdLockFailedError);
    await lock.release();
    let entered = 0;
    await Promise.all([client, other].map(async (each) => {
      for (let tries = 0; tries < 2_000; tries += 1) {
        try {
          await each.lock("lock").ttl(60).do(async () => {
            entered += 1;
            await sleep(20);
          });
          return;
        } catch (error) {
          if (!(error instanceof EtcdLockFailedError)) throw error;
          await sleep(10);
        }
      }
    }));
    assert.equal(entered, 2);
  }));

test(
  "etcd3 elects one after the other, and tells observers",
  options,
  () =>
    withClients(async (client, other) => {
      const observer = await other.election("election").observe();
      const leaders: (string | undefined)[] = [];
      observer.on("change", (value) => leaders.push(value));
      const first = client.election("election", 60).campaign("one");
      await once(first, "elected");
      const second = other.election("election", 60).campaign("two");
      let isSecondElected = false;
      second.on("elected", () => isSecondElected = true);
      await first.proclaim("one again");
      assert.equal(await client.election("election").leader(), "one again");
      assert.equal(isSecondElected, false);
      const elected = once(second, "elected");
      await first.resign();
      await elected;
      assert.equal(await client.election("election").leader(), "two");
      await eventually(
        "the observer to hear of it",
        () => leaders.at(-1) === "two",
        () => leaders.join(", "),
      );
      assert.deepEqual(leaders.filter((value) => value !== undefined), ["one", "one again", "two"]);
      await second.resign();
      await observer.cancel();
    }),
);

test("the server of the etcd3 client's streams ends when it is told to", async () => {
  const server = await (starting ??= startEtcd());
  assert.deepEqual(await server.stop(), { code: null, signal: "SIGTERM" });
});
