import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { equalBytes, utf8 } from "../../src/base/bytes.ts";
import { ConnectionSlots } from "../../src/base/connection_slots.ts";
import { socketsServed } from "../../src/ports/clock.ts";
import { FileError } from "../../src/ports/files.ts";
import { SocketError } from "../../src/ports/sockets.ts";
import type { ByteStream, SocketAddress } from "../../src/ports/sockets.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import { hostPort } from "../../src/runtime/node_compat/byte_stream.ts";
import { eventually, WAIT_MS_MAX } from "../harness/deadline.ts";
import { fetchServer } from "../harness/http1.ts";
import { calm, echo, PREFACE, Received, rejections, withDirectory } from "./support.ts";

const { sockets, files } = await loadRuntime();
const loopback: SocketAddress = { kind: "tcp", host: "127.0.0.1", port: 0 };

test("listen() hands a connection that begins with the HTTP/2 preface to onHttp2, first bytes first", async () => {
  const listener = await sockets.listen(loopback, { ...calm, onHttp2: echo });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  assert.equal(stream.peer.tls, undefined);
  assert.match(stream.peer.localAddress, /^127\.0\.0\.1:\d+$/);
  // In pieces, as a slow network would bring it.
  for (const piece of ["P", "RI * HT", "TP/2.0\r", "\n\r\nSM\r\n\r\nmore"]) {
    stream.write(utf8(piece));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await received.until("the echo", () => received.text === `${PREFACE}more`);
  stream.end();
  await received.until("the end", () => received.closed);
  assert.equal(received.ended, true);
  assert.equal(received.error, undefined);
  await listener.close();
  assert.equal(listener.connections, 0);
});

test("listen() serves HTTP/1.1 and HTTP/2 on one port", async () => {
  const http1 = fetchServer((request, info) =>
    new Response(`${request.method} ${new URL(request.url).pathname} ${info.peer.tls}`)
  );
  const listener = await sockets.listen(loopback, {
    ...calm,
    onHttp2: echo,
    onHttp1: (stream) => http1.accept(stream),
  });
  assert.ok(listener.address.kind === "tcp" && listener.address.port > 0);
  const response = await fetch(`http://127.0.0.1:${listener.address.port}/version`, {
    headers: { connection: "close" },
  });
  assert.equal(await response.text(), "GET /version undefined");
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  stream.write(utf8(PREFACE));
  await received.until("the echo", () => received.text === PREFACE);
  stream.destroy();
  await listener.close();
});

test("listen() works on a unix socket and replaces one that a dead process left", async () => {
  await withDirectory(async (directory) => {
    const address: SocketAddress = { kind: "unix", path: join(directory, "etcd:1") };
    for (let round = 0; round < 2; round += 1) {
      const listener = await sockets.listen(address, { ...calm, onRaw: echo });
      const stream = await sockets.connect(address, { timeoutMs: WAIT_MS_MAX });
      assert.equal(stream.peer.remoteAddress, "@");
      const received = new Received();
      stream.handler = received;
      stream.write(utf8("hello"));
      await received.until("the echo", () => received.text === "hello");
      stream.destroy();
      await listener.close();
      assert.equal(files.exists(address.path), false);
    }
    const plainFile = join(directory, "file");
    files.openWrite(plainFile, { create: true }).close();
    await assert.rejects(
      sockets.listen({ kind: "unix", path: plainFile }, { ...calm, onRaw: echo }),
      (error) => error instanceof SocketError && error.kind === "in use",
    );
    assert.equal(files.exists(plainFile), true, "a file that is no socket stays");
    assert.throws(() => files.openRead(join(directory, "none")), FileError);
  });
});

test("hostPort() writes addresses as Go does", () => {
  assert.equal(hostPort("127.0.0.1", 2379), "127.0.0.1:2379");
  assert.equal(hostPort("::1", 2379), "[::1]:2379");
  assert.equal(hostPort("::ffff:10.0.0.7", 2379), "10.0.0.7:2379");
  assert.equal(hostPort(undefined, undefined), "@");
});

test("listen() says when the port is in use", async () => {
  const first = await sockets.listen(loopback, { ...calm, onRaw: echo });
  await assert.rejects(
    sockets.listen(first.address, { ...calm, onRaw: echo }),
    (error) => error instanceof SocketError && error.kind === "in use",
  );
  await first.close();
});

test("connect() fails with the kind of error", async () => {
  const listener = await sockets.listen(loopback, { ...calm, onRaw: echo });
  const { address } = listener;
  await listener.close();
  await assert.rejects(
    sockets.connect(address, { timeoutMs: WAIT_MS_MAX }),
    (error) => error instanceof SocketError && error.kind === "refused",
  );
  await assert.rejects(
    sockets.connect({ kind: "tcp", host: "name.invalid", port: 1 }, { timeoutMs: WAIT_MS_MAX }),
    (error) => error instanceof SocketError && error.kind === "name not found",
  );
});

test("connect() gives up on a handshake that does not come", async () => {
  const listener = await sockets.listen(loopback, { ...calm, onRaw: (stream) => hush(stream) });
  await assert.rejects(
    sockets.connect(listener.address, { tls: { insecureSkipVerify: true }, timeoutMs: 100 }),
    (error) => error instanceof SocketError && error.kind === "timeout",
  );
  await listener.close();
});

test("write() keeps order and content when the peer reads slowly, and drains once", async () => {
  const chunkBytes = 64 * 1024;
  const chunks = 400;
  const arrived = new Received();
  let server: ByteStream | undefined;
  const listener = await sockets.listen(loopback, {
    ...calm,
    onRaw(stream) {
      server = stream;
      stream.handler = arrived;
      stream.pause();
    },
  });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  await eventually("the connection", () => server !== undefined);
  let memory = new Uint8Array(chunkBytes);
  let held = 0;
  for (let i = 0; i < chunks; i += 1) {
    memory.fill(i);
    if (stream.write(memory) === "free") continue;
    held += 1;
    memory = new Uint8Array(chunkBytes);
  }
  assert.ok(held > 0, "25 MiB fit into no kernel buffer");
  assert.ok(stream.queuedBytes > 0);
  server!.resume();
  await received.until("the drain", () => received.drains > 0);
  assert.equal(stream.queuedBytes, 0);
  stream.end();
  await arrived.until("all bytes", () => arrived.ended);
  assert.equal(arrived.length, chunkBytes * chunks);
  const all = arrived.bytes;
  for (let i = 0; i < all.length; i += 509) {
    assert.equal(all[i], Math.floor(i / chunkBytes) % 256, `byte ${i}`);
  }
  assert.equal(received.drains, 1);
  server!.destroy();
  await listener.close();
});

test("write() lets go of memory that it calls free, and chunks stay as they were", async () => {
  // One buffer is written, overwritten and written again, as fast as it is free.
  const messageBytes = 4096;
  const messages = 5000;
  const arrived = new Received();
  const listener = await sockets.listen(loopback, {
    ...calm,
    onRaw(stream) {
      stream.handler = arrived;
    },
  });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  let memory = new Uint8Array(messageBytes);
  for (let i = 0; i < messages; i += 1) {
    memory.fill(i);
    if (stream.write(memory) === "free") {
      memory.fill(0xee);
    } else {
      memory = new Uint8Array(messageBytes);
    }
    if (i % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  stream.end();
  await arrived.until("all bytes", () => arrived.length === messageBytes * messages);
  const all = arrived.bytes;
  for (let i = 0; i < all.length; i += 127) {
    assert.equal(all[i], Math.floor(i / messageBytes) % 256, `byte ${i}`);
  }
  await listener.close();
});

test("pause() stops the delivery and resume() goes on where it stopped", async () => {
  const bytes = 2_000_000;
  const arrived = new Received();
  let server: ByteStream | undefined;
  let paused = false;
  const listener = await sockets.listen(loopback, {
    ...calm,
    onRaw(stream) {
      server = stream;
      stream.handler = {
        onData(chunk) {
          assert.equal(paused, false, "nothing comes while paused");
          arrived.onData(chunk);
          paused = true;
          stream.pause();
        },
        onDrain() {},
        onEnd: () => arrived.onEnd(),
        onClose: (error) => arrived.onClose(error),
      };
    },
  });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  stream.handler = new Received();
  const sent = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i += 1) sent[i] = (i * 7) >>> 5;
  stream.write(sent);
  stream.end();
  for (let turns = 0; !arrived.ended && turns < 10_000; turns += 1) {
    await new Promise((resolve) => setTimeout(resolve, turns < 3 ? 30 : 0));
    paused = false;
    server?.resume();
  }
  assert.ok(equalBytes(arrived.bytes, sent));
  server!.destroy();
  stream.destroy();
  await listener.close();
});

test("end() closes one direction only", async () => {
  const listener = await sockets.listen(loopback, {
    ...calm,
    onRaw(stream) {
      stream.handler = {
        onData() {},
        onDrain() {},
        onEnd() {
          // The answer comes after the question has ended.
          stream.write(utf8("answer"));
          stream.end();
        },
        onClose() {},
      };
    },
  });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  stream.write(utf8("question"));
  stream.end();
  assert.equal(stream.write(utf8("too late")), "free");
  await received.until("the close", () => received.closed);
  assert.equal(received.text, "answer");
  await listener.close();
});

test("a connection that the peer resets ends in onClose", async () => {
  const atServer = new Received();
  let server: ByteStream | undefined;
  const listener = await sockets.listen(loopback, {
    ...calm,
    onRaw(stream) {
      server = stream;
      stream.handler = atServer;
      stream.pause();
    },
  });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  await eventually("the connection", () => server !== undefined);
  // Unread bytes make the kernel answer the close with a reset.
  for (let i = 0; i < 100; i += 1) stream.write(new Uint8Array(100_000));
  server!.destroy();
  await received.until("the close", () => received.closed);
  assert.equal(stream.write(new Uint8Array(1)), "free");
  stream.destroy();
  await atServer.until("the server's close", () => atServer.closed);
  await listener.close();
});

test("listen() closes connections that are too many or without a handler", async () => {
  const { list, onRejected } = rejections();
  const options = { ...calm, onHttp2: echo, slots: new ConnectionSlots(2), onRejected };
  const listener = await sockets.listen(loopback, options);
  const first = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const firstReceived = new Received();
  first.handler = firstReceived;
  const second = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const secondReceived = new Received();
  second.handler = secondReceived;
  const third = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const thirdReceived = new Received();
  third.handler = thirdReceived;
  await thirdReceived.until("the refusal", () => thirdReceived.closed || thirdReceived.ended);
  third.destroy();
  second.write(utf8("GET / HTTP/1.1\r\n\r\n"));
  await secondReceived.until("the second's end", () => secondReceived.closed || secondReceived.ended);
  second.destroy();
  assert.equal(firstReceived.closed || firstReceived.ended, false);
  first.destroy();
  assert.deepEqual(list.map((rejection) => rejection.reason), ["too many connections", "no handler"]);
  assert.match(list[0]!.remoteAddress, /^127\.0\.0\.1:\d+$/);
  await listener.close();
});

test("listen() closes connections that stay silent", async () => {
  const { list, onRejected } = rejections();
  const options = { ...calm, onHttp2: echo, prefaceTimeoutMs: 150, onRejected };
  const listener = await sockets.listen(loopback, options);
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  await received.until("the end", () => received.closed || received.ended);
  stream.destroy();
  assert.deepEqual(list.map((rejection) => rejection.reason), ["timeout"]);
  await listener.close();
});

test("stopAccepting() leaves open connections alone", async () => {
  const listener = await sockets.listen(loopback, { ...calm, onRaw: echo });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  const received = new Received();
  stream.handler = received;
  stream.write(utf8("a"));
  await received.until("the first echo", () => received.text === "a");
  listener.stopAccepting();
  await assert.rejects(sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX }));
  stream.write(utf8("b"));
  await received.until("the second echo", () => received.text === "ab");
  await listener.close();
  await received.until("the close", () => received.closed || received.ended);
  stream.destroy();
  assert.ok(equalBytes(received.bytes, utf8("ab")));
});

function hush(stream: ByteStream): void {
  stream.handler = new Received();
}

test("Clock.afterSockets() lets bytes that are there be taken in first", async () => {
  const { clock } = await loadRuntime();
  const listener = await sockets.listen(loopback, { ...calm, onRaw: echo });
  const stream = await sockets.connect(listener.address, { timeoutMs: WAIT_MS_MAX });
  let echoes = 0;
  stream.handler = {
    onData(chunk) {
      echoes += 1;
      stream.write(chunk);
    },
    onDrain() {},
    onEnd() {},
    onClose() {},
  };
  stream.write(utf8("x"));
  await eventually("an echo", () => echoes > 0);
  const before = echoes;
  for (let slice = 0; slice < 100; slice += 1) await socketsServed(clock);
  // Between two slices the byte is taken in by one side, at least.
  assert.ok(echoes - before >= 40, `${echoes - before} echoes in 100 slices`);
  stream.destroy();
  await listener.close();
});
