import assert from "node:assert/strict";
import { test } from "node:test";
import { hostOf, isIpAddress, parseMemberUrls, parseUrls } from "../../src/embed/urls.ts";
import { parseListenUrl } from "../../src/embed/listen_url.ts";

test("parseUrls sorts, drops doubles and takes spaces around a URL", () => {
  assert.deepEqual(parseUrls("http://b:2, http://a:1,http://b:2"), ["http://a:1", "http://b:2"]);
  assert.deepEqual(parseUrls("HTTPS://[::1]:2379"), ["https://[::1]:2379"]);
  assert.deepEqual(parseUrls("unix://name:1,unixs:///run/etcd.sock"), [
    "unix://name:1",
    "unixs:///run/etcd.sock",
  ]);
});

test("parseUrls refuses what etcd refuses", () => {
  const refused: readonly (readonly [string, RegExp])[] = [
    ["", /URL scheme must be http, https, unix, or unixs: $/],
    ["localhost:2379", /URL scheme must be .*: localhost:2379$/],
    ["127.0.0.1:2379", /first path segment in URL cannot contain colon$/],
    [":2379", /missing protocol scheme$/],
    ["http://localhost", /does not have the form "host:port": http:\/\/localhost$/],
    ["http://localhost:", /does not have the form "host:port"/],
    ["http://::1:2379", /does not have the form "host:port"/],
    ["http:localhost:1", /does not have the form "host:port"/],
    ["http://a:b", /invalid port ":b" after host$/],
    ["http://localhost:1/", /must not contain a path/],
    ["http://localhost:1?x", /must not contain a path/],
    ["unix://", /must name its file/],
    ["http://a:1,", /URL scheme must be/],
  ];
  for (const [text, message] of refused) assert.throws(() => parseUrls(text), message, text);
});

test("hostOf and parseListenUrl read what parseUrls returns", () => {
  for (
    const [url, host] of [["http://localhost:1", "localhost"], ["https://[::1]:2", "::1"], ["http://:1", ""]]
  ) {
    assert.equal(hostOf(parseUrls(url!)[0]!), host);
  }
  assert.equal(hostOf("unix://a"), undefined);
  assert.deepEqual(parseListenUrl("https://[::1]:2"), {
    address: { kind: "tcp", host: "::1", port: 2 },
    secure: true,
  });
  assert.deepEqual(parseListenUrl("unix:///run/x:1"), {
    address: { kind: "unix", path: "/run/x:1" },
    secure: false,
  });
});

test("isIpAddress takes what Go's net.ParseIP takes", () => {
  for (const host of ["127.0.0.1", "0.0.0.0", "255.255.255.255", "::", "::1", "fe80::1", "::ffff:1.2.3.4"]) {
    assert.ok(isIpAddress(host), host);
  }
  for (
    const host of [
      "",
      "localhost",
      "1.2.3",
      "1.2.3.4.5",
      "256.0.0.1",
      "01.2.3.4",
      "1.2.3.4.",
      "fe80::1%eth0",
      "1::2::3",
    ]
  ) {
    assert.ok(!isIpAddress(host), host);
  }
});

test("parseMemberUrls gathers the URLs of a name", () => {
  assert.deepEqual(
    [...parseMemberUrls("a=http://x:2,b=http://y:1,,a=http://x:1")],
    [["a", ["http://x:1", "http://x:2"]], ["b", ["http://y:1"]]],
  );
  assert.deepEqual([...parseMemberUrls("")], []);
  assert.throws(() => parseMemberUrls("http://x:1"), /URL scheme must be/);
});
