import assert from "node:assert/strict";
import { test } from "node:test";
import { HostWhitelist } from "../../src/gateway/host_whitelist.ts";

function refused(hosts: readonly string[], url: string, secure = false): boolean {
  return new HostWhitelist(hosts).refusal(new Request(url), secure) !== undefined;
}

test("HostWhitelist lets every host pass when it is empty or has *", () => {
  assert.ok(!refused([], "http://evil.example/"));
  assert.ok(!refused(["*"], "http://evil.example/"));
});

test("HostWhitelist compares the name without port and brackets", () => {
  assert.ok(!refused(["localhost", "::1"], "http://localhost:2379/v3/kv/put"));
  assert.ok(!refused(["localhost", "::1"], "http://[::1]:2379/"));
  assert.ok(refused(["localhost"], "http://evil.example:2379/"));
  assert.ok(refused(["localhost"], "http://localhost.evil.example/"));
});

test("HostWhitelist does not look at requests that came over TLS", () => {
  assert.ok(!refused(["localhost"], "https://evil.example/", true));
});

test("HostWhitelist says what to do, with status 421", async () => {
  const response = new HostWhitelist(["localhost"]).refusal(new Request("http://evil.example/"), false)!;
  assert.equal(response.status, 421);
  assert.match(await response.text(), /etcd --host-whitelist "evil\.example"\n/);
});
