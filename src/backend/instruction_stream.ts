import { assert } from "../base/assert.ts";

/** What the native write thread of lmdb-js does for an instruction: low bits of its first word. */
const PUT = 15;
const DELETE = 13;
const CONTINUE_ELSEWHERE = 3;
const END = 0;
/** LMDB's MDB_APPEND: the key is past every other one, so pages are filled to the brim and not split. */
const APPEND = 0x20000;

const BUFFER_BYTES = 64 * 1024;
/** Room kept at the end of each buffer for the jump to the next one, or for the end mark, after the word of the id. */
const LINK_BYTES = 16;
/** Header and value reference of an instruction, padding included. */
const INSTRUCTION_BYTES_MAX = 48;

const VALUE_BYTES_LIMIT = 0x8000_0000;
/** What `clear` keeps; only a very large transaction needs more. */
const KEPT_BUFFERS_MAX = 32;

/** Longest key that LMDB takes with our page size, as lmdb-js limits it. */
export const BUCKET_KEY_BYTES_MAX = 4026;

/** Address in memory of a buffer that does not move. */
export type AddressOf = (buffer: ArrayBuffer) => number;

interface InstructionBuffer {
  readonly buffer: ArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Uint32Array;
  readonly doubles: Float64Array;
  readonly address: number;
}

/**
 * A transaction as the write thread of lmdb-js reads it: instructions one after the other in plain memory,
 * each a put or a delete with its key inline and its value as an address. lmdb-js builds the same stream
 * from `put()` calls with a promise, a closure and a list node each; writing it directly costs 0.1 us a
 * record and leaves no garbage, and the border of the transaction is ours to choose.
 *
 * Layout of an instruction, from the head of `src/writer.cpp` in lmdb 3.5.6 (that exact version is pinned):
 * 4 bytes flags, 4 database handle, 4 key length, the key, padding of 1 to 8 bytes so that what follows is
 * aligned to 8 after a 4-byte value length, then the address of the value as a double. A delete ends after
 * the padding. Flags 3 and a double jump to the next buffer, flags 0 end the transaction. The write thread
 * sets result bits in the flags words as it goes, and stores a transaction id in the word before the end.
 */
export class InstructionStream {
  readonly #addressOf: AddressOf;
  readonly #buffers: InstructionBuffer[] = [];
  #current: InstructionBuffer;
  #used = 1;
  /** In units of 8 bytes, as everything in the stream is aligned. */
  #position = 1;
  #count = 0;

  constructor(addressOf: AddressOf) {
    this.#addressOf = addressOf;
    this.#current = this.#newBuffer();
    this.#buffers.push(this.#current);
  }

  get count(): number {
    return this.#count;
  }

  /** The value's memory must stay in place and unchanged until the transaction is over. */
  put(database: number, key: Uint8Array, valueAddress: number, valueLength: number): void {
    this.#put(PUT, database, key, valueAddress, valueLength);
  }

  /** As `put`, at the right edge of the tree: the key must be past all stored ones. */
  append(database: number, key: Uint8Array, valueAddress: number, valueLength: number): void {
    this.#put(PUT | APPEND, database, key, valueAddress, valueLength);
  }

  delete(database: number, key: Uint8Array): void {
    this.#position = (this.#begin(DELETE, database, key) + 16) >>> 3;
  }

  /** Ends the transaction; returns the address of its first instruction. */
  finish(): number {
    this.#current.words[this.#position << 1] = END;
    return this.#buffers[0]!.address + 8;
  }

  /** Forgets all instructions and keeps the memory; not before the transaction is over. */
  clear(): void {
    if (this.#buffers.length > KEPT_BUFFERS_MAX) this.#buffers.length = KEPT_BUFFERS_MAX;
    this.#current = this.#buffers[0]!;
    this.#used = 1;
    this.#position = 1;
    this.#count = 0;
  }

  #put(flags: number, database: number, key: Uint8Array, valueAddress: number, valueLength: number): void {
    assert(valueLength < VALUE_BYTES_LIMIT, "Value is too long: % bytes", valueLength);
    const position = (this.#begin(flags, database, key) + 16) >>> 3;
    this.#current.words[(position << 1) - 1] = valueLength;
    this.#current.doubles[position] = valueAddress;
    this.#position = position + 1;
  }

  /** Writes the head of an instruction and its key; returns where the key ends. */
  #begin(flags: number, database: number, key: Uint8Array): number {
    assert(
      key.length > 0 && key.length <= BUCKET_KEY_BYTES_MAX,
      "Key length must be in 1..%: it is %",
      BUCKET_KEY_BYTES_MAX,
      key.length,
    );
    if ((this.#position << 3) + key.length + INSTRUCTION_BYTES_MAX + LINK_BYTES > BUFFER_BYTES) {
      this.#continueElsewhere();
    }
    const word = this.#position << 1;
    const { words, bytes } = this.#current;
    words[word] = flags;
    words[word + 1] = database;
    words[word + 2] = key.length;
    const keyAt = (word + 3) << 2;
    bytes.set(key, keyAt);
    this.#count += 1;
    return keyAt + key.length;
  }

  #continueElsewhere(): void {
    const from = this.#current;
    let next = this.#buffers[this.#used];
    if (next === undefined) {
      next = this.#newBuffer();
      this.#buffers.push(next);
    }
    this.#used += 1;
    from.words[this.#position << 1] = CONTINUE_ELSEWHERE;
    from.doubles[this.#position + 1] = next.address + 8;
    this.#current = next;
    this.#position = 1;
  }

  #newBuffer(): InstructionBuffer {
    const buffer = new ArrayBuffer(BUFFER_BYTES);
    return {
      buffer,
      bytes: new Uint8Array(buffer),
      words: new Uint32Array(buffer),
      doubles: new Float64Array(buffer),
      address: this.#addressOf(buffer),
    };
  }
}
