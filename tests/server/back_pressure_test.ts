import assert from "node:assert/strict";
import { test } from "node:test";
import { EtcdError } from "../../src/base/errors.ts";
import { StoreImage } from "../harness/crash_backend.ts";
import { CrashFiles } from "../harness/crash_files.ts";
import { CrashMember } from "../harness/crash_member.ts";

const VALUE_BYTES = 100_000;
const PUTS = 40;
const PENDING_BYTES_MAX = 5 * VALUE_BYTES;
/** What is applied in one go is not split. */
const PENDING_BYTES_SLACK = 4 * VALUE_BYTES;

test("EtcdServer applies no more than may wait for a slow disk, and all of it in the end", async () => {
  const image = new StoreImage();
  const member = new CrashMember({ files: new CrashFiles(), image });
  void member.failure.then((error) => assert.fail(String(error)));
  await member.start({ pendingBytesMax: PENDING_BYTES_MAX });
  const { backend } = member.server;
  await backend.commit();

  let open = (): void => {};
  image.gate = new Promise((resolve) => open = resolve);
  const revisions: number[] = [];
  let pendingBytesMost = 0;
  const puts = Array.from({ length: PUTS }, async (_, i) => {
    const { header } = await member.put(`key ${i}`, String(i % 10).repeat(VALUE_BYTES));
    revisions.push(header.revision);
    pendingBytesMost = Math.max(pendingBytesMost, backend.pendingBytes);
  });
  // All are in the log; what has no room waits, and its clients with it.
  while (member.server.committedIndex < member.server.appliedIndex + 10) await turn();
  for (let i = 0; i < 100; i += 1) await turn();
  const appliedFirst = revisions.length;
  assert.ok(
    appliedFirst >= PENDING_BYTES_MAX / VALUE_BYTES && appliedFirst < PUTS / 2,
    `${appliedFirst} applied`,
  );
  assert.equal(member.server.committedIndex - member.server.appliedIndex, PUTS - appliedFirst);
  // Heartbeats and elections go on.
  member.clock.advance(1_000);
  await turn();
  assert.ok(member.server.canReadNow);

  image.gate = undefined;
  open();
  await Promise.all(puts);
  assert.deepEqual(revisions, revisions.toSorted((a, b) => a - b));
  assert.equal(new Set(revisions).size, PUTS);
  assert.ok(pendingBytesMost < PENDING_BYTES_MAX + PENDING_BYTES_SLACK, `${pendingBytesMost} bytes waited`);
  await member.server.stop();
});

test("EtcdServer refuses writes while 5,000 entries wait to be applied, and takes them again after that", async () => {
  const image = new StoreImage();
  const member = new CrashMember({ files: new CrashFiles(), image });
  void member.failure.then((error) => assert.fail(String(error)));
  await member.start({ pendingBytesMax: 1_000 });
  const { server } = member;
  await server.backend.commit();
  let open = (): void => {};
  image.gate = new Promise((resolve) => open = resolve);
  const puts: PromiseLike<unknown>[] = [];
  while (server.committedIndex - server.appliedIndex <= 5_000) {
    assert.ok(puts.length < 6_000, "as many as come are taken");
    for (let i = 0; i < 100; i += 1) puts.push(member.put(`key ${puts.length}`, "value"));
    for (let i = 0; i < 10; i += 1) await turn();
  }
  const isRefusal = (error: unknown): boolean =>
    error instanceof EtcdError && error.code === "tooManyRequests";
  assert.throws(() => member.put("one more", "value"), isRefusal);
  image.gate = undefined;
  open();
  await Promise.all(puts);
  await member.put("one more", "value");
  await server.stop();
});

test("EtcdServer.stop() ends while entries wait for a slow disk", async () => {
  const image = new StoreImage();
  const member = new CrashMember({ files: new CrashFiles(), image });
  await member.start({ pendingBytesMax: VALUE_BYTES });
  await member.server.backend.commit();
  let open = (): void => {};
  image.gate = new Promise((resolve) => open = resolve);
  const outcomes = Array.from(
    { length: PUTS },
    (_, i) =>
      Promise.resolve(member.put(`key ${i}`, "x".repeat(VALUE_BYTES))).then(
        () => "done",
        (error: Error) => error.message,
      ),
  );
  while (member.server.committedIndex === member.server.appliedIndex) await turn();
  const stopped = member.server.stop();
  const told = await Promise.all(outcomes);
  assert.ok(told.includes("stopped") && told.includes("done"), told.join());
  open();
  await stopped;
});

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
