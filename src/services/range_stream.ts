import type { RangeRequest } from "../gen/etcdserverpb/kv_pb.ts";
import type { StreamCall, StreamConsumer } from "../grpc/method.ts";
import type { RangeCursor } from "../mvcc/range.ts";
import { rangeOptions } from "../mvcc/requests.ts";
import { checkRangeStream } from "../mvcc/txn_checks.ts";
import type { EtcdServer } from "../server/server.ts";

/** Keys in the first message; later ones grow or shrink towards half the request limit in bytes, as in etcd. */
const FIRST_MESSAGE_KEYS = 10;

/** What `encodeRangeStreamResponse` takes. */
interface RangeStreamReply {
  readonly rangeResponse: {
    readonly header?: Uint8Array;
    readonly kvs?: readonly Uint8Array[];
    readonly more?: boolean;
    readonly count?: number;
  };
}

/**
 * One RangeStream call: the range in pieces, all at the revision of the first, produced as fast as the client
 * takes them. Only the last message has a header, the count and `more`.
 */
export class RangeStream implements StreamConsumer<RangeRequest> {
  readonly #server: EtcdServer;
  readonly #call: StreamCall<RangeStreamReply>;
  readonly #header: (revision: number) => Uint8Array;
  #cursor: RangeCursor | undefined;
  #keys = FIRST_MESSAGE_KEYS;
  #waiting = false;

  constructor(
    server: EtcdServer,
    call: StreamCall<RangeStreamReply>,
    header: (revision: number) => Uint8Array,
  ) {
    this.#server = server;
    this.#call = call;
    this.#header = header;
  }

  onMessage(request: RangeRequest): void {
    if (this.#cursor !== undefined) return; // A server stream has one request.
    checkRangeStream(request);
    const open = (): void => {
      this.#cursor = this.#server.store.openRange(rangeOptions(request), false);
      this.#pump();
    };
    if (request.serializable || this.#server.canReadNow) return open();
    this.#server.readBarrier().observe({
      onValue: () => this.#guard(open),
      onError: (error) => this.#call.fail(error),
    });
  }

  onHalfClose(): void {}

  onWritable(): void {
    this.#pump();
  }

  onClose(): void {
    this.#cursor?.close();
  }

  /** Sends one message per turn while the client takes them. */
  #pump(): void {
    if (this.#waiting || this.#call.ended || this.#cursor === undefined || !this.#call.writable) return;
    this.#sendNext(this.#cursor);
    if (this.#call.ended) return;
    this.#waiting = true;
    this.#server.soon(() => {
      this.#waiting = false;
      this.#guard(() => this.#pump());
    });
  }

  #sendNext(cursor: RangeCursor): void {
    const kvs = cursor.next(this.#keys, this.#server.config.maxRequestBytes);
    if (!cursor.done) {
      if (kvs.length > 0) this.#call.send({ rangeResponse: { kvs } });
      this.#adjust(kvs);
      return;
    }
    const { revision, more, count } = cursor;
    this.#call.send({ rangeResponse: { header: this.#header(revision), kvs, more, count } });
    this.#call.end();
  }

  #adjust(kvs: readonly Uint8Array[]): void {
    const bytes = kvs.reduce((sum, kv) => sum + kv.length, 0);
    const { maxRequestBytes } = this.#server.config;
    if (bytes < maxRequestBytes / 2) this.#keys *= 2;
    else if (bytes > maxRequestBytes * 2) this.#keys = Math.max(1, Math.floor(this.#keys / 2));
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#call.fail(error);
    }
  }
}
