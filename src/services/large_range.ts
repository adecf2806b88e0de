import { ByteWriter } from "../base/byte_writer.ts";
import { Pending } from "../base/pending.ts";
import { ReplyParts } from "../grpc/method.ts";
import type { RangeCursor, RangeOptions } from "../mvcc/range.ts";
import type { RangeOutcome } from "../mvcc/txn_eval.ts";
import type { EtcdServer } from "../server/server.ts";

/** Work in one turn: about 2 ms of reading, or as many bytes. */
const SLICE_KEYS = 1_000;
const SLICE_BYTES = 1024 * 1024;

/** Encodes what of a RangeResponse comes before its `kvs`, and what comes after. */
export interface RangeEnvelope {
  head(revision: number): Uint8Array;
  tail(more: boolean, count: number): Uint8Array;
}

/**
 * A range that may be large: read in slices at one revision, so that no turn of the event loop is long, and
 * answered with the stored bytes themselves. A unary reply begins with its length, so it leaves when the
 * last slice has been read; until then it holds off compaction, not the other clients.
 */
export class LargeRange {
  readonly #server: EtcdServer;
  readonly #cursor: RangeCursor;
  readonly #envelope: RangeEnvelope;
  readonly #onEnd: (succeeded: boolean) => void;
  readonly #result = new Pending<RangeOutcome | ReplyParts>();
  #parts: RangeParts | undefined;

  /** `onEnd` is called when all has been read, or nothing more can be. Throws `compacted` and `futureRevision`. */
  constructor(
    server: EtcdServer,
    options: RangeOptions,
    envelope: RangeEnvelope,
    onEnd: (succeeded: boolean) => void,
  ) {
    this.#server = server;
    this.#cursor = server.store.openRange(options, true);
    this.#envelope = envelope;
    this.#onEnd = onEnd;
  }

  run(): Pending<RangeOutcome | ReplyParts> {
    try {
      this.#slice();
      if (this.#cursor.done) this.#onEnd(true);
      else this.#server.soon(() => this.run());
    } catch (error) {
      this.#cursor.close();
      this.#onEnd(false);
      this.#result.reject(error);
    }
    return this.#result;
  }

  #slice(): void {
    const cursor = this.#cursor;
    const kvs = cursor.next(SLICE_KEYS, SLICE_BYTES);
    const { revision, count, more, done } = cursor;
    if (done && this.#parts === undefined) {
      // All in one slice: not large after all.
      return this.#result.resolve({ header: { revision }, kvs, count, more });
    }
    this.#parts ??= new RangeParts(this.#envelope.head(revision));
    for (const kv of kvs) this.#parts.add(kv);
    if (done) this.#result.resolve(this.#parts.finish(this.#envelope.tail(more, count)));
  }
}

const KVS_TAG = 0x12;
/** Parts are about this long: small enough to be let go as they are sent, large enough to be few. */
const PART_BYTES = 64 * 1024;
/** Room for a value that begins before the end of its part. */
const PART_SLACK_BYTES = 4 * 1024;

/** The bytes of a RangeResponse, gathered as its key-values are read. */
class RangeParts {
  readonly #parts: Uint8Array[] = [];
  #out = new ByteWriter(PART_BYTES + PART_SLACK_BYTES);

  constructor(head: Uint8Array) {
    this.#out.write(head);
  }

  add(kv: Uint8Array): void {
    const out = this.#out;
    out.byte(KVS_TAG);
    out.varint(kv.length);
    if (kv.length > PART_SLACK_BYTES) { // A part by itself: it is not copied.
      this.#endPart();
      this.#parts.push(kv);
      return;
    }
    out.write(kv);
    if (out.length >= PART_BYTES) this.#endPart();
  }

  finish(tail: Uint8Array): ReplyParts {
    this.#out.write(tail);
    this.#endPart();
    return new ReplyParts(this.#parts);
  }

  #endPart(): void {
    this.#parts.push(this.#out.bytes.subarray(0, this.#out.length));
    this.#out = new ByteWriter(PART_BYTES + PART_SLACK_BYTES);
  }
}
