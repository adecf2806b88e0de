import { EtcdError } from "../base/errors.ts";
import type { SnapshotResponseInit } from "../gen/codec/etcdserverpb/maintenance_codec.ts";
import type { SnapshotRequest } from "../gen/etcdserverpb/maintenance_pb.ts";
import type { StreamCall, StreamConsumer } from "../grpc/method.ts";
import type { Timer } from "../ports/clock.ts";
import type { DatabaseSnapshot } from "../server/database_snapshot.ts";
import type { EtcdServer } from "../server/server.ts";

/** Bytes of the file in one message, as in etcd. */
const BLOB_BYTES = 32 * 1024;
/** Messages in one turn: about half a millisecond. */
const MESSAGES_PER_TURN = 2;
/** A client that takes nothing for this long is given up: compaction cannot wait for it for ever. */
const STALL_MS_MAX = 10 * 60 * 1000;

/**
 * One Snapshot call: the database as a bbolt file, in messages of 32 KiB, as fast as the client takes them, and
 * in a last message the SHA-256 of all of it. As in etcd, none has a header.
 */
export class SnapshotStream implements StreamConsumer<SnapshotRequest> {
  readonly #server: EtcdServer;
  readonly #call: StreamCall<SnapshotResponseInit>;
  readonly #hash: { update(bytes: Uint8Array): void; finish(): Uint8Array };
  readonly #startedMs: number;
  #snapshot: DatabaseSnapshot | undefined;
  #isMeasured = false;
  #sentBytes = 0;
  #isWaiting = false;
  /** Runs while the client takes nothing. */
  #stall: Timer | undefined;

  constructor(server: EtcdServer, call: StreamCall<SnapshotResponseInit>) {
    this.#server = server;
    this.#call = call;
    this.#hash = server.ports.digest.sha256Stream();
    this.#startedMs = server.ports.clock.monotonicMs();
  }

  onMessage(_request: SnapshotRequest): void {
    if (this.#snapshot !== undefined) return; // A server stream has one request.
    this.#snapshot = this.#server.openSnapshot();
    this.#pump();
  }

  onHalfClose(): void {}

  onWritable(): void {
    this.#stall?.cancel();
    this.#stall = undefined;
    this.#pump();
  }

  onClose(): void {
    this.#stall?.cancel();
    this.#snapshot?.close();
  }

  /** Works for about half a millisecond per turn while the client takes what comes of it. */
  #pump(): void {
    const snapshot = this.#snapshot;
    if (this.#isWaiting || this.#call.ended || snapshot === undefined) return;
    if (!this.#call.writable) return this.#awaitClient();
    if (this.#isMeasured) this.#sendSome(snapshot);
    else if (snapshot.measure()) this.#onMeasured(snapshot);
    if (this.#call.ended) return;
    this.#isWaiting = true;
    this.#server.ports.clock.afterSockets(() => {
      this.#isWaiting = false;
      try {
        this.#pump();
      } catch (error) {
        this.#call.fail(error);
      }
    });
  }

  #awaitClient(): void {
    this.#stall ??= this.#server.ports.clock.after(STALL_MS_MAX, () => {
      this.#call.fail(
        new EtcdError("timeout", `The client takes nothing of its snapshot in ${STALL_MS_MAX} ms`),
      );
    });
  }

  #onMeasured({ sizeBytes, version }: DatabaseSnapshot): void {
    this.#isMeasured = true;
    this.#log("sending database snapshot to client", {
      "total-bytes": sizeBytes,
      "storage-version": version,
    });
  }

  #sendSome(snapshot: DatabaseSnapshot): void {
    for (let sent = 0; sent < MESSAGES_PER_TURN && this.#call.writable; sent += 1) {
      const blob = snapshot.take(BLOB_BYTES);
      if (blob === undefined) return this.#sendDigest(snapshot);
      this.#hash.update(blob);
      this.#sentBytes += blob.length;
      this.#call.send({
        remainingBytes: snapshot.sizeBytes - this.#sentBytes,
        blob,
        version: snapshot.version,
      });
    }
  }

  #sendDigest({ sizeBytes, version }: DatabaseSnapshot): void {
    this.#call.send({ blob: this.#hash.finish(), version });
    this.#call.end();
    this.#log("successfully sent database snapshot to client", {
      "total-bytes": sizeBytes,
      "storage-version": version,
      took: `${Math.round(this.#server.ports.clock.monotonicMs() - this.#startedMs)}ms`,
    });
  }

  #log(message: string, fields: Readonly<Record<string, string | number>>): void {
    this.#server.ports.log.info(message, fields);
  }
}
