import { utf8 } from "../../base/bytes.ts";
import type { Backend } from "../../mvcc/backend.ts";

/** Raft index of the last applied entry whose changes are in the backend; 8 bytes, big endian. */
export const CONSISTENT_INDEX_KEY = utf8("consistent_index");
/** Raft term of that entry; 8 bytes, big endian. */
export const TERM_KEY = utf8("term");

/** Eight bytes, big endian, of a whole number in [0, 2^53). */
export function encodeUint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

export function decodeUint64(bytes: Uint8Array): number {
  return Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(0));
}

/** Zeros in an empty backend. */
export function readConsistentIndex(backend: Backend): { readonly index: number; readonly term: number } {
  const index = backend.get("meta", CONSISTENT_INDEX_KEY);
  const term = backend.get("meta", TERM_KEY);
  return {
    index: index === undefined ? 0 : decodeUint64(index),
    term: term === undefined ? 0 : decodeUint64(term),
  };
}
