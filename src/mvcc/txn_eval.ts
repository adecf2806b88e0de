import { compareBytes, EMPTY_BYTES } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import { countFromWire } from "../base/units.ts";
import { KeyValueReader } from "./key_value.ts";
import { loadHit, upperBound } from "./range.ts";
import {
  type CompareShape,
  type DeleteRangeRequestShape,
  type PutRequestShape,
  rangeOptions,
  type RangeRequestShape,
  type RequestOpShape,
  type TxnRequestShape,
} from "./requests.ts";
import type { Store } from "./store.ts";
import type { WriteTxn } from "./write_txn.ts";

/*
 * Executes the KV service's writes and transactions. Results have the shapes of the response messages, with
 * stored KeyValues as encoded bytes, and headers that carry the revision only: the encoders in
 * `src/gen/codec` take them as they are.
 */

export interface RevisionHeader {
  /** 0 for "not set", as in the header of a nested transaction. */
  readonly revision: number;
}

export interface RangeOutcome {
  readonly header: RevisionHeader;
  readonly kvs: readonly Uint8Array[];
  readonly more: boolean;
  readonly count: number;
}

export interface PutOutcome {
  readonly header: RevisionHeader;
  readonly prevKv: Uint8Array | undefined;
}

export interface DeleteRangeOutcome {
  readonly header: RevisionHeader;
  readonly deleted: number;
  readonly prevKvs: readonly Uint8Array[];
}

export interface TxnOutcome {
  readonly header: RevisionHeader;
  readonly succeeded: boolean;
  readonly responses: readonly { readonly response: OperationOutcome }[];
}

export type OperationOutcome =
  | { readonly case: "responseRange"; readonly value: RangeOutcome }
  | { readonly case: "responsePut"; readonly value: PutOutcome }
  | { readonly case: "responseDeleteRange"; readonly value: DeleteRangeOutcome }
  | { readonly case: "responseTxn"; readonly value: TxnOutcome }
  | { readonly case: undefined };

const NO_KVS: readonly Uint8Array[] = [];
const reader = new KeyValueReader();

/** Executes a PutRequest. Throws `leaseNotFound` and `keyNotFound` and has changed nothing then. */
export function executePut(store: Store, request: PutRequestShape): PutOutcome {
  checkPutAgainstStore(store, request);
  const txn = store.beginWrite();
  const outcome = put(txn, request);
  txn.end();
  return outcome;
}

/** Executes a DeleteRangeRequest. */
export function executeDeleteRange(store: Store, request: DeleteRangeRequestShape): DeleteRangeOutcome {
  const txn = store.beginWrite();
  const outcome = deleteRange(txn, request);
  txn.end();
  return outcome;
}

/**
 * Executes a TxnRequest, read-only or not: chooses the path through all nested transactions, checks every
 * operation on it against the store, and only then changes anything. Throws `compacted`, `futureRevision`,
 * `leaseNotFound` and `keyNotFound`, and has changed nothing then.
 *
 * `skipRanges` leaves the results of ranges empty: for members that nobody waits for. It must not be set
 * for a read-only transaction.
 */
export function executeTxn(store: Store, request: TxnRequestShape, skipRanges: boolean): TxnOutcome {
  const path: boolean[] = [];
  choosePath(store, request, path);
  checkPath(store, request, { path, at: 0 });
  const txn = store.beginWrite();
  const outcome = applyPath(txn, request, { path, at: 0 }, skipRanges);
  txn.end();
  return { ...outcome, header: { revision: txn.revision } };
}

/**
 * The branches taken by a transaction and those nested in it, in the order in which a walk over the taken
 * branches meets them. All compares see the store as it is before the transaction.
 */
function choosePath(store: Store, txn: TxnRequestShape, path: boolean[]): void {
  const succeeded = txn.compare.every((compare) => holds(store, compare));
  path.push(succeeded);
  for (const { request } of succeeded ? txn.success : txn.failure) {
    if (request.case === "requestTxn") choosePath(store, request.value, path);
  }
}

/** A place on the way along a path. */
interface PathCursor {
  readonly path: readonly boolean[];
  at: number;
}

function takenBranch(txn: TxnRequestShape, cursor: PathCursor): readonly RequestOpShape[] {
  return cursor.path[cursor.at++] === true ? txn.success : txn.failure;
}

function checkPath(store: Store, txn: TxnRequestShape, cursor: PathCursor): void {
  for (const { request } of takenBranch(txn, cursor)) {
    if (request.case === "requestRange") checkRangeAgainstStore(store, request.value);
    else if (request.case === "requestPut") checkPutAgainstStore(store, request.value);
    else if (request.case === "requestTxn") checkPath(store, request.value, cursor);
  }
}

function checkRangeAgainstStore(store: Store, request: RangeRequestShape): void {
  if (request.revision === 0n) return;
  const revision = countFromWire(request.revision);
  if (revision > store.currentRevision) throw new EtcdError("futureRevision");
  // Unlike by itself, a range with a negative revision is refused here (once there was a compaction).
  if (revision < store.compactRevision) throw new EtcdError("compacted");
}

function checkPutAgainstStore(store: Store, request: PutRequestShape): void {
  if (request.lease !== 0n && !store.leases.exists(request.lease)) throw new EtcdError("leaseNotFound");
  if (!request.ignoreValue && !request.ignoreLease) return;
  if (!store.index.seek(request.key, store.currentRevision)) throw new EtcdError("keyNotFound");
}

function applyPath(
  txn: WriteTxn,
  request: TxnRequestShape,
  cursor: PathCursor,
  skipRanges: boolean,
): TxnOutcome {
  const succeeded = cursor.path[cursor.at] === true;
  const responses: { readonly response: OperationOutcome }[] = [];
  for (const op of takenBranch(request, cursor)) {
    responses.push({ response: apply(txn, op, cursor, skipRanges) });
  }
  return { header: { revision: 0 }, succeeded, responses };
}

function apply(txn: WriteTxn, op: RequestOpShape, cursor: PathCursor, skipRanges: boolean): OperationOutcome {
  const { request } = op;
  switch (request.case) {
    case "requestRange":
      return { case: "responseRange", value: range(txn, request.value, skipRanges) };
    case "requestPut":
      return { case: "responsePut", value: put(txn, request.value) };
    case "requestDeleteRange":
      return { case: "responseDeleteRange", value: deleteRange(txn, request.value) };
    case "requestTxn":
      return { case: "responseTxn", value: applyPath(txn, request.value, cursor, skipRanges) };
    default:
      return { case: undefined };
  }
}

function range(txn: WriteTxn, request: RangeRequestShape, skipRanges: boolean): RangeOutcome {
  const header = { revision: txn.revision };
  if (skipRanges) return { header, kvs: NO_KVS, more: false, count: 0 };
  const { kvs, count, more } = txn.range(rangeOptions(request));
  return { header, kvs, more, count };
}

function put(txn: WriteTxn, request: PutRequestShape): PutOutcome {
  let { value, lease } = request;
  let previous: Uint8Array | undefined;
  if (request.prevKv || request.ignoreValue || request.ignoreLease) {
    // The key was there before the transaction, or the check has failed. It can be missing nevertheless
    // after a delete with range_end "\0" in the same transaction, which the conflict check lets pass (and
    // on which etcd 3.7 panics): then there is nothing to keep.
    previous = txn.get(request.key);
    if (request.ignoreValue) value = previous === undefined ? EMPTY_BYTES : reader.read(previous).value;
    if (request.ignoreLease) lease = previous === undefined ? 0n : reader.read(previous).lease;
  }
  txn.put(request.key, value, lease);
  return { header: { revision: txn.revision }, prevKv: request.prevKv ? previous : undefined };
}

function deleteRange(txn: WriteTxn, request: DeleteRangeRequestShape): DeleteRangeOutcome {
  const prevKvs: Uint8Array[] = [];
  const deleted = txn.deleteRange(request.key, request.rangeEnd, request.prevKv ? prevKvs : undefined);
  return { header: { revision: txn.revision }, deleted, prevKvs };
}

/** Compare.CompareTarget. */
const target = { version: 0, create: 1, mod: 2, value: 3, lease: 4 } as const;
/** Compare.CompareResult. */
const result = { equal: 0, greater: 1, less: 2, notEqual: 3 } as const;

/**
 * Whether a compare holds for every key it covers. A range without keys compares as one key whose numbers
 * are all 0; a value, which such a key does not have, never compares as anything.
 */
function holds(store: Store, compare: CompareShape): boolean {
  const { index } = store;
  const { key, rangeEnd } = compare;
  const main = store.currentRevision;
  if (rangeEnd.length === 0) {
    return index.seek(key, main) ? holdsForHit(store, compare) : holdsForNone(compare);
  }
  const end = upperBound(rangeEnd);
  if (end !== undefined && compareBytes(key, end) >= 0) return holdsForNone(compare);
  let found = false;
  let holdsSoFar = true;
  index.visit(key, end, main, () => {
    found = true;
    holdsSoFar = holdsForHit(store, compare);
    return holdsSoFar;
  });
  return found ? holdsSoFar : holdsForNone(compare);
}

function holdsForNone(compare: CompareShape): boolean {
  return compare.target !== target.value && isResult(compare.result, compareNumbers(0, operand(compare)));
}

function holdsForHit(store: Store, compare: CompareShape): boolean {
  const { index } = store;
  switch (compare.target) {
    case target.version:
      return isResult(compare.result, compareNumbers(index.hitVersion, operand(compare)));
    case target.create:
      return isResult(compare.result, compareNumbers(index.hitCreateMain, operand(compare)));
    case target.mod:
      return isResult(compare.result, compareNumbers(index.hitMain, operand(compare)));
    case target.value: {
      const wanted = compare.targetUnion.case === "value" ? compare.targetUnion.value : EMPTY_BYTES;
      return isResult(compare.result, compareBytes(reader.read(loadHit(store)).value, wanted));
    }
    case target.lease:
      return isResult(compare.result, compareNumbers(reader.read(loadHit(store)).lease, operand(compare)));
    default:
      // As in etcd, a target that does not exist compares as equal.
      return isResult(compare.result, 0);
  }
}

/** The number to compare with: 0 when the request carries none, or one for another target. */
function operand(compare: CompareShape): bigint {
  const { targetUnion } = compare;
  const wanted = operandCases[compare.target];
  return targetUnion.case !== undefined && targetUnion.case !== "value" && targetUnion.case === wanted
    ? targetUnion.value
    : 0n;
}

const operandCases = ["version", "createRevision", "modRevision", "value", "lease"];

function compareNumbers(a: number | bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function isResult(wanted: number, order: number): boolean {
  switch (wanted) {
    case result.equal:
      return order === 0;
    case result.notEqual:
      return order !== 0;
    case result.greater:
      return order > 0;
    case result.less:
      return order < 0;
    default:
      // As in etcd, a result that does not exist always holds.
      return true;
  }
}
