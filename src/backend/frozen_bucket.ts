import { EtcdError } from "../base/errors.ts";
import type { BucketRecord, FrozenBucket } from "../mvcc/backend.ts";
import { bytesFromText } from "./byte_text.ts";

/** Records that may change while a bucket is frozen: about 200 MB of them. */
const KEPT_MAX = 1_000_000;

/** A slice of a bucket as it is at the moment. Names are the texts of keys. */
export interface BucketSlice {
  /** Those after the name asked for, up to and including `last`; not sorted. */
  readonly records: Map<string, Uint8Array>;
  /** Undefined when there are no more records after these. */
  readonly last: string | undefined;
}

/**
 * A bucket that goes on changing, as it was when this was made: it is read where it is, and what a record was
 * before its first change is kept here.
 *
 * Example: of a=1, b=2, c=3, after `a` was read, the change to b=5 keeps b=2 and the new record bb=6 keeps that there
 * was no bb; the next slice finds b=5, bb=6 and c=3 and says b=2 and c=3.
 */
export class ChangingBucket implements FrozenBucket {
  readonly #read: (after: string, recordsMax: number) => BucketSlice;
  readonly #onClosed: (bucket: ChangingBucket) => void;
  readonly #kept = new Map<string, Uint8Array | undefined>();
  #after = "";
  #isAtEnd = false;

  constructor(
    read: (after: string, recordsMax: number) => BucketSlice,
    onClosed: (bucket: ChangingBucket) => void,
  ) {
    this.#read = read;
    this.#onClosed = onClosed;
  }

  /** Whether a record's value has to be kept before it changes. */
  needs(name: string): boolean {
    return this.#kept.size <= KEPT_MAX && !this.#kept.has(name);
  }

  /** Keeps what a record is before its first change; undefined when it is not there. */
  keep(name: string, value: Uint8Array | undefined): void {
    this.#kept.set(name, value);
  }

  rewind(): void {
    this.#after = "";
    this.#isAtEnd = false;
  }

  next(recordsMax: number): readonly BucketRecord[] {
    if (this.#kept.size > KEPT_MAX) {
      throw new EtcdError(
        "tooManyRequests",
        `More than ${KEPT_MAX} records have changed while they were read`,
      );
    }
    while (!this.#isAtEnd) {
      const { records, last } = this.#read(this.#after, recordsMax);
      for (const [name, value] of this.#kept) {
        if (name <= this.#after || (last !== undefined && name > last)) continue;
        if (value === undefined) records.delete(name);
        else records.set(name, value);
      }
      const names = [...records.keys()].sort();
      // Records that are not durable yet come on top of those that were asked for.
      const isCut = names.length > recordsMax;
      if (isCut) names.length = recordsMax;
      this.#after = isCut ? names[recordsMax - 1]! : last ?? this.#after;
      this.#isAtEnd = !isCut && last === undefined;
      if (names.length > 0) {
        return names.map((name) => ({ key: bytesFromText(name), value: records.get(name)! }));
      }
    }
    return [];
  }

  close(): void {
    this.#onClosed(this);
  }
}

/** Records in memory that nobody changes. */
export class CopiedBucket implements FrozenBucket {
  readonly #records: readonly BucketRecord[];
  #next = 0;

  /** `records` are in byte order of their keys. */
  constructor(records: readonly BucketRecord[]) {
    this.#records = records;
  }

  rewind(): void {
    this.#next = 0;
  }

  next(recordsMax: number): readonly BucketRecord[] {
    const slice = this.#records.slice(this.#next, this.#next + recordsMax);
    this.#next += slice.length;
    return slice;
  }

  close(): void {}
}
