import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { cipherList, isValidFor, type TlsFiles, tlsSource, tlsVersion } from "../../src/embed/tls_files.ts";
import type { Files } from "../../src/ports/files.ts";
import type { PeerCertificate } from "../../src/ports/sockets.ts";

function certificate(names: Partial<PeerCertificate>): PeerCertificate {
  return { commonName: "", dnsNames: [], ipAddresses: [], serialNumber: "1", ...names };
}

test("isValidFor follows RFC 6125", () => {
  const one = certificate({
    commonName: "cn.example",
    dnsNames: ["a.example", "*.b.example"],
    ipAddresses: ["10.0.0.1"],
  });
  for (const name of ["a.example", "A.Example.", "x.b.example", "10.0.0.1"]) {
    assert.ok(isValidFor(one, name), name);
  }
  for (const name of ["b.example", "x.y.b.example", "cn.example", "10.0.0.2", "example", ""]) {
    assert.ok(!isValidFor(one, name), name);
  }
});

const tls: TlsFiles = {
  certFile: "cert",
  keyFile: "key",
  trustedCaFile: "ca",
  crlFile: "",
  allowedHostnames: [],
  allowedCommonNames: [],
  minVersion: "TLSv1.2",
  maxVersion: undefined,
  ciphers: "",
};

function disk(content: Record<string, string>): Files {
  return { read: (path: string) => utf8(content[path]!) } as unknown as Files;
}

test("tlsSource returns the same options until a file changes", () => {
  const content: Record<string, string> = { cert: "c1", key: "k1", ca: "a1" };
  const source = tlsSource(tls, disk(content));
  const first = source();
  assert.equal(source(), first);
  content["cert"] = "c2";
  const second = source();
  assert.notEqual(second, first);
  assert.deepEqual([second.cert, second.key, second.clientCa], ["c2", "k1", "a1"]);
  assert.equal(source(), second);
  assert.equal(second.checkClient, undefined);
});

test("tlsSource gives a revocation list as text or as DER", () => {
  const pem = tlsSource(
    { ...tls, crlFile: "crl" },
    disk({ cert: "", key: "", ca: "", crl: "-----BEGIN X509 CRL" }),
  );
  assert.equal(pem().crl, "-----BEGIN X509 CRL");
  const der = tlsSource({ ...tls, crlFile: "crl" }, disk({ cert: "", key: "", ca: "", crl: "0abc" }));
  assert.deepEqual(der().crl, utf8("0abc"));
});

test("tlsSource refuses clients whose certificate names none of the allowed hosts or common names", () => {
  const content = disk({ cert: "", key: "", ca: "" });
  const byHost = tlsSource({ ...tls, allowedHostnames: ["a.example", "b.example"] }, content)().checkClient!;
  assert.equal(byHost(certificate({ dnsNames: ["b.example"] }), ""), undefined);
  assert.equal(
    byHost(certificate({ dnsNames: ["c.example"] }), ""),
    "client certificate authentication failed",
  );
  const byName = tlsSource({ ...tls, allowedCommonNames: ["etcd"] }, content)().checkClient!;
  assert.equal(byName(certificate({ commonName: "etcd" }), ""), undefined);
  assert.notEqual(byName(certificate({ commonName: "other", dnsNames: ["etcd"] }), ""), undefined);
});

test("cipherList and tlsVersion know Go's names", () => {
  assert.equal(
    cipherList([
      "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
      "TLS_AES_128_GCM_SHA256",
      "TLS_RSA_WITH_AES_256_CBC_SHA",
    ]),
    "ECDHE-RSA-AES128-GCM-SHA256:AES256-SHA",
  );
  assert.throws(() => cipherList(["toString"]), /unexpected TLS cipher suite "toString"/);
  assert.equal(tlsVersion("TLS1.3"), "TLSv1.3");
  assert.equal(tlsVersion(""), undefined);
  assert.throws(() => tlsVersion("TLS1.1"), /unexpected TLS version "TLS1.1"/);
});
