import assert from "node:assert/strict";
import { test } from "node:test";
import type { EtcdError } from "../../src/base/errors.ts";
import type { CallContext } from "../../src/grpc/method.ts";
import type { EtcdServer } from "../../src/server/server.ts";
import { admit, ClientRequests } from "../../src/services/admission.ts";

const serverWith = (leader: bigint) => ({ leader }) as unknown as EtcdServer;
const contextWith = (metadata: Readonly<Record<string, string>>) =>
  ({ metadata: (name: string) => metadata[name] }) as unknown as CallContext;

function refusal(leader: bigint, metadata: Readonly<Record<string, string>>): string | undefined {
  try {
    admit(serverWith(leader), new ClientRequests(), true, contextWith(metadata));
    return undefined;
  } catch (error) {
    return (error as EtcdError).code;
  }
}

test("admit() refuses who requires a leader while there is none", () => {
  assert.equal(refusal(0n, { hasleader: "true" }), "noLeader");
  assert.equal(refusal(0n, { hasleader: "false" }), undefined);
  assert.equal(refusal(0n, {}), undefined);
  assert.equal(refusal(1n, { hasleader: "true" }), undefined);
});

test("admit() refuses a client-api-version that is no UTF-8", () => {
  assert.equal(refusal(1n, { "client-api-version": "3.7" }), undefined);
  assert.equal(refusal(1n, { "client-api-version": "\xc3\xa9" }), undefined);
  assert.equal(refusal(1n, { "client-api-version": "\xc3" }), "invalidClientApiVersion");
  assert.equal(refusal(1n, { "client-api-version": "\xff\xfe" }), "invalidClientApiVersion");
});

test("ClientRequests counts clients that make up versions as others, so that its labels stay few", () => {
  const requests = new ClientRequests();
  for (let i = 0; i < 100_000; i += 1) {
    admit(serverWith(1n), requests, i % 2 === 0, contextWith({ "client-api-version": `made up ${i}` }));
  }
  const counts = requests.list();
  assert.ok(counts.length <= 2 * 65, String(counts.length));
  assert.equal(counts.reduce((sum, { count }) => sum + count, 0), 100_000);
  const others = counts.filter(({ version }) => version === "other");
  assert.deepEqual(others.map(({ count }) => count), [49_968, 49_968]);
});
