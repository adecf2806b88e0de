import { utf8 } from "../../base/bytes.ts";

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
