import {
  isTombstoneKey,
  REVISION_KEY_BYTES,
  revisionKeyMain,
  revisionKeySub,
  TOMBSTONE_KEY_BYTES,
} from "../mvcc/revision.ts";
import type { LinkNative } from "../ports/native_calls.ts";
import type { RevisionVisit } from "./revision_run.ts";

/** What of lmdb-js's native side is called. All but `globalBuffer` take and give numbers only. */
export interface NativeReads {
  /** Memory that values are read into, until lmdb-js needs a larger one. */
  readonly globalBuffer: LmdbBytes;
  /** Reads the record of the key at the beginning of the key memory; its length, or an error below 0. */
  getByBinary(table: number, keyLength: number, ifNotTransaction: number, transaction: number): number;
  /** Sets a cursor to the first record from the key in the key memory on, and reads that: as `iterate`. */
  position(cursor: number, flags: number, offset: number, keyLength: number, end: number): number;
  /** Reads the next record; the length of its key, 0 when there is none, or an error below 0. */
  iterate(cursor: number): number;
  /** Addresses of the C functions behind two of these, as the bits of a double. */
  readonly getByBinaryPtr: number;
  readonly iteratePtr: number;
  /** Throws the error of a code. */
  lmdbError(code: number): never;
}

/** What of a database of lmdb-js is used to read it. */
export interface ReadTable {
  readonly dbAddress: number;
  readonly lastSize: number;
  readonly db: { availableCursor?: NativeCursor | null };
  /** Begins the read transaction that all reads of this turn share. */
  ensureReadTxn(): void;
  getBinaryFast(key: Uint8Array): Uint8Array | undefined;
  getKeys(options: { limit: number }): Iterable<unknown>;
}

interface NativeCursor {
  readonly address: number;
  close(): void;
}

/** lmdb-js reads values into one buffer and sets the length of its view; `maxLength` is the true one. */
export type LmdbBytes = Uint8Array<ArrayBuffer> & {
  readonly maxLength?: number;
  readonly isGlobal?: boolean;
};

/** Error of a read that finds nothing. */
const NOT_FOUND = -30798;
/** Flags of `position`: values are wanted, and the cursor has been used before. */
const VALUES = 0x100;
const RENEW = 0x2000;
/** Places in the key memory after a cursor has moved: length of the value, and the key. */
const VALUE_LENGTH_AT = 0;
const FOUND_KEY_AT = 32;

/** Views of the value memory are kept for values up to this length. */
const KEPT_VIEW_BYTES_MAX = 8192;

/**
 * Reads records where lmdb-js's native side puts them: no object, promise or copy for each, as lmdb-js itself has
 * it. A large read would leave hundreds of megabytes of garbage otherwise.
 *
 * lmdb-js may replace the value memory at any time, for anybody who reads a large value. So the first byte is made
 * 0 before each read: if it still is afterwards, the value went elsewhere, or begins with 0, or did not fit, and
 * is read again through lmdb-js, which knows where it is. No encoded KeyValue begins with 0.
 */
export class LmdbReader {
  readonly #native: NativeReads;
  readonly #getByBinary: NativeReads["getByBinary"];
  readonly #iterate: NativeReads["iterate"];
  /** The memory that keys pass through. */
  #keyBytes: Uint8Array | undefined;
  #keyView!: DataView;
  #foundKey!: Uint8Array;
  #foundTombstoneKey!: Uint8Array;
  #valueBytes: Uint8Array;
  /** By their lengths. */
  #valueViews: (Uint8Array | undefined)[] = [];

  constructor(native: NativeReads, linkNative: LinkNative | undefined) {
    this.#native = native;
    this.#valueBytes = plainView(native.globalBuffer);
    this.#getByBinary = linkNative?.({
      address: addressFromDouble(native.getByBinaryPtr),
      takes: ["double", "uint32", "uint32", "uint64"],
      gives: "int32",
    }) ?? native.getByBinary;
    this.#iterate = linkNative?.({
      address: addressFromDouble(native.iteratePtr),
      takes: ["double"],
      gives: "int32",
    }) ?? native.iterate;
  }

  /** To be called with what lmdb-js gives a key encoder as its target, before anything is read. */
  useKeyMemory(keyBytes: Uint8Array): void {
    if (keyBytes === this.#keyBytes) return;
    this.#keyBytes = keyBytes;
    this.#keyView = new DataView(keyBytes.buffer, keyBytes.byteOffset, keyBytes.length);
    const found = new Uint8Array(keyBytes.buffer, keyBytes.byteOffset + FOUND_KEY_AT, TOMBSTONE_KEY_BYTES);
    this.#foundKey = found.subarray(0, REVISION_KEY_BYTES);
    this.#foundTombstoneKey = found;
  }

  /** A record's value; good until the next one is read. */
  get(table: ReadTable, key: Uint8Array): Uint8Array | undefined {
    table.ensureReadTxn();
    this.#keyBytes!.set(key);
    this.#valueBytes[0] = 0;
    const length = this.#getByBinary(table.dbAddress, key.length, 0, 0);
    if (length === NOT_FOUND) return undefined;
    return this.#valueBytes[0] === 0 ? this.#getAgain(table, key) : this.#viewOf(length);
  }

  /** Visits the records of bucket "key" from a key on. */
  scan(table: ReadTable, start: Uint8Array, visit: RevisionVisit): void {
    const cursor = this.#takeCursor(table);
    if (cursor === undefined) return;
    try {
      table.ensureReadTxn();
      this.#keyBytes!.set(start);
      this.#valueBytes[0] = 0;
      let keyLength = this.#native.position(cursor.address, VALUES | RENEW, 0, start.length, 0);
      while (keyLength > 0) {
        const key = keyLength === TOMBSTONE_KEY_BYTES ? this.#foundTombstoneKey : this.#foundKey;
        const main = revisionKeyMain(key);
        const sub = revisionKeySub(key);
        const length = this.#keyView.getUint32(VALUE_LENGTH_AT, true);
        const value = this.#valueBytes[0] === 0 ? this.#getAgain(table, key.slice())! : this.#viewOf(length);
        if (!visit(main, sub, isTombstoneKey(key), value)) return;
        this.#valueBytes[0] = 0;
        keyLength = this.#iterate(cursor.address);
      }
      if (keyLength < 0 && keyLength !== NOT_FOUND) this.#native.lmdbError(keyLength);
    } finally {
      if (table.db.availableCursor) cursor.close();
      else table.db.availableCursor = cursor;
    }
  }

  /** The cursor that lmdb-js keeps for the next range. When it has none, a range leaves one behind. */
  #takeCursor(table: ReadTable): NativeCursor | undefined {
    if (!table.db.availableCursor) Array.from(table.getKeys({ limit: 1 }));
    const cursor = table.db.availableCursor ?? undefined;
    table.db.availableCursor = null;
    return cursor;
  }

  #getAgain(table: ReadTable, key: Uint8Array): Uint8Array | undefined {
    const bytes = table.getBinaryFast(key) as LmdbBytes | undefined;
    if (bytes === undefined) return undefined;
    if (bytes.isGlobal !== true) return bytes.subarray(0, table.lastSize); // A view of the mapped file.
    if (bytes.byteOffset !== this.#valueBytes.byteOffset || bytes.buffer !== this.#valueBytes.buffer) {
      this.#valueBytes = plainView(bytes);
      this.#valueViews = [];
    }
    return this.#viewOf(table.lastSize);
  }

  #viewOf(length: number): Uint8Array {
    if (length > KEPT_VIEW_BYTES_MAX) return this.#valueBytes.subarray(0, length);
    return this.#valueViews[length] ??= this.#valueBytes.subarray(0, length);
  }
}

function plainView(bytes: LmdbBytes): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.maxLength ?? bytes.length);
}

const double = new Float64Array(1);
const doubleBits = new BigUint64Array(double.buffer);

function addressFromDouble(bits: number): bigint {
  double[0] = bits;
  return doubleBits[0]!;
}
