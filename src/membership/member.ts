import { compareBytes, concatBytes, utf8 } from "../base/bytes.ts";
import type { Digest } from "../ports/digest.ts";

/** A member of the cluster. One that has not started yet has no name and no client URLs. */
export interface Member {
  readonly id: bigint;
  readonly name: string;
  /** Sorted. */
  readonly peerUrls: readonly string[];
  readonly clientUrls: readonly string[];
  readonly isLearner: boolean;
}

/**
 * The id of a member named at bootstrap: the first 8 bytes of the SHA-1 of its sorted peer URLs and the
 * cluster token; one added later mixes in the time (decimal seconds), so that the same URLs get a new id.
 */
export function memberId(
  peerUrls: readonly string[],
  token: string,
  digest: Digest,
  addedAtSeconds?: number,
): bigint {
  const sorted = [...peerUrls].sort();
  const time = addedAtSeconds === undefined ? "" : String(addedAtSeconds);
  return idOf(digest.sha1(utf8(sorted.join("") + token + time)));
}

/** The id of a cluster: the first 8 bytes of the SHA-1 of its members' ids, 8 bytes each, ascending. */
export function clusterId(memberIds: readonly bigint[], digest: Digest): bigint {
  const encoded = memberIds.map(bytesOfId).sort(compareBytes);
  return idOf(digest.sha1(concatBytes(encoded)));
}

function idOf(hash: Uint8Array): bigint {
  return new DataView(hash.buffer, hash.byteOffset).getBigUint64(0);
}

function bytesOfId(id: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, id);
  return bytes;
}
