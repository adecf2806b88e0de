import assert from "node:assert/strict";
import { test } from "node:test";
import { EtcdError } from "../../src/base/errors.ts";
import { utf8 } from "../../src/base/bytes.ts";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { AutoCompactor, type Compactable } from "../../src/server/auto_compactor.ts";
import type { AutoCompaction } from "../../src/server/config.ts";
import type { ServerPorts } from "../../src/server/ports.ts";
import { startEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { ManualClock } from "../harness/manual_clock.ts";

const SECOND_MS = 1_000;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** A compactor over a store that grows by one revision a tick, and what it asked for, by time. */
class Fixture implements Compactable {
  readonly clock = new ManualClock();
  readonly store = { currentRevision: 1 };
  readonly compactions: [minutes: number, revision: number][] = [];
  canReadNow = true;
  /** Thrown by the next compaction. */
  failure: Error | undefined;
  readonly messages: string[] = [];
  readonly #startedMs = this.clock.monotonicMs();
  readonly compactor: AutoCompactor;

  constructor(options: Exclude<AutoCompaction, { mode: "off" }>) {
    const say = (text: string) => void this.messages.push(text);
    const log = { enabled: () => true, debug: say, info: say, warn: say, error: say };
    this.compactor = new AutoCompactor(options, this, { clock: this.clock, log } as unknown as ServerPorts);
    this.compactor.start();
  }

  compact(revision: number): Promise<void> {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) return Promise.reject(failure);
    this.compactions.push([(this.clock.monotonicMs() - this.#startedMs) / MINUTE_MS, revision]);
    return Promise.resolve();
  }

  /** Lets time pass in steps, with one more revision in each. */
  async pass(steps: number, stepMs: number): Promise<void> {
    for (let i = 0; i < steps; i += 1) {
      this.store.currentRevision += 1;
      this.clock.advance(stepMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

test("periodic compaction keeps what is younger than the retention, and runs at most once an hour", async () => {
  const fixture = new Fixture({ mode: "periodic", retentionMs: 10 * HOUR_MS });
  await fixture.pass(99, 6 * MINUTE_MS);
  assert.deepEqual(fixture.compactions, []);
  await fixture.pass(30, 6 * MINUTE_MS);
  // Revision 1 was the one at the start, 10 that of 54 minutes later: as with etcd, notes are kept for one step more.
  assert.deepEqual(fixture.compactions, [[600, 1], [660, 10], [720, 20]]);
  fixture.compactor.stop();
  await fixture.pass(30, 6 * MINUTE_MS);
  assert.equal(fixture.compactions.length, 3);
});

test("periodic compaction of less than an hour runs once per retention", async () => {
  const fixture = new Fixture({ mode: "periodic", retentionMs: 5 * MINUTE_MS });
  await fixture.pass(30, 30 * SECOND_MS);
  assert.deepEqual(fixture.compactions, [[5, 1], [10, 10], [15, 20]]);
  fixture.compactor.stop();
});

test("compaction by revision keeps the last ones, and looks every five minutes", async () => {
  const fixture = new Fixture({ mode: "revision", retention: 10 });
  await fixture.pass(4, MINUTE_MS);
  fixture.store.currentRevision = 9;
  await fixture.pass(6, MINUTE_MS);
  fixture.store.currentRevision = 100;
  await fixture.pass(5, MINUTE_MS);
  assert.deepEqual(fixture.compactions.map(([, revision]) => revision), [5, 95]);
  // Nothing new: not again.
  fixture.clock.advance(5 * MINUTE_MS);
  await fixture.pass(0, 0);
  assert.equal(fixture.compactions.length, 2);
  fixture.compactor.stop();
});

test("a compaction that fails is tried again, one that somebody else has made is not; followers leave it", async () => {
  const fixture = new Fixture({ mode: "periodic", retentionMs: 5 * MINUTE_MS });
  fixture.canReadNow = false;
  await fixture.pass(12, 30 * SECOND_MS);
  assert.deepEqual(fixture.compactions, []);
  fixture.canReadNow = true;
  fixture.failure = new EtcdError("timeout");
  await fixture.pass(1, 30 * SECOND_MS);
  assert.ok(fixture.messages.includes("failed auto periodic compaction"));
  await fixture.pass(1, 30 * SECOND_MS);
  assert.equal(fixture.compactions.length, 1);
  fixture.failure = new EtcdError("compacted");
  await fixture.pass(10, 30 * SECOND_MS);
  await fixture.pass(9, 30 * SECOND_MS);
  assert.equal(fixture.compactions.length, 1);
  fixture.compactor.stop();
});

test("a server compacts by itself", async () => {
  const server = await startEtcd({ flags: ["--auto-compaction-retention=1s"] });
  try {
    const client = await GrpcClient.connect(server.port);
    const key = utf8("a");
    const deadlineMs = performance.now() + 60_000;
    let status = "OK";
    while (status === "OK" && performance.now() < deadlineMs) {
      await client.call(KV.method.put, { key });
      await new Promise((resolve) => setTimeout(resolve, 50));
      ({ status } = await client.call(KV.method.range, { key, revision: 2n }));
    }
    assert.equal(status, "OutOfRange");
    assert.match(server.output, /"completed auto periodic compaction","revision":\d+,"compact-period":"1s"/);
    await client.close();
  } finally {
    await server.stop();
  }
});
