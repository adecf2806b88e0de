import type { RaftIndex } from "../base/units.ts";
import type { Tracker } from "./tracker/tracker.ts";

/** A read that waits for its index. `from` is the member that asked. */
export interface PendingRead {
  readonly from: bigint;
  readonly context: Uint8Array;
  /** The commit index when it arrived: what the read must see. */
  readonly index: RaftIndex;
}

/**
 * Reads that the leader answers once a quorum has confirmed, by answering a heartbeat sent after the read
 * arrived, that it still leads (Raft thesis, 6.4). A heartbeat carries the position of the newest read, counted
 * from the beginning of the term, and confirms that one and all before it: one round serves every read that
 * waits, and an answer to an old heartbeat confirms nothing newer, whatever contexts the clients choose.
 *
 * Example: reads 1 to 5 wait; a quorum has answered heartbeats with 3 or more; reads 1, 2 and 3 are confirmed.
 */
export class ReadQueue {
  #waiting: PendingRead[] = [];
  /** Position of the last confirmed read. */
  #confirmed = 0;
  readonly #acked = new Map<bigint, number>();

  get length(): number {
    return this.#waiting.length;
  }

  /** Position of the newest read; what the next heartbeats carry. */
  get position(): number {
    return this.#confirmed + this.#waiting.length;
  }

  add(read: PendingRead): void {
    this.#waiting.push(read);
  }

  /** A member has answered a heartbeat that carried `position`. */
  acknowledged(id: bigint, position: number): void {
    if (position > this.position || position <= (this.#acked.get(id) ?? 0)) return;
    this.#acked.set(id, position);
  }

  /** Removes and gives the reads that a quorum has confirmed by now. */
  takeConfirmed(tracker: Tracker): PendingRead[] {
    const confirmed = Math.min(tracker.quorumIndex(this.#acked), this.position);
    const count = confirmed - this.#confirmed;
    if (count <= 0) return [];
    this.#confirmed = confirmed;
    return this.#waiting.splice(0, count);
  }
}

const POSITION_BYTES = 8;

/** A position as heartbeats carry it: 64 bits, little-endian. */
export function encodePosition(position: number): Uint8Array {
  const bytes = new Uint8Array(POSITION_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(position), true);
  return bytes;
}

/** Undefined when the bytes are no position. */
export function decodePosition(bytes: Uint8Array): number | undefined {
  if (bytes.length !== POSITION_BYTES) return undefined;
  const position = new DataView(bytes.buffer, bytes.byteOffset, POSITION_BYTES).getBigUint64(0, true);
  return position <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(position) : undefined;
}
