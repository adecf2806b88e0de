declare const unit: unique symbol;
type Unit<U extends string> = number & { readonly [unit]: U };

/**
 * A unit that the result of arithmetic enters without a cast, because the raft core counts in it
 * everywhere. A value of another unit is still refused.
 */
type Flavor<U extends string> = number & { readonly [unit]?: U };

/** Position in the raft log; the first entry is 1 and 0 means "before the log". */
export type RaftIndex = Flavor<"raft index">;
/** Raft term; 0 means "before any election". */
export type Term = Flavor<"term">;
/** Main revision of the store. Grows by one per write transaction; an empty store is at 1. */
export type Revision = Unit<"revision">;

/** Reads a revision a client sent. Values past 2^53 saturate: they are "future" either way. Negative ones become -1. */
export function revisionFromWire(value: bigint): Revision {
  if (value === 0n) return 0 as Revision;
  const max = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > max ? max : value < 0n ? -1n : value) as Revision;
}

/** Reads a count or limit a client sent, saturating at +-(2^53 - 1). */
export function countFromWire(value: bigint): number {
  if (value === 0n) return 0;
  const max = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > max ? max : value < -max ? -max : value);
}
