import { assert } from "../base/assert.ts";
import { EtcdError } from "../base/errors.ts";
import type { Backend } from "./backend.ts";
import type { CompactionHold } from "./compaction_hold.ts";
import type { KeyIndex } from "./key_index_api.ts";

/** RangeRequest.SortOrder. */
export const sortOrder = { none: 0, ascend: 1, descend: 2 } as const;
/** RangeRequest.SortTarget. */
export const sortTarget = { key: 0, version: 1, create: 2, mod: 3, value: 4 } as const;

/** A RangeRequest in numbers: 0, false or absent means the same as on the wire. */
export interface RangeOptions {
  readonly key: Uint8Array;
  /** As on the wire: empty for the one key, a single zero byte for every key from `key` on. */
  readonly rangeEnd: Uint8Array;
  /** Main revision to read at; 0 or less is the current one. */
  readonly revision?: number;
  /** Most keys to return; 0 or less is no limit. */
  readonly limit?: number;
  readonly sortOrder?: number;
  readonly sortTarget?: number;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly minModRevision?: number;
  readonly maxModRevision?: number;
  readonly minCreateRevision?: number;
  readonly maxCreateRevision?: number;
}

export interface RangeResult {
  /** Encoded KeyValues. */
  readonly kvs: Uint8Array[];
  /** Keys in the range at the revision read, whatever the limit and the filters. */
  readonly count: number;
  /** More keys matched than the limit let through. */
  readonly more: boolean;
  /** The store's revision when the range began: that of the response's header. */
  readonly revision: number;
}

/** A range that is produced in pieces, all of them at one revision; later writes do not show. */
export interface RangeCursor {
  /** The store's revision when the cursor was opened: that of the response's header. */
  readonly revision: number;
  /** The main revision that is read. */
  readonly readMain: number;
  /** True when everything has been produced; `count` and `more` hold from then on. */
  readonly done: boolean;
  readonly count: number;
  readonly more: boolean;
  /**
   * The next piece, in order: no work on more than `keysMax` keys, and it ends with the KeyValue that
   * reaches `bytesMax`. It may be empty before `done` (while sorting or counting). Throws `compacted` when
   * the revision has been compacted meanwhile, which cannot happen to a cursor that holds compaction off.
   */
  next(keysMax: number, bytesMax: number): Uint8Array[];
  /** The same into a sink, up to the KeyValue whose work, summed up, reaches `workMax`. */
  nextInto(sink: RangeSink, keysMax: number, workMax: number): void;
  /** Begins again, with the same outcome; in the turn in which it was `done`, if it was. */
  rewind(): void;
  /** Calls `onBlocking` when a compaction waits for what this cursor holds; it should come to its end then. */
  onBlocking(onBlocking: () => void): void;
  /** Lets go of compaction. To be called whatever the outcome; more than once does no harm. */
  close(): void;
}

/** What becomes of the KeyValues of a range. Each call returns the work it was, in bytes read or the like. */
export interface RangeSink {
  /** A KeyValue that goes out as it is stored; `bytes` is its length if the index knows it, else 0. */
  addStored(source: RangeSource, main: number, sub: number, bytes: number): number;
  /** One that has been made for this range; its bytes stay as they are. */
  addMade(keyValue: Uint8Array): number;
}

/** Gathers copies. The work is their length. */
export class KeyValueList implements RangeSink {
  readonly kvs: Uint8Array[] = [];
  bytes = 0;

  addStored(source: RangeSource, main: number, sub: number, _bytes: number): number {
    return this.addMade(loadRevision(source, main, sub));
  }

  addMade(keyValue: Uint8Array): number {
    this.kvs.push(keyValue);
    this.bytes += keyValue.length;
    return keyValue.length;
  }
}

/** What a range reads from. */
export interface RangeSource {
  readonly index: KeyIndex;
  readonly backend: Backend;
  readonly compactRevision: number;
}

/** A range that has been checked against the store's revisions, in the terms of the index. */
export interface RangePlan {
  readonly source: RangeSource;
  readonly options: RangeOptions;
  readonly revision: number;
  readonly readMain: number;
  readonly start: Uint8Array;
  /** Undefined for no upper bound. */
  readonly end: Uint8Array | undefined;
  /** Infinity for none. */
  readonly limit: number;
  readonly hold: CompactionHold | undefined;
}

/** The upper bound in the index's terms of a `range_end` that is not empty. */
export function upperBound(rangeEnd: Uint8Array): Uint8Array | undefined {
  return rangeEnd.length === 1 && rangeEnd[0] === 0 ? undefined : rangeEnd;
}

/** The main revision a request for `revision` reads at; throws `compacted` or `futureRevision`. */
export function readMainOf(revision: number, currentMain: number, compactMain: number): number {
  if (revision > currentMain) {
    throw new EtcdError("futureRevision", `Revision ${revision} is past the current one, ${currentMain}`);
  }
  const main = revision <= 0 ? currentMain : revision;
  if (main < compactMain) {
    throw new EtcdError("compacted", `Revision ${main} is compacted: the oldest is ${compactMain}`);
  }
  return main;
}

export function hasRevisionFilters(options: RangeOptions): boolean {
  return (options.minModRevision ?? 0) !== 0 || (options.maxModRevision ?? 0) !== 0 ||
    (options.minCreateRevision ?? 0) !== 0 || (options.maxCreateRevision ?? 0) !== 0;
}

/** Whether the filters let a key through; each filter of 0 is none. */
export function passesFilters(options: RangeOptions, createMain: number, modMain: number): boolean {
  const { minModRevision = 0, maxModRevision = 0, minCreateRevision = 0, maxCreateRevision = 0 } = options;
  return (maxModRevision === 0 || modMain <= maxModRevision) &&
    (minModRevision === 0 || modMain >= minModRevision) &&
    (maxCreateRevision === 0 || createMain <= maxCreateRevision) &&
    (minCreateRevision === 0 || createMain >= minCreateRevision);
}

/** The KeyValue that the index's hit stands for. Invariant: what the index knows is in the backend. */
export function loadHit(source: RangeSource): Uint8Array {
  const { hitMain, hitSub } = source.index;
  return loadRevision(source, hitMain, hitSub);
}

export function loadRevision(source: RangeSource, main: number, sub: number): Uint8Array {
  const keyValue = source.backend.getRevision(main, sub);
  assert(keyValue !== undefined, "Revision %.% is in the index and not in the backend", main, sub);
  return keyValue;
}

/** A stored KeyValue that is valid until the backend is called again. */
export function viewRevision(source: RangeSource, main: number, sub: number): Uint8Array {
  const keyValue = source.backend.viewRevision(main, sub);
  assert(keyValue !== undefined, "Revision %.% is in the index and not in the backend", main, sub);
  return keyValue;
}

/** Throws when what a cursor reads may have gone. */
export function checkReadable(plan: RangePlan): void {
  if (plan.hold !== undefined || plan.readMain >= plan.source.compactRevision) return;
  throw new EtcdError("compacted", `Revision ${plan.readMain} was compacted while it was being read`);
}
