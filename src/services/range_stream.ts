import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import type { RangeRequest } from "../gen/etcdserverpb/kv_pb.ts";
import type { StreamCall, StreamConsumer } from "../grpc/method.ts";
import type { RangeCursor } from "../mvcc/range.ts";
import { rangeOptions } from "../mvcc/requests.ts";
import { checkRangeStream } from "../mvcc/txn_checks.ts";
import type { EtcdServer } from "../server/server.ts";
import { FieldWriter, type RangeEnvelope, READ_WORK } from "./range_fields.ts";
import type { TurnBudget } from "./turn_budget.ts";

/** Keys in the first message, as in etcd; later ones have as many as come to the bytes below. */
const FIRST_MESSAGE_KEYS = 10;
const MESSAGE_KEYS_MAX = 1_000;
/** As much output as a connection takes at once. etcd goes up to the request limit, which is three times that. */
const MESSAGE_BYTES = 256 * 1024;

/** The fields of one RangeResponse, encoded. */
export interface RangePiece {
  readonly head: Uint8Array;
  readonly kvs: ByteWriter;
  readonly tail: Uint8Array;
}

/** `range_response` of RangeStreamResponse. */
const RANGE_RESPONSE_TAG = 0x0a;

/** Appends a RangeStreamResponse. */
export function encodeRangePiece(out: ByteWriter, { head, kvs, tail }: RangePiece): void {
  out.byte(RANGE_RESPONSE_TAG);
  out.varint(head.length + kvs.length + tail.length);
  out.write(head);
  out.write(kvs.bytes.subarray(0, kvs.length));
  out.write(tail);
}

/** Where every message is put together, one at a time: what is sent is encoded at once. */
const scratch = new ByteWriter(0);

/**
 * One RangeStream call: the range in pieces, all at the revision of the first, produced as fast as the client
 * takes them. Only the last message has a header, the count and `more`.
 */
export class RangeStream implements StreamConsumer<RangeRequest> {
  readonly #server: EtcdServer;
  readonly #budget: TurnBudget;
  readonly #call: StreamCall<RangePiece>;
  readonly #envelope: RangeEnvelope;
  readonly #writer = new FieldWriter(scratch);
  #cursor: RangeCursor | undefined;
  #keys = FIRST_MESSAGE_KEYS;
  #waiting = false;

  constructor(server: EtcdServer, budget: TurnBudget, call: StreamCall<RangePiece>, envelope: RangeEnvelope) {
    this.#server = server;
    this.#budget = budget;
    this.#call = call;
    this.#envelope = envelope;
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

  /** Sends one message per turn while the client takes them and there is work left in it. */
  #pump(): void {
    if (this.#waiting || this.#call.ended || this.#cursor === undefined || !this.#call.writable) return;
    if (this.#budget.left > 0) this.#sendNext(this.#cursor);
    if (this.#call.ended) return;
    this.#waiting = true;
    this.#budget.wait(() => {
      this.#waiting = false;
      this.#guard(() => this.#pump());
    });
  }

  #sendNext(cursor: RangeCursor): void {
    const writer = this.#writer;
    scratch.clear();
    writer.work = 0;
    cursor.nextInto(writer, this.#keys, Math.min(MESSAGE_BYTES, this.#server.config.maxRequestBytes));
    this.#budget.spend(Math.max(writer.work, READ_WORK));
    if (!cursor.done) {
      if (scratch.length > 0) this.#call.send({ head: EMPTY_BYTES, kvs: scratch, tail: EMPTY_BYTES });
      if (writer.work < MESSAGE_BYTES / 2) this.#keys = Math.min(this.#keys * 2, MESSAGE_KEYS_MAX);
      return;
    }
    const { revision, more, count } = cursor;
    this.#call.send({
      head: this.#envelope.head(revision),
      kvs: scratch,
      tail: this.#envelope.tail(more, count),
    });
    this.#call.end();
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#call.fail(error);
    }
  }
}
