import type { ByteWriter } from "../base/byte_writer.ts";
import { type RangeSink, type RangeSource, viewRevision } from "../mvcc/range.ts";

/** Work of long ranges in one turn: a MiB of values, or a thousand of any size, in about 2 ms. */
export const RANGE_WORK_PER_TURN = 1024 * 1024;
/** Reading a value is as much work as copying so many bytes … */
export const READ_WORK = 1024;
/** … and a look at the index as so many. */
const LOOK_WORK = 32;

/** Encodes what of a RangeResponse comes before its `kvs`, and what comes after. */
export interface RangeEnvelope {
  head(revision: number): Uint8Array;
  tail(more: boolean, count: number): Uint8Array;
}

/** `kvs` of RangeResponse. */
const KVS_TAG = 0x12;

/** Adds up what key-values take as fields of a RangeResponse. */
export class FieldMeter implements RangeSink {
  bytes = 0;
  work = 0;

  addStored(source: RangeSource, main: number, sub: number, bytes: number): number {
    if (bytes > 0) return this.#add(bytes, LOOK_WORK);
    return this.#add(viewRevision(source, main, sub).length, READ_WORK);
  }

  addMade(keyValue: Uint8Array): number {
    return this.#add(keyValue.length, READ_WORK);
  }

  #add(bytes: number, work: number): number {
    this.bytes += 1 + varintLength(bytes) + bytes;
    this.work += work;
    return work;
  }
}

function varintLength(value: number): number {
  let length = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) length += 1;
  return length;
}

/** Writes key-values as fields of a RangeResponse. */
export class FieldWriter implements RangeSink {
  out: ByteWriter;
  work = 0;

  constructor(out: ByteWriter) {
    this.out = out;
  }

  addStored(source: RangeSource, main: number, sub: number, _bytes: number): number {
    return this.addMade(viewRevision(source, main, sub));
  }

  addMade(keyValue: Uint8Array): number {
    const { out } = this;
    const { length } = keyValue;
    out.byte(KVS_TAG);
    out.varint(length);
    out.write(keyValue);
    const work = Math.max(length, READ_WORK);
    this.work += work;
    return work;
  }
}
