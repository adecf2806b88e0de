import assert from "node:assert/strict";
import { test } from "node:test";
import { Etcd3, GRPCInvalidArgumentError, type IOptions } from "etcd3";
import { within } from "../harness/deadline.ts";
import { type EtcdProcess, startEtcd } from "../harness/etcd_process.ts";

/* The client of npm's package etcd3: grpc-js below it, and proto files that are not ours. */

let starting: Promise<EtcdProcess> | undefined;

/** Runs `use` with a client of the one server of this file. */
async function withClient(
  use: (client: Etcd3) => Promise<void>,
  options: Partial<IOptions> = {},
): Promise<void> {
  const server = await (starting ??= startEtcd());
  const client = new Etcd3({ hosts: `http://${server.endpoint}`, ...options });
  try {
    await within("the client's calls", use(client), () => server.output);
  } finally {
    client.close();
  }
}

test("etcd3 puts, gets and deletes", () =>
  withClient(async (client) => {
    const { header } = await client.put("basic/a").value("1");
    assert.equal(header.revision, "2");
    assert.equal(await client.get("basic/a").string(), "1");
    assert.equal(await client.get("basic/a").number(), 1);
    assert.equal(await client.get("basic/none"), null);
    const previous = await client.put("basic/a").value("2").getPrevious();
    assert.equal(String(previous?.value), "1");
    assert.equal(await client.get("basic/a").revision(2).string(), "1");
    const bytes = Buffer.from([0, 255, 128]);
    await client.put("basic/bytes").value(bytes);
    assert.deepEqual(await client.get("basic/bytes").buffer(), bytes);
    assert.equal(await client.get("basic/a").exists(), true);
    const { deleted } = await client.delete().key("basic/a");
    assert.equal(deleted, "1");
    assert.equal(await client.get("basic/a").exists(), false);
  }));

test("etcd3 reads ranges in every order", () =>
  withClient(async (client) => {
    for (const name of ["b", "a", "c"]) await client.put(`range/${name}`).value(`${name}!`);
    await client.put("range/a").value("z!");
    assert.deepEqual(await client.getAll().prefix("range/").strings(), {
      "range/a": "z!",
      "range/b": "b!",
      "range/c": "c!",
    });
    assert.deepEqual(await client.getAll().prefix("range/").keys(), ["range/a", "range/b", "range/c"]);
    assert.equal(await client.getAll().prefix("range/").count(), 3);
    const byValue = await client.getAll().prefix("range/").sort("Value", "Descend").limit(2).keys();
    assert.deepEqual(byValue, ["range/a", "range/c"]);
    const byVersion = await client.getAll().prefix("range/").sort("Version", "Descend").limit(1).keys();
    assert.deepEqual(byVersion, ["range/a"]);
    const inRange = await client.getAll().inRange({ start: "range/b", end: "range/c" }).keys();
    assert.deepEqual(inRange, ["range/b"]);
    const { deleted } = await client.delete().prefix("range/");
    assert.equal(deleted, "3");
  }));

test("etcd3 commits transactions", () =>
  withClient(async (client) => {
    const increment = (from: string, to: string) =>
      client.if("txn/n", "Value", "==", from)
        .then(client.put("txn/n").value(to))
        .else(client.get("txn/n"))
        .commit();
    await client.put("txn/n").value("1");
    assert.equal((await increment("1", "2")).succeeded, true);
    const refused = await increment("1", "3");
    assert.equal(refused.succeeded, false);
    assert.equal(String(refused.responses[0]?.response_range?.kvs[0]?.value), "2");
    const created = () =>
      client.if("txn/new", "Create", "==", 0).then(client.put("txn/new").value("x")).commit();
    assert.equal((await created()).succeeded, true);
    assert.equal((await created()).succeeded, false);
    const duplicate = client.if("txn/n", "Version", ">", 0)
      .then(client.put("txn/x").value("1"), client.put("txn/x").value("2")).commit();
    await assert.rejects(duplicate, /duplicate key given in txn request/);
  }));

test("etcd3 keeps its namespaces apart", () =>
  withClient(async (client) => {
    const one = client.namespace("one/");
    const two = client.namespace("two/");
    await one.put("key").value("1");
    await two.put("key").value("2");
    assert.equal(await one.get("key").string(), "1");
    assert.deepEqual(await two.getAll().strings(), { key: "2" });
    assert.equal(await client.get("one/key").string(), "1");
    await one.delete().all();
    assert.equal(await one.get("key"), null);
    assert.equal(await two.get("key").string(), "2");
  }));

test("etcd3 recognises errors and carries large values", () =>
  withClient(async (client) => {
    await assert.rejects(async () => await client.put("").value("x"), GRPCInvalidArgumentError);
    await assert.rejects(async () => await client.get("basic/a").revision(1_000_000), /future revision/);
    const large = "x".repeat(1_500_000);
    await client.put("large").value(large);
    assert.equal(await client.get("large").string(), large);
    await assert.rejects(async () => await client.put("large").value("x".repeat(1_600_000)), /too large/);
    const puts = Array.from({ length: 500 }, (_, i) => client.put(`many/${i}`).value(String(i)));
    await Promise.all(puts);
    assert.equal(await client.getAll().prefix("many/").count(), 500);
  }));

test("etcd3 asks about members and maintenance", () =>
  withClient(async (client) => {
    const { members } = await client.cluster.memberList({});
    assert.deepEqual(members.map(({ name }) => name), ["default"]);
    const status = await client.maintenance.status();
    assert.match(status.version, /^3\.7\./);
    const { alarms } = await client.maintenance.alarm({ action: "Get", memberID: "0", alarm: "None" });
    assert.deepEqual(alarms, []);
  }));

test("the server of the etcd3 client ends when it is told to", async () => {
  const server = await (starting ??= startEtcd());
  assert.deepEqual(await server.stop(), { code: null, signal: "SIGTERM" });
});
