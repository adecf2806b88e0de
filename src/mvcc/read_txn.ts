import { compareBytes, EMPTY_BYTES } from "../base/bytes.ts";
import type { CompactionHold } from "./compaction_hold.ts";
import { CountCursor, KeyOrderCursor } from "./key_order_range.ts";
import { encodeKeyValue, withoutValue } from "./key_value.ts";
import {
  hasRevisionFilters,
  loadHit,
  passesFilters,
  type RangeCursor,
  type RangeOptions,
  type RangePlan,
  type RangeResult,
  type RangeSource,
  readMainOf,
  sortOrder,
  sortTarget,
  upperBound,
} from "./range.ts";
import { SortedCursor } from "./sorted_range.ts";

/**
 * A whole range at once, as of `currentMain`. For ranges known to be small, and inside transactions; others
 * go through `openRange`. Throws `compacted` and `futureRevision`.
 */
export function readRange(source: RangeSource, currentMain: number, options: RangeOptions): RangeResult {
  if (options.rangeEnd.length === 0) return readKey(source, currentMain, options);
  const cursor = openRange(source, currentMain, options, undefined);
  let kvs: Uint8Array[] = [];
  while (!cursor.done) {
    const slice = cursor.next(Infinity, Infinity);
    kvs = kvs.length === 0 ? slice : kvs.concat(slice);
  }
  return { kvs, count: cursor.count, more: cursor.more, revision: currentMain };
}

/** Opens a range as of `currentMain`. Throws `compacted` and `futureRevision`. */
export function openRange(
  source: RangeSource,
  currentMain: number,
  options: RangeOptions,
  hold: CompactionHold | undefined,
): RangeCursor {
  const { key, rangeEnd, limit = 0 } = options;
  let end = rangeEnd.length === 0 ? successor(key) : upperBound(rangeEnd);
  // etcd answers an interval that ends before it starts with nothing, not with an error.
  if (end !== undefined && compareBytes(key, end) > 0) end = key;
  const plan: RangePlan = {
    source,
    options,
    revision: currentMain,
    readMain: readMainOf(options.revision ?? 0, currentMain, source.compactRevision),
    start: key,
    end,
    limit: limit > 0 ? limit : Infinity,
    hold,
  };
  if (options.countOnly === true) return new CountCursor(plan);
  const order = options.sortOrder ?? sortOrder.none;
  const target = options.sortTarget ?? sortTarget.key;
  const isKeyOrder = target === sortTarget.key && order !== sortOrder.descend;
  return isKeyOrder ? new KeyOrderCursor(plan) : new SortedCursor(plan);
}

/** The range of one key: no order, no limit that could cut, no walk. */
function readKey(source: RangeSource, currentMain: number, options: RangeOptions): RangeResult {
  const { index } = source;
  const readMain = readMainOf(options.revision ?? 0, currentMain, source.compactRevision);
  if (!index.seek(options.key, readMain)) return { kvs: [], count: 0, more: false, revision: currentMain };
  const isLeftOut = options.countOnly === true ||
    (hasRevisionFilters(options) && !passesFilters(options, index.hitCreateMain, index.hitMain));
  const kvs = isLeftOut ? [] : [readHit(source, options)];
  return { kvs, count: 1, more: false, revision: currentMain };
}

function readHit(source: RangeSource, options: RangeOptions): Uint8Array {
  const { index } = source;
  if (options.keysOnly !== true) return loadHit(source);
  if (options.sortTarget === sortTarget.value) return withoutValue(loadHit(source));
  return encodeKeyValue(options.key, index.hitCreateMain, index.hitMain, index.hitVersion, EMPTY_BYTES, 0n);
}

/** The smallest key after `key`. */
function successor(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}
