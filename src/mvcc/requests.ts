/**
 * The request messages of the KV service as mvcc reads them: the generated types have these shapes, and so
 * may anything else. 64-bit numbers are bigints as they came; revisions and counts become numbers on the way
 * in, saturating (`revisionFromWire`, `countFromWire`).
 */
import { countFromWire, revisionFromWire } from "../base/units.ts";
import type { RangeOptions } from "./range.ts";

export interface RangeRequestShape {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly limit: bigint;
  readonly revision: bigint;
  readonly sortOrder: number;
  readonly sortTarget: number;
  readonly serializable: boolean;
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  readonly minModRevision: bigint;
  readonly maxModRevision: bigint;
  readonly minCreateRevision: bigint;
  readonly maxCreateRevision: bigint;
}

export interface PutRequestShape {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  readonly lease: bigint;
  readonly prevKv: boolean;
  readonly ignoreValue: boolean;
  readonly ignoreLease: boolean;
}

export interface DeleteRangeRequestShape {
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly prevKv: boolean;
}

export interface CompareShape {
  readonly result: number;
  readonly target: number;
  readonly key: Uint8Array;
  readonly rangeEnd: Uint8Array;
  readonly targetUnion:
    | { readonly case: "version" | "createRevision" | "modRevision" | "lease"; readonly value: bigint }
    | { readonly case: "value"; readonly value: Uint8Array }
    | { readonly case: undefined; readonly value?: undefined };
}

export interface TxnRequestShape {
  readonly compare: readonly CompareShape[];
  readonly success: readonly RequestOpShape[];
  readonly failure: readonly RequestOpShape[];
}

export interface RequestOpShape {
  readonly request:
    | { readonly case: "requestRange"; readonly value: RangeRequestShape }
    | { readonly case: "requestPut"; readonly value: PutRequestShape }
    | { readonly case: "requestDeleteRange"; readonly value: DeleteRangeRequestShape }
    | { readonly case: "requestTxn"; readonly value: TxnRequestShape }
    | { readonly case: undefined; readonly value?: undefined };
}

/** A RangeRequest in the store's numbers. */
export function rangeOptions(request: RangeRequestShape): RangeOptions {
  return {
    key: request.key,
    rangeEnd: request.rangeEnd,
    revision: revisionFromWire(request.revision),
    limit: countFromWire(request.limit),
    sortOrder: request.sortOrder,
    sortTarget: request.sortTarget,
    keysOnly: request.keysOnly,
    countOnly: request.countOnly,
    minModRevision: countFromWire(request.minModRevision),
    maxModRevision: countFromWire(request.maxModRevision),
    minCreateRevision: countFromWire(request.minCreateRevision),
    maxCreateRevision: countFromWire(request.maxCreateRevision),
  };
}

/**
 * Whether a transaction changes nothing whichever way its compares go, so that it needs no log entry. As in
 * etcd a nested transaction counts as a write.
 */
export function isReadOnlyTxn(txn: TxnRequestShape): boolean {
  return txn.success.every(isRange) && txn.failure.every(isRange);
}

/** Whether every range of a read-only transaction may be answered without asking the quorum. */
export function isSerializableTxn(txn: TxnRequestShape): boolean {
  return txn.success.every(isSerializableRange) && txn.failure.every(isSerializableRange);
}

function isRange(op: RequestOpShape): boolean {
  return op.request.case === "requestRange";
}

function isSerializableRange(op: RequestOpShape): boolean {
  return op.request.case === "requestRange" && op.request.value.serializable;
}
