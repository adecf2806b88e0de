import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8 } from "../../src/base/bytes.ts";
import { SocketError } from "../../src/ports/sockets.ts";
import type { ClientTlsOptions, PeerInfo, ServerTlsOptions, SocketAddress } from "../../src/ports/sockets.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { revokedSerials } from "../../src/runtime/node_compat/revocation_list.ts";
import { eventually, WAIT_MS_MAX, within } from "../harness/deadline.ts";
import { fetchServer } from "../harness/http1.ts";
import { calm, echo, pem, PREFACE, Received, rejections, withDirectory } from "./support.ts";

const { sockets } = await loadRuntime();
const loopback: SocketAddress = { kind: "tcp", host: "127.0.0.1", port: 0 };
const ca = pem("ca.pem");
const server: ServerTlsOptions = { cert: pem("server.pem"), key: pem("server.key.pem") };
const alice: ClientTlsOptions = { ca, cert: pem("client.pem"), key: pem("client.key.pem") };
const mallory: ClientTlsOptions = { ca, cert: pem("revoked.pem"), key: pem("revoked.key.pem") };
const stranger: ClientTlsOptions = { ca, cert: pem("stranger.pem"), key: pem("stranger.key.pem") };

/** Connects, sends the preface and returns what came back; "" when the server closed instead. */
async function exchange(
  address: SocketAddress,
  tls: ClientTlsOptions | undefined,
  alpn: string[],
): Promise<string> {
  const received = new Received();
  try {
    const stream = await sockets.connect(address, {
      ...(tls === undefined ? {} : { tls }),
      alpn,
      timeoutMs: WAIT_MS_MAX,
    });
    stream.handler = received;
    stream.write(utf8(PREFACE));
    await received.until(
      "echo or close",
      () => received.text === PREFACE || received.closed || received.ended,
    );
    stream.destroy();
    await received.until("close", () => received.closed);
  } catch (error) {
    assert.ok(error instanceof SocketError, String(error));
  }
  return received.text;
}

test("ALPN decides between HTTP/2 and HTTP/1.1 on a TLS port", async () => {
  const peers: PeerInfo[] = [];
  const http1 = fetchServer((request, info) =>
    new Response(`${new URL(request.url).protocol} ${info.peer.tls?.alpnProtocol}`)
  );
  const listener = await sockets.listen(loopback, {
    ...calm,
    tls: server,
    onHttp2(stream) {
      peers.push(stream.peer);
      echo(stream);
    },
    onHttp1: (stream) => http1.accept(stream),
  });
  const stream = await sockets.connect(listener.address, {
    tls: { ca },
    alpn: ["h2"],
    timeoutMs: WAIT_MS_MAX,
  });
  assert.equal(stream.peer.tls?.alpnProtocol, "h2");
  assert.deepEqual(stream.peer.tls?.certificate?.commonName, "localhost");
  const received = new Received();
  stream.handler = received;
  stream.write(utf8(PREFACE));
  await received.until("the echo", () => received.text === PREFACE);
  stream.end();
  await received.until("the close", () => received.closed);
  assert.equal(received.error, undefined);
  assert.equal(peers[0]?.tls?.alpnProtocol, "h2");
  assert.equal(peers[0]?.tls?.clientCommonName, "");
  assert.match(peers[0]?.remoteAddress ?? "", /^127\.0\.0\.1:\d+$/);
  // HTTP/1.1 by ALPN, and by its first bytes when the client offers no protocol.
  for (const alpn of [["http/1.1"], []]) {
    const http = await sockets.connect(listener.address, { tls: { ca }, alpn, timeoutMs: WAIT_MS_MAX });
    const answer = new Received();
    http.handler = answer;
    http.write(utf8("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
    await answer.until("the response", () => answer.ended);
    assert.match(answer.text, new RegExp(`^HTTP/1.1 200 OK\r\n[^]*https: ${alpn[0] ?? ""}$`));
    http.destroy();
  }
  assert.equal(await exchange(listener.address, { ca }, []), PREFACE, "HTTP/2 without ALPN");
  await listener.close();
  assert.equal(listener.connections, 0);
});

test("one port can serve plain text and TLS", async () => {
  const http1 = fetchServer((request) => new Response(new URL(request.url).protocol));
  const listener = await sockets.listen(loopback, {
    ...calm,
    tls: server,
    allowPlain: true,
    onHttp2: echo,
    onHttp1: (stream) => http1.accept(stream),
  });
  assert.equal(await exchange(listener.address, { ca }, ["h2"]), PREFACE);
  assert.equal(await exchange(listener.address, undefined, []), PREFACE);
  assert.ok(listener.address.kind === "tcp");
  const response = await fetch(`http://127.0.0.1:${listener.address.port}/`, {
    headers: { connection: "close" },
  });
  assert.equal(await response.text(), "http:");
  await eventually("no connection is left", () => listener.connections === 0);
  await listener.close();
});

test("TLS works on a unix socket", async () => {
  await withDirectory(async (directory) => {
    const address: SocketAddress = { kind: "unix", path: `${directory}/s` };
    const listener = await sockets.listen(address, { ...calm, tls: server, onHttp2: echo });
    assert.equal(await exchange(address, { ca, serverName: "localhost" }, ["h2"]), PREFACE);
    await listener.close();
  });
});

test("a client checks the server's certificate unless told not to", async () => {
  const listener = await sockets.listen(loopback, { ...calm, tls: server, onHttp2: echo });
  for (
    const [tls, expected] of [
      [{ ca }, PREFACE],
      [{ ca, serverName: "localhost" }, PREFACE],
      [{ ca, serverName: "other.example" }, ""],
      [{ ca: pem("other_ca.pem") }, ""],
      [{}, ""],
      [{ insecureSkipVerify: true }, PREFACE],
    ] as const
  ) assert.equal(await exchange(listener.address, tls, ["h2"]), expected, JSON.stringify(Object.keys(tls)));
  await assert.rejects(
    sockets.connect(listener.address, { tls: { ca: pem("other_ca.pem") }, timeoutMs: WAIT_MS_MAX }),
    (error) => error instanceof SocketError && error.kind === "tls",
  );
  await listener.close();
});

test("required client certificates are verified, named and held against the revocation list", async () => {
  const { list, onRejected } = rejections();
  const peers: PeerInfo[] = [];
  const listener = await sockets.listen(loopback, {
    ...calm,
    tls: { ...server, clientCa: ca, crl: pem("revoked.crl.pem") },
    onRejected,
    onHttp2(stream) {
      peers.push(stream.peer);
      echo(stream);
    },
  });
  assert.equal(await exchange(listener.address, alice, ["h2"]), PREFACE);
  assert.equal(peers[0]?.tls?.clientCommonName, "alice");
  assert.deepEqual(peers[0]?.tls?.certificate, {
    commonName: "alice",
    dnsNames: ["alice.example"],
    ipAddresses: ["127.0.0.1"],
    serialNumber: "2001",
  });
  for (const [index, refused] of [{ ca }, stranger, mallory].entries()) {
    assert.equal(await exchange(listener.address, refused, ["h2"]), "");
    await eventually(`rejection ${index}`, () => list.length === index + 1);
    assert.equal(list[index]?.reason, "tls");
  }
  assert.equal(list[2]?.message, "transport: certificate serial 2002 revoked");
  assert.equal(peers.length, 1);
  await listener.close();
});

test("a rule for client certificates is asked about those that the CA has signed", async () => {
  const names: (string | undefined)[] = [];
  const listener = await sockets.listen(loopback, {
    ...calm,
    tls: {
      ...server,
      clientCa: ca,
      checkClient: (certificate) => certificate.commonName === "mallory" ? "not this one" : undefined,
    },
    onHttp2(stream) {
      names.push(stream.peer.tls?.clientCommonName);
      echo(stream);
    },
  });
  assert.equal(await exchange(listener.address, { ca }, ["h2"]), "");
  assert.equal(await exchange(listener.address, alice, ["h2"]), PREFACE);
  assert.equal(await exchange(listener.address, stranger, ["h2"]), "");
  assert.equal(await exchange(listener.address, mallory, ["h2"]), "");
  assert.deepEqual(names, ["alice"]);
  await listener.close();
});

test("TLS versions below the minimum or above the maximum are refused", async () => {
  for (
    const [versions, accepts12] of [[{ minVersion: "TLSv1.3" }, false], [
      { maxVersion: "TLSv1.2" },
      true,
    ]] as const
  ) {
    const listener = await sockets.listen(loopback, {
      ...calm,
      tls: { ...server, ...versions },
      onHttp2: echo,
    });
    assert.equal(await exchange(listener.address, { ca }, ["h2"]), PREFACE);
    assert.equal(await handshakes(listener.address, "TLSv1.2"), accepts12);
    assert.equal(await handshakes(listener.address, "TLSv1.3"), !accepts12);
    await listener.close();
  }
});

test("new handshakes use a renewed certificate while old connections go on", async () => {
  let current = server;
  const listener = await sockets.listen(loopback, { ...calm, tls: () => current, onHttp2: echo });
  const stream = await sockets.connect(listener.address, {
    tls: { ca },
    alpn: ["h2"],
    timeoutMs: WAIT_MS_MAX,
  });
  assert.equal(stream.peer.tls?.certificate?.serialNumber, "1001");
  const received = new Received();
  stream.handler = received;
  current = { cert: pem("renewed.pem"), key: pem("renewed.key.pem") };
  const second = await sockets.connect(listener.address, {
    tls: { ca },
    alpn: ["h2"],
    timeoutMs: WAIT_MS_MAX,
  });
  assert.equal(second.peer.tls?.certificate?.serialNumber, "1002");
  stream.write(utf8("still here"));
  await received.until("the echo", () => received.text === "still here");
  stream.destroy();
  second.destroy();
  await listener.close();
});

test("a certificate that cannot be used is an error at once, and later one rejection per handshake", async () => {
  const bad: ServerTlsOptions = { cert: "no certificate", key: "no key" };
  await assert.rejects(
    sockets.listen(loopback, { ...calm, tls: bad, onHttp2: echo }),
    (error) => error instanceof SocketError && error.kind === "tls",
  );
  const { list, onRejected } = rejections();
  let current = server;
  const listener = await sockets.listen(loopback, { ...calm, tls: () => current, onHttp2: echo, onRejected });
  current = bad;
  assert.equal(await exchange(listener.address, { ca }, ["h2"]), "");
  await eventually("the rejection", () => list.length === 1);
  current = server;
  assert.equal(await exchange(listener.address, { ca }, ["h2"]), PREFACE);
  await listener.close();
});

test("a handshake that is malformed or broken off is reported once", async () => {
  const { list, onRejected } = rejections();
  const listener = await sockets.listen(loopback, { ...calm, tls: server, onHttp2: echo, onRejected });
  const malformed = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  malformed.handler = received;
  malformed.write(utf8("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"));
  await received.until("the close", () => received.closed || received.ended);
  malformed.destroy();
  await eventually("first rejection", () => list.length === 1);
  const brokenOff = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  brokenOff.handler = new Received();
  brokenOff.destroy();
  await eventually("second rejection", () => list.length === 2);
  assert.deepEqual(list.map((rejection) => rejection.reason), ["tls", "tls"]);
  for (const rejection of list) assert.match(rejection.remoteAddress, /^127\.0\.0\.1:\d+$/);
  await eventually("no connection is left", () => listener.connections === 0);
  await listener.close();
});

test("a handshake that is too slow is reported once", async () => {
  const { list, onRejected } = rejections();
  const options = { ...calm, tls: server, onHttp2: echo, handshakeTimeoutMs: 200, onRejected };
  const listener = await sockets.listen(loopback, options);
  const slow = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  slow.handler = received;
  await received.until("the close", () => received.closed || received.ended);
  slow.destroy();
  await eventually("no connection is left", () => listener.connections === 0);
  assert.deepEqual(list.map((rejection) => rejection.reason), ["timeout"]);
  assert.match(list[0]!.remoteAddress, /^127\.0\.0\.1:\d+$/);
  await listener.close();
});

test("large transfers arrive whole over TLS, and free memory may be reused", async () => {
  const chunkBytes = 10_000;
  const chunks = 1000;
  const arrived = new Received();
  const listener = await sockets.listen(loopback, {
    ...calm,
    tls: server,
    onRaw(stream) {
      stream.handler = arrived;
    },
  });
  const stream = await sockets.connect(listener.address, { tls: { ca }, timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  let memory = new Uint8Array(chunkBytes);
  let held = 0;
  for (let i = 0; i < chunks; i += 1) {
    memory.fill(i);
    if (stream.write(memory) === "free") memory.fill(0xee);
    else {
      memory = new Uint8Array(chunkBytes);
      held += 1;
    }
    if (i % 100 === 99) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  if (held > 0) await received.until("the drain", () => stream.queuedBytes === 0);
  stream.end();
  await arrived.until("all bytes", () => arrived.length === chunkBytes * chunks);
  const all = arrived.bytes;
  for (let i = 0; i < all.length; i += 127) {
    assert.equal(all[i], Math.floor(i / chunkBytes) % 256, `byte ${i}`);
  }
  await listener.close();
});

test("revokedSerials() reads PEM and DER, and refuses anything else", () => {
  const list = pem("revoked.crl.pem");
  assert.deepEqual([...revokedSerials(list)], ["2002"]);
  const der = Uint8Array.from(atob(list.split("\n").slice(1, -2).join("")), (char) => char.charCodeAt(0));
  assert.deepEqual([...revokedSerials(der)], ["2002"]);
  const malformed = (error: unknown): boolean => error instanceof SocketError && error.kind === "tls";
  // Cut anywhere, or with any byte of its frame changed, it must not be taken for a shorter list.
  for (let length = 0; length < der.length; length += 1) {
    assert.throws(() => revokedSerials(der.subarray(0, length)), malformed, `cut at ${length}`);
  }
  for (const text of ["", "-----BEGIN X509 CRL-----\n!!\n-----END X509 CRL-----\n", ca]) {
    assert.throws(() => revokedSerials(text), malformed);
  }
  for (let at = 0; at < der.length; at += 1) {
    const changed = der.slice();
    changed[at]! ^= 0xff;
    try {
      revokedSerials(changed);
    } catch (error) {
      assert.ok(malformed(error), `byte ${at}: ${error}`);
    }
  }
});

test("a connection stands only with a configured cipher suite of TLS 1.2", async () => {
  const suites = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"];
  const stood: string[] = [];
  for (const configured of suites) {
    const tls: ServerTlsOptions = { ...server, ciphers: configured, maxVersion: "TLSv1.2" };
    const listener = await sockets.listen(loopback, { ...calm, tls, onHttp2: echo });
    // Deno's client and server choose as they like: then the connection must not stand.
    for (const offered of [...suites, suites.join(":")]) {
      const negotiated = await negotiatedSuite(listener.address, "TLSv1.2", offered);
      if (negotiated === undefined) continue;
      assert.equal(negotiated, configured);
      stood.push(negotiated);
    }
    await listener.close();
  }
  assert.ok(stood.length > 0);
});

async function handshakes(address: SocketAddress, version: "TLSv1.2" | "TLSv1.3"): Promise<boolean> {
  return await negotiatedSuite(address, version) !== undefined;
}

/** The suite with which a client gets through that speaks only this version; undefined when it does not. */
async function negotiatedSuite(
  address: SocketAddress,
  version: "TLSv1.2" | "TLSv1.3",
  ciphers?: string,
): Promise<string | undefined> {
  const { connect } = await import("node:tls");
  assert.ok(address.kind === "tcp");
  const { host, port } = address;
  const negotiated = new Promise<string | undefined>((resolve) => {
    const socket = connect({
      host,
      port,
      ca,
      minVersion: version,
      maxVersion: version,
      ...(ciphers === undefined ? {} : { ciphers }),
      ALPNProtocols: ["h2"],
    });
    socket.on("secureConnect", () => socket.write(PREFACE));
    socket.on("data", () => {
      resolve(socket.getCipher().name);
      socket.destroy();
    });
    socket.on("close", () => resolve(undefined));
    socket.on("error", () => {
      socket.destroy();
      resolve(undefined);
    });
  });
  return await within(`a handshake by ${version}`, negotiated);
}
