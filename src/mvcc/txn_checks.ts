import { EtcdError } from "../base/errors.ts";
import { checkWriteConflicts } from "./write_conflicts.ts";
import type {
  CompareShape,
  DeleteRangeRequestShape,
  PutRequestShape,
  RangeRequestShape,
  RequestOpShape,
  TxnRequestShape,
} from "./requests.ts";

/*
 * What a request must satisfy by itself, before it is logged and whatever the store holds
 * (etcd, server/etcdserver/api/v3rpc/key.go). Each function throws the first fault as an `EtcdError`.
 */

const SORT_ORDER_MAX = 2;
const SORT_TARGET_MAX = 4;

export function checkRange(request: RangeRequestShape): void {
  checkKey(request.key);
  checkEnum(request.sortOrder, SORT_ORDER_MAX);
  checkEnum(request.sortTarget, SORT_TARGET_MAX);
}

/** A streamed range is in key order and unfiltered. */
export function checkRangeStream(request: RangeRequestShape): void {
  checkRange(request);
  const isKeyOrder = request.sortOrder === 0 || (request.sortTarget === 0 && request.sortOrder === 1);
  if (!isKeyOrder) throw new EtcdError("rangeStreamSortUnsupported");
  const isFiltered = request.minModRevision !== 0n || request.maxModRevision !== 0n ||
    request.minCreateRevision !== 0n || request.maxCreateRevision !== 0n;
  if (isFiltered) throw new EtcdError("rangeStreamFiltersUnsupported");
}

export function checkPut(request: PutRequestShape): void {
  checkKey(request.key);
  if (request.ignoreValue && request.value.length > 0) throw new EtcdError("valueProvided");
  if (request.ignoreLease && request.lease !== 0n) throw new EtcdError("leaseProvided");
}

export function checkDeleteRange(request: DeleteRangeRequestShape): void {
  checkKey(request.key);
}

/** Checks a transaction with all that is nested in it. `operationsMax` is etcd's `--max-txn-ops`. */
export function checkTxn(request: TxnRequestShape, operationsMax: number): void {
  checkOperations(request, operationsMax);
  checkWriteConflicts(request);
}

/**
 * The longest of the three lists counts against the budget, and what is left of it is the budget of each
 * transaction nested directly inside. The depth of nesting is thereby bounded by the budget.
 */
function checkOperations(request: TxnRequestShape, budget: number): void {
  const { compare, success, failure } = request;
  const operations = Math.max(compare.length, success.length, failure.length);
  if (operations > budget) throw new EtcdError("tooManyOperations");
  for (const each of compare) checkCompare(each);
  for (const op of success) checkOperation(op, budget - operations);
  for (const op of failure) checkOperation(op, budget - operations);
}

function checkCompare(compare: CompareShape): void {
  checkKey(compare.key);
}

function checkOperation(op: RequestOpShape, budget: number): void {
  const { request } = op;
  switch (request.case) {
    case "requestRange":
      return checkRange(request.value);
    case "requestPut":
      return checkPut(request.value);
    case "requestDeleteRange":
      return checkDeleteRange(request.value);
    case "requestTxn":
      return checkOperations(request.value, budget);
    default:
      throw new EtcdError("keyNotFound", "A transaction holds an empty operation");
  }
}

function checkKey(key: Uint8Array): void {
  if (key.length === 0) throw new EtcdError("keyNotProvided");
}

function checkEnum(value: number, max: number): void {
  if (!(Number.isInteger(value) && value >= 0 && value <= max)) throw new EtcdError("invalidSortOption");
}
