import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { concatBytes, utf8 } from "../../src/base/bytes.ts";
import { EtcdError } from "../../src/base/errors.ts";
import type { SnapshotResponseInit } from "../../src/gen/codec/etcdserverpb/maintenance_codec.ts";
import { SnapshotRequestSchema } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import type { CallContext, StreamCall } from "../../src/grpc/method.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { noLeases } from "../../src/mvcc/key_leases.ts";
import { Store } from "../../src/mvcc/store.ts";
import { silentLog } from "../../src/ports/log.ts";
import { digest } from "../../src/runtime/node_compat/digest.ts";
import { DatabaseSnapshot } from "../../src/server/database_snapshot.ts";
import type { EtcdServer } from "../../src/server/server.ts";
import { SnapshotStream } from "../../src/services/snapshot_stream.ts";
import { readBolt } from "../snap/support.ts";

const VALUES = 400;
const VALUE_BYTES = 3000;
const REQUEST = create(SnapshotRequestSchema);

/** What a snapshot stream needs of a server, run by hand. */
class Fixture {
  readonly store: Store;
  readonly stream: SnapshotStream;
  readonly replies: SnapshotResponseInit[] = [];
  failure: unknown;
  ended = false;
  /** Messages that the client still takes. */
  credit = Infinity;
  isStopped = false;
  /** What waits for a coming turn. */
  turn: (() => void) | undefined;
  timer: (() => void) | undefined;

  constructor() {
    const backend = new MemoryBackend();
    this.store = new Store({ backend, index: new ArenaKeyIndex(new Uint8Array(8)), leases: noLeases });
    for (let i = 0; i < VALUES; i += 1) {
      this.store.put(utf8(`key ${i}`), new Uint8Array(VALUE_BYTES).fill(i), 0n);
    }
    this.stream = new SnapshotStream(this.#server(), this.#call());
  }

  /** Takes turns until nothing is left to do; returns how many. */
  run(): number {
    let turns = 0;
    for (; this.turn !== undefined; turns += 1) {
      const run = this.turn;
      this.turn = undefined;
      run();
    }
    return turns;
  }

  /** Whether a compaction has to wait. */
  get holdsCompaction(): boolean {
    this.store.scheduleCompaction(this.store.compactRevision < 0 ? 1 : this.store.compactRevision + 1);
    return this.store.compactionStep() === "held";
  }

  #server(): EtcdServer {
    const server = {
      ports: {
        digest,
        log: silentLog,
        clock: {
          monotonicMs: () => 0,
          after: (_delayMs: number, run: () => void) => {
            this.timer = run;
            return { cancel: () => void (this.timer = undefined) };
          },
          afterSockets: (run: () => void) => {
            assert.equal(this.turn, undefined, "two turns are asked for at a time");
            this.turn = run;
          },
        },
      },
      openSnapshot: () => new DatabaseSnapshot(this.store, () => this.isStopped),
    };
    return server as unknown as EtcdServer;
  }

  #call(): StreamCall<SnapshotResponseInit> {
    const end = (): void => {
      this.ended = true;
      this.stream.onClose();
    };
    const isWritable = (): boolean => !this.ended && this.credit > 0;
    const isEnded = (): boolean => this.ended;
    return {
      context: {} as CallContext,
      send: (reply) => {
        assert.ok(!this.ended);
        this.credit -= 1;
        this.replies.push({ ...reply, blob: reply.blob!.slice() });
      },
      sendBytes: () => assert.fail("no encoded messages"),
      get writable() {
        return isWritable();
      },
      end,
      fail: (error) => {
        this.failure = error;
        end();
      },
      get ended() {
        return isEnded();
      },
    };
  }
}

test("SnapshotStream sends a little per turn, and at the end the hash", () => {
  const fixture = new Fixture();
  fixture.stream.onMessage(REQUEST);
  assert.equal(fixture.holdsCompaction, true);
  const turns = fixture.run();
  assert.equal(fixture.failure, undefined);
  assert.equal(fixture.ended, true);
  const blobs = fixture.replies.map(({ blob }) => blob!);
  const file = concatBytes(blobs.slice(0, -1));
  assert.equal(readBolt(file).get("key")!.length, VALUES);
  assert.deepEqual(new Uint8Array(blobs.at(-1)!), new Uint8Array(digest.sha256(file)));
  assert.ok(turns > VALUES * VALUE_BYTES / (256 * 1024), `${turns} turns`);
  assert.equal(fixture.holdsCompaction, false);
});

test("SnapshotStream waits for its client", () => {
  const fixture = new Fixture();
  fixture.credit = 0;
  fixture.stream.onMessage(REQUEST);
  fixture.run();
  assert.equal(fixture.replies.length, 0);
  let sent = 0;
  while (!fixture.ended) {
    fixture.credit = 2;
    fixture.stream.onWritable();
    fixture.run();
    assert.ok(fixture.replies.length <= sent + 2);
    sent = fixture.replies.length;
  }
  assert.equal(fixture.failure, undefined);
  assert.equal(fixture.timer, undefined);
});

test("SnapshotStream gives up a client that takes nothing for ten minutes", () => {
  const fixture = new Fixture();
  fixture.credit = 5;
  fixture.stream.onMessage(REQUEST);
  fixture.run();
  assert.equal(fixture.holdsCompaction, true);
  fixture.timer!();
  assert.ok(fixture.failure instanceof EtcdError && fixture.failure.code === "timeout");
  assert.equal(fixture.holdsCompaction, false);
});

test("SnapshotStream lets compaction go on when the client leaves", () => {
  const fixture = new Fixture();
  fixture.credit = 5;
  fixture.stream.onMessage(REQUEST);
  fixture.run();
  assert.equal(fixture.holdsCompaction, true);
  fixture.ended = true;
  fixture.stream.onClose();
  assert.equal(fixture.holdsCompaction, false);
  assert.equal(fixture.timer, undefined);
});

test("SnapshotStream fails when the server stops under it", () => {
  const fixture = new Fixture();
  fixture.credit = 5;
  fixture.stream.onMessage(REQUEST);
  fixture.run();
  fixture.isStopped = true;
  fixture.credit = 5;
  const isStopped = (error: unknown): boolean => error instanceof EtcdError && error.code === "stopped";
  assert.throws(() => fixture.stream.onWritable(), isStopped);
});
