import { ByteWriter } from "../base/byte_writer.ts";
import { Pending } from "../base/pending.ts";
import { ReplyParts } from "../grpc/method.ts";
import type { RangeCursor, RangeOptions } from "../mvcc/range.ts";
import type { RangeOutcome } from "../mvcc/txn_eval.ts";
import type { EtcdServer } from "../server/server.ts";

/** Work in one turn: about 2 ms of reading, or as many bytes. */
const SLICE_KEYS = 1_000;
const SLICE_BYTES = 1024 * 1024;
/** A reply below this is encoded in place like any other. */
const INLINE_BYTES_MAX = 64 * 1024;

/**
 * A range that may be large: read in slices at one revision, so that no turn of the event loop is long, and
 * answered with the stored bytes themselves. A unary reply begins with its length, so it leaves when the
 * last slice has been read; until then it holds off compaction, not the other clients.
 */
export class LargeRange {
  readonly #server: EtcdServer;
  readonly #cursor: RangeCursor;
  readonly #result = new Pending<RangeOutcome | ReplyParts>();
  readonly #encode: (outcome: RangeOutcome) => ReplyParts;
  #kvs: Uint8Array[] = [];
  #bytes = 0;

  /** Throws `compacted` and `futureRevision`. */
  constructor(server: EtcdServer, options: RangeOptions, encode: (outcome: RangeOutcome) => ReplyParts) {
    this.#server = server;
    this.#cursor = server.store.openRange(options, true);
    this.#encode = encode;
  }

  run(): Pending<RangeOutcome | ReplyParts> {
    try {
      this.#slice();
      if (this.#cursor.done) this.#finish();
      else this.#server.soon(() => this.run());
    } catch (error) {
      this.#cursor.close();
      this.#result.reject(error);
    }
    return this.#result;
  }

  #slice(): void {
    const kvs = this.#cursor.next(SLICE_KEYS, SLICE_BYTES);
    for (const kv of kvs) this.#bytes += kv.length;
    if (this.#kvs.length === 0) this.#kvs = kvs;
    else for (const kv of kvs) this.#kvs.push(kv);
  }

  #finish(): void {
    const { revision, count, more } = this.#cursor;
    this.#cursor.close();
    const outcome = { header: { revision }, kvs: this.#kvs, count, more };
    this.#result.resolve(this.#bytes <= INLINE_BYTES_MAX ? outcome : this.#encode(outcome));
  }
}

const KVS_TAG = 0x12;
/** Parts are about this long: small enough to be let go as they are sent, large enough to be few. */
const PART_BYTES = 64 * 1024;

/** The bytes of a RangeResponse in parts: `head` holds the fields before `kvs`, `tail` those after. */
export function rangeParts(head: Uint8Array, kvs: readonly Uint8Array[], tail: Uint8Array): ReplyParts {
  const parts: Uint8Array[] = [];
  let out = new ByteWriter(PART_BYTES + 1024);
  out.write(head);
  for (const kv of kvs) {
    out.byte(KVS_TAG);
    out.varint(kv.length);
    if (kv.length >= PART_BYTES) { // A large value is a part by itself: it is not copied.
      parts.push(out.bytes.subarray(0, out.length), kv);
      out = new ByteWriter(PART_BYTES + 1024);
      continue;
    }
    out.write(kv);
    if (out.length < PART_BYTES) continue;
    parts.push(out.bytes.subarray(0, out.length));
    out = new ByteWriter(PART_BYTES + 1024);
  }
  out.write(tail);
  parts.push(out.bytes.subarray(0, out.length));
  return new ReplyParts(parts);
}
