import type { ByteWriter } from "../base/byte_writer.ts";

const TWO_POW_32 = 0x1_0000_0000;

/**
 * Ids of raft requests and of leases that clients did not name: 16 bits of the member's id, 40 bits of
 * the milliseconds at which the generator was made, 8 bits and more of a counter, so that ids do not
 * repeat over restarts (etcd's layout). Kept as two 32-bit halves: a BigInt per request would cost more
 * than the rest of its encoding.
 */
export class RequestIds {
  #high: number;
  #low: number;

  constructor(memberId: bigint, wallMs: number) {
    const member = Number(memberId & 0xffffn);
    const counter = (wallMs % 2 ** 40) * 256;
    this.#high = ((member << 16) | Math.floor(counter / TWO_POW_32)) >>> 0;
    this.#low = counter >>> 0;
  }

  /** Moves to the next id, which `writeVarint` and `current` then give. */
  advance(): void {
    this.#low = (this.#low + 1) >>> 0;
    if (this.#low === 0) this.#high = (this.#high + 1) >>> 0;
  }

  get current(): bigint {
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  /** Writes the current id as a protobuf varint. */
  writeVarint(out: ByteWriter): void {
    out.reserve(10);
    const bytes = out.bytes;
    let high = this.#high;
    let low = this.#low;
    while (high !== 0 || low > 127) {
      bytes[out.length++] = (low & 127) | 128;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    bytes[out.length++] = low;
  }
}
