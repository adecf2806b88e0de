const VARINT_BYTES_MAX = 10;
/** Copied in a loop: calling the runtime's `set` takes as long as this many bytes. */
const SHORT_BYTES_MAX = 24;
const TWO_POW_32 = 0x1_0000_0000;

/** Splits a 64-bit integer into two numbers without arithmetic on bigints. */
const word = new BigInt64Array(1);
const halves = new Uint32Array(word.buffer);
const LOW = new Uint8Array(Uint32Array.of(1).buffer)[0] === 1 ? 0 : 1;
const HIGH = 1 - LOW;

/**
 * A growing run of bytes that encoders append to. The fields are public because generated encoders and
 * the frame writer use them directly: `bytes[0, length)` is what has been written.
 */
export class ByteWriter {
  bytes: Uint8Array;
  length = 0;

  constructor(capacity = 256) {
    this.bytes = new Uint8Array(capacity);
  }

  /** Makes room for `count` further bytes. Call it once before a run of direct stores to `bytes`. */
  reserve(count: number): void {
    const needed = this.length + count;
    if (needed <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  byte(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  write(source: Uint8Array): void {
    const count = source.length;
    this.reserve(count);
    if (count > SHORT_BYTES_MAX) {
      this.bytes.set(source, this.length);
    } else {
      const { bytes, length } = this;
      for (let i = 0; i < count; i += 1) bytes[length + i] = source[i]!;
    }
    this.length += count;
  }

  /** A protobuf varint of a whole number in [0, 2^53). */
  varint(value: number): void {
    this.reserve(VARINT_BYTES_MAX);
    const bytes = this.bytes;
    let at = this.length;
    while (value >= TWO_POW_32) {
      bytes[at++] = (value % 128) | 128;
      value = Math.floor(value / 128);
    }
    value >>>= 0;
    while (value > 127) {
      bytes[at++] = (value & 127) | 128;
      value >>>= 7;
    }
    bytes[at++] = value;
    this.length = at;
  }

  /** A protobuf varint of a 64-bit integer; a negative one is written as its two's complement. */
  varint64(value: bigint): void {
    this.reserve(VARINT_BYTES_MAX);
    word[0] = value;
    let low = halves[LOW]!;
    let high = halves[HIGH]!;
    const bytes = this.bytes;
    while (high !== 0 || low > 127) {
      bytes[this.length++] = (low & 127) | 128;
      low = ((low >>> 7) | (high << 25)) >>> 0;
      high >>>= 7;
    }
    bytes[this.length++] = low;
  }

  /** Sets a big-endian 32-bit number at a place that has been written before. */
  setUint32(at: number, value: number): void {
    this.bytes[at] = value >>> 24;
    this.bytes[at + 1] = value >>> 16;
    this.bytes[at + 2] = value >>> 8;
    this.bytes[at + 3] = value;
  }

  /** A copy of what has been written. */
  toBytes(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  clear(): void {
    this.length = 0;
  }
}
