import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { startEtcd, type StartEtcdOptions } from "../../mod.ts";
import { utf8 } from "../../src/base/bytes.ts";
import type { Etcd } from "../../src/embed/etcd.ts";
import { bytesText } from "../../src/embed/start.ts";
import { Maintenance } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import type { Log, LogFields } from "../../src/ports/log.ts";
import { type ClientTlsOptions, type SocketAddress, SocketError } from "../../src/ports/sockets.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { WAIT_MS_MAX, within } from "../harness/deadline.ts";
import { freePort } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { pem, Received } from "../runtime/support.ts";

const { sockets } = await loadRuntime();
const fixture = (name: string): string =>
  fileURLToPath(new URL(`../runtime/testdata/${name}`, import.meta.url));

interface Line extends LogFields {
  readonly level: string;
  readonly msg: string;
}

function collectingLog(): { readonly log: Log; readonly lines: Line[] } {
  const lines: Line[] = [];
  const at = (level: string) => (msg: string, fields: LogFields = {}) =>
    void lines.push({ ...fields, level, msg });
  const log = {
    enabled: () => true,
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
  };
  return { log, lines };
}

async function withEtcd(
  options: StartEtcdOptions,
  body: (etcd: Etcd, directory: string) => Promise<void>,
): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "etcd-start-"));
  try {
    const etcd = await startEtcd({
      dataDir: join(directory, "data"),
      listenClientUrls: ["http://127.0.0.1:0"],
      listenPeerUrls: ["http://127.0.0.1:0"],
      ...options,
    });
    try {
      await within("the test's requests", body(etcd, directory));
    } finally {
      await within("the member to close", etcd.close());
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function portOf(etcd: Etcd): SocketAddress {
  return { kind: "tcp", host: "127.0.0.1", port: Number(etcd.clientAddresses[0]!.split(":").at(-1)) };
}

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** One HTTP/1.1 request on a connection of its own; undefined when the server closed it without an answer. */
async function ask(
  address: SocketAddress,
  path: string,
  options: { readonly tls?: ClientTlsOptions; readonly host?: string; readonly method?: string } = {},
): Promise<Answer | undefined> {
  const { tls, host = "localhost", method = "GET" } = options;
  const received = new Received();
  try {
    const stream = await sockets.connect(address, {
      ...(tls && { tls }),
      alpn: ["http/1.1"],
      timeoutMs: WAIT_MS_MAX,
    });
    stream.handler = received;
    stream.write(utf8(`${method} ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`));
    await received.until("answer", () => received.closed || received.ended);
    stream.destroy();
    await received.until("close", () => received.closed);
  } catch (error) {
    if (!(error instanceof SocketError)) throw error;
    return undefined;
  }
  const [head, body] = received.text.split("\r\n\r\n", 2);
  const status = /^HTTP\/1\.1 (\d+)/.exec(head ?? "")?.[1];
  return status === undefined ? undefined : { status: Number(status), head: head!, body: body ?? "" };
}

test("startEtcd makes a member with etcd's defaults in a private directory, and logs as etcd does", async () => {
  const { log, lines } = collectingLog();
  await withEtcd({ name: "m1", log }, async (etcd, directory) => {
    assert.equal(statSync(join(directory, "data")).mode & 0o777, 0o700);
    assert.equal((await ask(portOf(etcd), "/health"))?.status, 200);
    const start = lines.find(({ msg }) => msg === "starting an etcd server")!;
    assert.equal(start["initial-cluster"], "m1=http://localhost:2380");
    assert.equal(start["quota-backend-bytes"], 2147483648);
    assert.equal(start["snapshot-catchup-entries"], 5000);
    assert.equal(start["election-timeout"], "1s");
    assert.equal(start["member-initialized"], false);
  });
  const said = (msg: string) => assert.ok(lines.some((line) => line.msg === msg), msg);
  for (
    const msg of [
      "Initialize and start etcd server",
      "serving peer traffic",
      "ready to serve client requests",
      "now serving peer/client/metrics",
      "closing etcd server",
      "closed etcd server",
    ]
  ) said(msg);
  assert.deepEqual(lines.filter(({ level }) => level === "error"), []);
});

test("startEtcd refuses options that mean nothing, or cannot be served", async () => {
  const refused: readonly (readonly [StartEtcdOptions, RegExp])[] = [
    [{ dataDirectory: "x" } as StartEtcdOptions, /unknown option dataDirectory/],
    [{ logLevel: "debug" } as StartEtcdOptions, /unknown option logLevel/],
    [{ grpcKeepaliveTimeout: 5 }, /invalid value 5 for grpcKeepaliveTimeout/],
    [{ listenClientUrls: ["localhost"] }, /invalid value .* URL scheme/],
    [{ electionTimeout: 1 }, /--election-timeout\[1ms\]/],
    [{ initialClusterState: "existing" }, /cannot join/],
    [{ autoCompactionRetention: "-1" }, /error parsing CompactionRetention/],
    [{ listenClientUrls: ["https://127.0.0.1:0"] }, /TLS key\/cert/],
  ];
  for (const [options, message] of refused) {
    const dataDir = join(tmpdir(), "etcd-never-made");
    await assert.rejects(startEtcd({ dataDir, ...options }), (error: Error) => {
      assert.equal(error.name, "ConfigError");
      assert.match(error.message, message);
      return true;
    });
    assert.ok(!existsSync(dataDir), String(message));
  }
});

test("a second member is refused on the same data directory or port, and leaves no directory behind", async () => {
  await withEtcd({}, async (etcd, directory) => {
    const free = { listenClientUrls: ["http://127.0.0.1:0"], listenPeerUrls: ["http://127.0.0.1:0"] };
    await assert.rejects(startEtcd({ ...free, dataDir: join(directory, "data") }), {
      message: /data directory .* is in use by another process/,
    });
    const dataDir = join(directory, "second");
    await assert.rejects(
      startEtcd({ ...free, dataDir, listenClientUrls: [`http://${etcd.clientAddresses[0]}`] }),
      {
        name: "SocketError",
        message: /^listen tcp 127\.0\.0\.1:\d+: bind: address already in use$/,
      },
    );
    assert.ok(!existsSync(dataDir));
    assert.equal((await ask(portOf(etcd), "/health"))?.status, 200);
  });
});

test("the peer port serves /version and /members, and nothing else", async () => {
  const port = await freePort();
  const peer: SocketAddress = { kind: "tcp", host: "127.0.0.1", port };
  await withEtcd({ listenPeerUrls: [`http://127.0.0.1:${port}`] }, async () => {
    assert.equal(
      (await ask(peer, "/version"))?.body,
      '{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}',
    );
    const members = await ask(peer, "/members");
    // Ids that etcd gives to a member and a cluster of these names.
    assert.match(
      members!.body,
      /^\[\{"id":10276657743932975437,"peerURLs":\["http:\/\/localhost:2380"\],"name":"default"/,
    );
    assert.match(members!.head, /x-etcd-cluster-id: cdf818194e3a8c32/i);
    assert.equal((await ask(peer, "/members", { method: "POST" }))?.status, 405);
    for (const path of ["/", "/health", "/metrics", "/v3/kv/range", "/raft"]) {
      assert.equal((await ask(peer, path))?.status, 404, path);
    }
  });
});

test("a metrics port serves metrics and health, and nothing else", async () => {
  const port = await freePort();
  const metrics: SocketAddress = { kind: "tcp", host: "127.0.0.1", port };
  await withEtcd({ listenMetricsUrls: [`http://127.0.0.1:${port}`] }, async () => {
    for (const path of ["/metrics", "/health", "/livez", "/readyz", "/readyz/serializable_read?verbose"]) {
      assert.equal((await ask(metrics, path))?.status, 200, path);
    }
    for (const path of ["/version", "/", "/etcdserverpb.KV/Range", "/metricsx"]) {
      assert.equal((await ask(metrics, path))?.status, 404, path);
    }
  });
});

test("with URLs for HTTP clients, those for all clients serve gRPC alone", async () => {
  const port = await freePort();
  const http: SocketAddress = { kind: "tcp", host: "127.0.0.1", port };
  await withEtcd({ listenClientHttpUrls: [`http://127.0.0.1:${port}`] }, async (etcd) => {
    for (const path of ["/health", "/version", "/metrics"]) {
      assert.equal((await ask(http, path))?.status, 200, path);
      assert.equal(await ask(portOf(etcd), path), undefined, path);
    }
    const client = await GrpcClient.connect(Number(etcd.clientAddresses[0]!.split(":").at(-1)));
    assert.equal((await client.call(Maintenance.method.status, {})).status, "OK");
    await client.close();
  });
});

test("startEtcd says which settings are not taken as they are", async () => {
  const { log, lines } = collectingLog();
  const options = {
    log,
    clientCertAuth: true,
    peerClientCertAuth: true,
    watchProgressNotifyInterval: "1ms",
    quotaBackendBytes: 9_000_000_000,
    maxRequestBytes: 20_000_000,
  };
  await withEtcd(options, async () => {});
  const warnings = lines.filter(({ level }) => level === "warn");
  const said = (part: string): LogFields => {
    const { msg: _, level: __, ...fields } = warnings.find(({ msg }) => msg.includes(part)) ?? {};
    return fields;
  };
  assert.deepEqual(said("while --client-cert-auth is enabled"), { "client-url": "http://127.0.0.1:0" });
  assert.deepEqual(said("while --peer-client-cert-auth is enabled"), { "peer-url": "http://127.0.0.1:0" });
  assert.deepEqual(said("adjusting watch progress"), { "min-watch-progress-notify-interval": "100ms" });
  assert.deepEqual(said("quota exceeds the maximum value"), {
    "quota-name": "v3-applier",
    "quota-size-bytes": 9_000_000_000,
    "quota-size": "9.0 GB",
    "quota-maximum-size-bytes": 8_589_934_592,
    "quota-maximum-size": "8.6 GB",
  });
  assert.deepEqual(said("exceeded recommended request limit"), {
    "max-request-bytes": 20_000_000,
    "max-request-size": "20 MB",
    "recommended-request-bytes": 10_485_760,
    "recommended-request-size": "10 MB",
  });
});

test("bytesText prints sizes as etcd does", () => {
  const texts = [
    0,
    9,
    10,
    999,
    1_000,
    9_949,
    9_950,
    10_485_760,
    11_500_000,
    20_000_000,
    2 ** 31,
    9e9,
    8 * 2 ** 30,
  ].map(bytesText);
  assert.deepEqual(texts, [
    "0 B",
    "9 B",
    "10 B",
    "999 B",
    "1.0 kB",
    "9.9 kB",
    "10 kB",
    "10 MB",
    "12 MB",
    "20 MB",
    "2.1 GB",
    "9.0 GB",
    "8.6 GB",
  ]);
});

test("a unix socket serves clients", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-unix-"));
  const path = join(directory, "client.sock");
  await withEtcd({ listenClientUrls: [`unix://${path}`] }, async () => {
    assert.equal((await ask({ kind: "unix", path }, "/health"))?.status, 200);
  });
  rmSync(directory, { recursive: true });
});

test("the host whitelist holds on plain HTTP", async () => {
  await withEtcd({ hostWhitelist: ["good.example"] }, async (etcd) => {
    assert.equal((await ask(portOf(etcd), "/health", { host: "good.example:1" }))?.status, 200);
    const refusal = await ask(portOf(etcd), "/health", { host: "evil.example" });
    assert.equal(refusal?.status, 421);
    assert.match(refusal.body, /--host-whitelist "evil\.example"/);
  });
});

test("client TLS: certificates are demanded, checked and renewed from disk; refusals are logged", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-tls-"));
  const file = (name: string) => join(directory, name);
  for (const name of ["server.pem", "server.key.pem"]) copyFileSync(fixture(name), file(name));
  const { log, lines } = collectingLog();
  const client = (name: string): ClientTlsOptions => ({
    ca: pem("ca.pem"),
    cert: pem(`${name}.pem`),
    key: pem(`${name}.key.pem`),
    serverName: "localhost",
  });
  await withEtcd({
    listenClientUrls: ["https://127.0.0.1:0"],
    certFile: file("server.pem"),
    keyFile: file("server.key.pem"),
    trustedCaFile: fixture("ca.pem"),
    clientCertAuth: true,
    clientCrlFile: fixture("revoked.crl.pem"),
    log,
  }, async (etcd) => {
    const health = (tls: ClientTlsOptions) => ask(portOf(etcd), "/health", { tls });
    assert.equal((await health(client("client")))?.status, 200);
    assert.equal(await health({ ca: pem("ca.pem"), serverName: "localhost" }), undefined);
    assert.equal(await health(client("revoked")), undefined);
    assert.equal(await health(client("stranger")), undefined);
    assert.equal(await ask(portOf(etcd), "/health"), undefined, "plain text on a TLS port");
    const serialOf = async () => {
      const stream = await sockets.connect(portOf(etcd), {
        tls: client("client"),
        alpn: ["h2"],
        timeoutMs: WAIT_MS_MAX,
      });
      const serial = stream.peer.tls!.certificate!.serialNumber;
      const received = new Received();
      stream.handler = received;
      stream.destroy();
      await received.until("close", () => received.closed);
      return serial;
    };
    const before = await serialOf();
    copyFileSync(fixture("renewed.pem"), file("server.pem"));
    copyFileSync(fixture("renewed.key.pem"), file("server.key.pem"));
    assert.notEqual(await serialOf(), before);
  });
  const refusals = lines.filter(({ msg }) => msg === "rejected connection on client endpoint");
  assert.ok(refusals.length >= 3, JSON.stringify(refusals));
  for (const line of refusals) assert.equal(line.level, "warn");
  rmSync(directory, { recursive: true });
});

test("client TLS: with a CA for clients a certificate is demanded, whether --client-cert-auth is set or not", async () => {
  const ca = { ca: pem("ca.pem"), serverName: "localhost" };
  const withCertificate = { ...ca, cert: pem("client.pem"), key: pem("client.key.pem") };
  for (const clientCertAuth of [false, true]) {
    await withEtcd({
      listenClientUrls: ["https://127.0.0.1:0"],
      certFile: fixture("server.pem"),
      keyFile: fixture("server.key.pem"),
      trustedCaFile: fixture("ca.pem"),
      clientCertAuth,
    }, async (etcd) => {
      assert.equal(await ask(portOf(etcd), "/health", { tls: ca }), undefined);
      assert.equal((await ask(portOf(etcd), "/health", { tls: withCertificate }))?.status, 200);
    });
  }
});

test("client TLS: a certificate must be for an allowed host name", async () => {
  const tls: ClientTlsOptions = {
    ca: pem("ca.pem"),
    cert: pem("client.pem"),
    key: pem("client.key.pem"),
    serverName: "localhost",
  };
  await withEtcd({
    listenClientUrls: ["https://127.0.0.1:0"],
    certFile: fixture("server.pem"),
    keyFile: fixture("server.key.pem"),
    trustedCaFile: fixture("ca.pem"),
    clientCertAuth: true,
    clientCertAllowedHostname: ["nobody.example"],
  }, async (etcd) => {
    assert.equal(await ask(portOf(etcd), "/health", { tls }), undefined);
  });
});

test("peer TLS: a peer must have a certificate with an allowed common name", async () => {
  const port = await freePort();
  const peer: SocketAddress = { kind: "tcp", host: "127.0.0.1", port };
  const client: ClientTlsOptions = {
    ca: pem("ca.pem"),
    cert: pem("client.pem"),
    key: pem("client.key.pem"),
    serverName: "localhost",
  };
  for (const [commonName, status] of [["alice", 200], ["bob", undefined]] as const) {
    await withEtcd({
      listenPeerUrls: [`https://127.0.0.1:${port}`],
      initialAdvertisePeerUrls: [`https://127.0.0.1:${port}`],
      initialCluster: `default=https://127.0.0.1:${port}`,
      peerCertFile: fixture("server.pem"),
      peerKeyFile: fixture("server.key.pem"),
      peerTrustedCaFile: fixture("ca.pem"),
      peerClientCertAuth: true,
      peerCertAllowedCn: [commonName],
    }, async () => {
      assert.equal((await ask(peer, "/version", { tls: client }))?.status, status, commonName);
      assert.equal(
        await ask(peer, "/version", { tls: { ca: pem("ca.pem"), serverName: "localhost" } }),
        undefined,
      );
      assert.equal(await ask(peer, "/version"), undefined);
    });
  }
});

test("startEtcd names the file when a certificate cannot be used", async () => {
  const directory = mkdtempSync(join(tmpdir(), "etcd-tls-"));
  const options = {
    dataDir: join(directory, "data"),
    listenClientUrls: ["https://127.0.0.1:0"],
    listenPeerUrls: ["http://127.0.0.1:0"],
    certFile: fixture("server.pem"),
  };
  await assert.rejects(startEtcd({ ...options, keyFile: join(directory, "missing.pem") }), {
    name: "FileError",
    message: /missing\.pem/,
  });
  await assert.rejects(
    startEtcd({ ...options, keyFile: fixture("client.key.pem") }),
    /private key does not match/,
  );
  rmSync(directory, { recursive: true });
});
