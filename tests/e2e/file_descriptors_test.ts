/** Clients that take every connection there is: the server lives, others find it again when they have gone. */
import assert from "node:assert/strict";
import { connect, type Socket } from "node:net";
import { test } from "node:test";
import { KV } from "../../src/gen/etcdserverpb/kv_pb.ts";
import { eventually } from "../harness/deadline.ts";
import { freePort, httpGet, startEtcd } from "../harness/etcd_process.ts";
import { GrpcClient } from "../harness/grpc_client.ts";

const OPEN_FILES_MAX = 256;
/** Several times what is left for clients then. */
const CONNECTIONS = 600;
const ROUNDS = 4;

test("a server whose connections are all taken serves again when some are free, and tells its health meanwhile", async () => {
  const metricsPort = await freePort();
  const server = await startEtcd({
    openFilesMax: OPEN_FILES_MAX,
    flags: [`--listen-metrics-urls=http://127.0.0.1:${metricsPort}`],
  });
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const crowd = Array.from({ length: CONNECTIONS }, () => new IdleClient(server.port));
      await eventually(
        "the server's limit",
        () => crowd.every((client) => client.settled) && crowd.some((client) => client.isRefused),
      );
      const served = crowd.filter((client) => client.isAnswered && !client.isRefused);
      assert.ok(served.length > OPEN_FILES_MAX / 4, `${served.length} are served`);
      const { status } = await httpGet(metricsPort, "/health");
      assert.equal(status, 200);
      for (const client of crowd) client.close();
      await eventually("a client that is served", async () => {
        try {
          return (await httpGet(server.port, "/health")).status === 200;
        } catch {
          return false;
        }
      });
      const client = await GrpcClient.connect(server.port);
      const { status: code } = await client.call(KV.method.put, { key: new Uint8Array([1]) });
      assert.equal(code, "OK");
      await client.close();
    }
  } finally {
    await server.stop();
  }
});

/** Makes one request, and keeps its connection. */
class IdleClient {
  isAnswered = false;
  isRefused = false;
  readonly #socket: Socket;

  constructor(port: number) {
    this.#socket = connect(port, "127.0.0.1");
    this.#socket.write("GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n");
    this.#socket.on("data", () => this.isAnswered = true);
    this.#socket.on("error", () => this.isRefused = true);
    this.#socket.on("close", () => this.isRefused = true);
  }

  get settled(): boolean {
    return this.isAnswered || this.isRefused;
  }

  close(): void {
    this.#socket.destroy();
  }
}
