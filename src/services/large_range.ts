import { assert } from "../base/assert.ts";
import { ByteWriter } from "../base/byte_writer.ts";
import { Pending } from "../base/pending.ts";
import { LongReply } from "../grpc/long_reply.ts";
import { KeyValueList, type RangeCursor, type RangeOptions } from "../mvcc/range.ts";
import type { RangeOutcome } from "../mvcc/txn_eval.ts";
import type { EtcdServer } from "../server/server.ts";
import { FieldMeter, FieldWriter, type RangeEnvelope, READ_WORK } from "./range_fields.ts";
import type { TurnBudget } from "./turn_budget.ts";

/** A range that fits into this is not large. What has been read of a larger one is read again, and is garbage. */
const SMALL_BYTES = 64 * 1024;
const SMALL_KEYS = 1_000;
/** Looks at keys in one step, whether or not there is a value to each. */
const LOOKS_PER_STEP = 1_000;
const LOOKS_PER_MEASURING = 16_384;

/** Bytes that are made at a time, and room for the value that begins before their end. */
const PIECE_BYTES = 64 * 1024;
const PIECE_SLACK_BYTES = 4 * 1024;

/**
 * A range that may be large. A small one is read and answered at once. The answer of another one begins with its
 * length, so it is measured first, which takes a walk over the index, in slices; then it is read again as the
 * client takes it.
 */
export class LargeRange {
  readonly #budget: TurnBudget;
  readonly #cursor: RangeCursor;
  readonly #envelope: RangeEnvelope;
  readonly #onEnd: (succeeded: boolean) => void;
  readonly #result = new Pending<RangeOutcome | LongReply>();
  readonly #list = new KeyValueList();
  #meter: FieldMeter | undefined;

  /**
   * `onEnd` is called when the answer begins, or there will be none. Throws `compacted` and `futureRevision`.
   */
  constructor(
    server: EtcdServer,
    budget: TurnBudget,
    options: RangeOptions,
    envelope: RangeEnvelope,
    onEnd: (succeeded: boolean) => void,
  ) {
    this.#budget = budget;
    this.#cursor = server.store.openRange(options, true);
    this.#envelope = envelope;
    this.#onEnd = onEnd;
  }

  run(): Pending<RangeOutcome | LongReply> {
    try {
      const answer = this.#budget.left > 0 ? this.#step() : undefined;
      if (answer === undefined) this.#budget.wait(() => this.run());
      else {
        this.#onEnd(true);
        this.#result.resolve(answer);
      }
    } catch (error) {
      this.#cursor.close();
      this.#onEnd(false);
      this.#result.reject(error);
    }
    return this.#result;
  }

  #step(): RangeOutcome | LongReply | undefined {
    return this.#meter === undefined ? this.#readSmall() : this.#measure(this.#meter);
  }

  #readSmall(): RangeOutcome | LongReply | undefined {
    const cursor = this.#cursor;
    const { kvs, bytes } = this.#list;
    cursor.nextInto(this.#list, LOOKS_PER_STEP, SMALL_BYTES - bytes);
    this.#budget.spend(Math.max(this.#list.bytes - bytes, kvs.length * READ_WORK));
    const { revision, count, more } = cursor;
    if (cursor.done) return { header: { revision }, kvs, count, more };
    if (kvs.length < SMALL_KEYS && this.#list.bytes < SMALL_BYTES) return undefined; // Sorting, or counting.
    kvs.length = 0;
    cursor.rewind();
    this.#meter = new FieldMeter();
    return this.#measure(this.#meter);
  }

  #measure(meter: FieldMeter): LongReply | undefined {
    const cursor = this.#cursor;
    const before = meter.work;
    cursor.nextInto(meter, LOOKS_PER_MEASURING, Math.max(READ_WORK, this.#budget.left));
    this.#budget.spend(Math.max(meter.work - before, READ_WORK));
    if (!cursor.done) return undefined;
    const head = this.#envelope.head(cursor.revision);
    const tail = this.#envelope.tail(cursor.more, cursor.count);
    cursor.rewind();
    return new RangeReply(cursor, this.#budget, { head, kvsBytes: meter.bytes, tail });
  }
}

interface RangeReplyParts {
  readonly head: Uint8Array;
  /** Length of what is between head and tail. */
  readonly kvsBytes: number;
  readonly tail: Uint8Array;
}

/**
 * The bytes of a large RangeResponse, made a piece at a time. Until all is read, compaction is held off; when one
 * waits, the rest is read into memory, so that it does not wait for a client.
 */
class RangeReply extends LongReply {
  readonly length: number;
  readonly #cursor: RangeCursor;
  readonly #budget: TurnBudget;
  readonly #tail: Uint8Array;
  readonly #writer: FieldWriter;
  /** Bytes made so far. */
  #made = 0;
  /** What is read from, and where its unread part begins. */
  #piece: ByteWriter;
  #at = 0;
  /** Pieces after it that have been made already. */
  #ahead: ByteWriter[] = [];
  #isGathering = false;
  #isWaiting = false;
  #isClosed = false;

  constructor(cursor: RangeCursor, budget: TurnBudget, { head, kvsBytes, tail }: RangeReplyParts) {
    super();
    this.length = head.length + kvsBytes + tail.length;
    this.#cursor = cursor;
    this.#budget = budget;
    this.#tail = tail;
    this.#piece = newPiece();
    this.#piece.write(head);
    this.#made = head.length;
    this.#writer = new FieldWriter(this.#piece);
    cursor.onBlocking(() => this.#gather());
  }

  read(out: ByteWriter, bytesMax: number): number {
    let left = bytesMax;
    while (left > 0) {
      const piece = this.#piece;
      const count = Math.min(left, piece.length - this.#at);
      if (count > 0) {
        out.write(piece.bytes.subarray(this.#at, this.#at + count));
        this.#at += count;
        left -= count;
      } else if (!this.#nextPiece()) break;
    }
    return bytesMax - left;
  }

  /** A piece holds whole fields. */
  readFields(out: ByteWriter): number {
    while (this.#at === this.#piece.length) if (!this.#nextPiece()) return 0;
    return this.read(out, this.#piece.length - this.#at);
  }

  waitTurn(): void {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    this.#budget.wait(() => {
      this.#isWaiting = false;
      if (!this.#isClosed) this.onReadable?.();
    });
  }

  close(): void {
    this.#isClosed = true;
    this.#cursor.close();
    this.#ahead = [];
    this.#piece = NO_PIECE;
    this.#at = 0;
  }

  /** False when there is none, now or ever. */
  #nextPiece(): boolean {
    const ahead = this.#ahead.shift();
    if (ahead !== undefined) this.#piece = ahead;
    else if (this.#isClosed || this.#cursor.done) return false;
    else if (this.#budget.left <= 0) {
      this.waitTurn();
      return false;
    } else {
      this.#piece.clear();
      this.#make(this.#piece);
    }
    this.#at = 0;
    return true;
  }

  /** Appends the next bytes to a piece; none, at times, before the end of a range that is sorted or filtered. */
  #make(piece: ByteWriter): void {
    const cursor = this.#cursor;
    const writer = this.#writer;
    const lengthBefore = piece.length;
    writer.out = piece;
    writer.work = 0;
    cursor.nextInto(writer, LOOKS_PER_STEP, Math.min(PIECE_BYTES, this.#budget.left));
    this.#budget.spend(Math.max(writer.work, READ_WORK));
    if (cursor.done) piece.write(this.#tail);
    this.#made += piece.length - lengthBefore;
    const isRight = cursor.done ? this.#made === this.length : this.#made <= this.length;
    assert(isRight, "A range of % bytes came to %", this.length, this.#made);
  }

  #gather(): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    this.#budget.wait(() => this.#gatherOn());
  }

  #gatherOn(): void {
    while (!this.#isClosed && !this.#cursor.done) {
      if (this.#budget.left <= 0) return this.#budget.wait(() => this.#gatherOn());
      const piece = newPiece();
      this.#make(piece);
      this.#ahead.push(piece);
    }
  }
}

function newPiece(): ByteWriter {
  return new ByteWriter(PIECE_BYTES + PIECE_SLACK_BYTES);
}

const NO_PIECE = new ByteWriter(0);
