import { assert } from "../base/assert.ts";

/** A chunk is 1 MiB: small enough that a new one costs microseconds, large enough that few exist. */
const CHUNK_SHIFT = 20;
const CHUNK_BYTES = 1 << CHUNK_SHIFT;
/** Keys start at multiples of four bytes, so that a 31-bit reference reaches 8 GiB. */
const ALIGN_SHIFT = 2;
const OFFSET_BITS = CHUNK_SHIFT - ALIGN_SHIFT;
const OFFSET_MASK = (1 << OFFSET_BITS) - 1;
const CHUNKS_MAX = 1 << (31 - OFFSET_BITS);
/** A key longer than this has an array of its own, so that the end of a chunk wastes little. */
const CHUNKED_KEY_BYTES_MAX = 64 << 10;
/** A length below this takes one byte in front of the key, a longer one three further bytes. */
const LONG_LENGTH_MARK = 0xff;
const LONG_HEADER_BYTES = 4;

const NO_BYTES = new Uint8Array(0);

/**
 * The bytes of all keys. A key lies behind its length in a chunk and is named by a reference: chunk number
 * and offset, or the complement of a place in `#large`. A key's bytes never change; `move` gives it a new
 * reference. A chunk whose keys are all freed is dropped; the owner of the references empties one that is
 * mostly freed by moving what is left of it.
 *
 * Example: "foo" and then "quux" added to an empty arena lie at 0 and 4 of chunk 0: 03 f o o 04 q u u x.
 */
export class KeyArena {
  readonly #chunks: Uint8Array[] = [];
  /** Bytes written in each chunk, and how many of them belong to keys not freed. */
  readonly #filled: number[] = [];
  readonly #live: number[] = [];
  readonly #freeChunks: number[] = [];
  /** The chunk that keys are added to, or -1 before the first. */
  #current = -1;
  /** The next key that `nextInSparseChunk` returns, or -1 between chunks. */
  #sparseRef = -1;

  readonly #large: Uint8Array[] = [];
  readonly #freeLarge: number[] = [];
  #memoryBytes = 0;

  /** Stores a copy of `bytes[start, end)` and returns its reference. */
  add(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start;
    if (length > CHUNKED_KEY_BYTES_MAX) return this.#addLarge(bytes.slice(start, end));
    const size = storedBytes(length);
    if (this.#current < 0 || this.#filled[this.#current]! + size > CHUNK_BYTES) this.#openChunk();
    const number = this.#current;
    const chunk = this.#chunks[number]!;
    const offset = this.#filled[number]!;
    this.#filled[number] = offset + size;
    this.#live[number]! += size;

    let at = offset;
    if (length < LONG_LENGTH_MARK) chunk[at++] = length;
    else {
      chunk[at] = LONG_LENGTH_MARK;
      chunk[at + 1] = length;
      chunk[at + 2] = length >>> 8;
      chunk[at + 3] = length >>> 16;
      at += LONG_HEADER_BYTES;
    }
    for (let i = start; i < end; i += 1) chunk[at++] = bytes[i]!;
    return (number << OFFSET_BITS) | (offset >>> ALIGN_SHIFT);
  }

  /** The array that holds a key: its bytes are `bytesOf(ref)[startOf(ref), startOf(ref) + lengthOf(ref))`. */
  bytesOf(ref: number): Uint8Array {
    return ref < 0 ? this.#large[~ref]! : this.#chunks[ref >>> OFFSET_BITS]!;
  }

  startOf(ref: number): number {
    if (ref < 0) return 0;
    const offset = (ref & OFFSET_MASK) << ALIGN_SHIFT;
    return this.#chunks[ref >>> OFFSET_BITS]![offset] === LONG_LENGTH_MARK
      ? offset + LONG_HEADER_BYTES
      : offset + 1;
  }

  lengthOf(ref: number): number {
    if (ref < 0) return this.#large[~ref]!.length;
    const chunk = this.#chunks[ref >>> OFFSET_BITS]!;
    const offset = (ref & OFFSET_MASK) << ALIGN_SHIFT;
    const length = chunk[offset]!;
    if (length !== LONG_LENGTH_MARK) return length;
    return chunk[offset + 1]! | (chunk[offset + 2]! << 8) | (chunk[offset + 3]! << 16);
  }

  free(ref: number): void {
    if (ref < 0) {
      this.#memoryBytes -= this.#large[~ref]!.length;
      this.#large[~ref] = NO_BYTES;
      this.#freeLarge.push(~ref);
      return;
    }
    const number = ref >>> OFFSET_BITS;
    this.#live[number]! -= storedBytes(this.lengthOf(ref));
    if (this.#live[number] === 0 && number !== this.#current) this.#dropChunk(number);
  }

  /**
   * Walks the keys of chunks less than half of which is in use: each call returns the reference of one
   * (perhaps a freed one), and -1 when no chunk is so. The owner moves the live ones before the next call.
   */
  nextInSparseChunk(): number {
    if (this.#sparseRef < 0) {
      const chunk = this.#findSparseChunk();
      if (chunk < 0) return -1;
      this.#sparseRef = chunk << OFFSET_BITS;
    }
    const ref = this.#sparseRef;
    const number = ref >>> OFFSET_BITS;
    const next = ((ref & OFFSET_MASK) << ALIGN_SHIFT) + storedBytes(this.lengthOf(ref));
    this.#sparseRef = next < this.#filled[number]! ? ref + (next >>> ALIGN_SHIFT) - (ref & OFFSET_MASK) : -1;
    return ref;
  }

  /** Stores a key elsewhere and frees its old place, which may end its chunk. Returns the new reference. */
  move(ref: number): number {
    const start = this.startOf(ref);
    const moved = this.add(this.bytesOf(ref), start, start + this.lengthOf(ref));
    this.free(ref);
    return moved;
  }

  get memoryBytes(): number {
    return this.#memoryBytes;
  }

  #addLarge(key: Uint8Array): number {
    const at = this.#freeLarge.pop() ?? this.#large.length;
    this.#large[at] = key;
    this.#memoryBytes += key.length;
    return ~at;
  }

  #openChunk(): void {
    const full = this.#current;
    const number = this.#freeChunks.pop() ?? this.#chunks.length;
    assert(number < CHUNKS_MAX, "Cannot store more than % MiB of keys", CHUNKS_MAX);
    this.#chunks[number] = new Uint8Array(CHUNK_BYTES);
    this.#filled[number] = 0;
    this.#live[number] = 0;
    this.#current = number;
    this.#memoryBytes += CHUNK_BYTES;
    if (full >= 0 && this.#live[full] === 0) this.#dropChunk(full);
  }

  /** The chunk being filled is never sparse. */
  #findSparseChunk(): number {
    for (let number = 0; number < this.#chunks.length; number += 1) {
      if (number !== this.#current && this.#live[number]! * 2 < this.#filled[number]!) return number;
    }
    return -1;
  }

  #dropChunk(number: number): void {
    if (this.#sparseRef >>> OFFSET_BITS === number) this.#sparseRef = -1;
    this.#chunks[number] = NO_BYTES;
    this.#filled[number] = 0;
    this.#freeChunks.push(number);
    this.#memoryBytes -= CHUNK_BYTES;
  }
}

/** Bytes a key of this length takes in a chunk. */
function storedBytes(length: number): number {
  const header = length < LONG_LENGTH_MARK ? 1 : LONG_HEADER_BYTES;
  return (header + length + 3) & ~3;
}
