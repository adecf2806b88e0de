import { EMPTY_BYTES } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import type { StoredKeyValue } from "./key_index_api.ts";

/*
 * mvccpb.KeyValue on disk and on the wire (etcd, api/mvccpb/kv.proto), fields in number order and without
 * default values, as Go's encoder writes them: a stored KeyValue is hashed and sent as it is.
 */
const KEY_TAG = 0x0a;
const CREATE_TAG = 0x10;
const MOD_TAG = 0x18;
const VERSION_TAG = 0x20;
const VALUE_TAG = 0x2a;
const LEASE_TAG = 0x30;

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_LENGTH = 2;
const WIRE_FIXED32 = 5;

/** Tags, lengths and varints of the six fields at their longest. */
const OVERHEAD_BYTES_MAX = 6 + 2 * 5 + 4 * 10;

const SLAB_BYTES = 32 * 1024;
/** Larger ones get memory of their own: a slab lives as long as one of its views. */
const SHARED_BYTES_MAX = SLAB_BYTES / 8;
/** Up to here copying in a loop is faster than the call of `set`. */
const LOOP_BYTES_MAX = 48;
const TWO_POW_32 = 0x1_0000_0000;

/*
 * Where encoding happens. In V8 an array of its own costs a KeyValue 0.4 to 0.9 us and a view of a slab
 * 0.05 us, so small ones are cut from a common slab, or written over each other when nobody keeps them.
 */
let slab = new Uint8Array(SLAB_BYTES);
let slabUsed = 0;
const scratch = new Uint8Array(SLAB_BYTES);
/** The last KeyValue in `scratch`: JSC takes 0.15 us for a view, and many have the same length. */
let transient = scratch;
let end = 0;

/** Encodes a KeyValue. Revisions, version and lease of 0 are left out, as is an empty value. */
export function encodeKeyValue(
  key: Uint8Array,
  createMain: number,
  modMain: number,
  version: number,
  value: Uint8Array,
  lease: bigint,
): Uint8Array {
  const bytesMax = key.length + value.length + OVERHEAD_BYTES_MAX;
  if (bytesMax > SHARED_BYTES_MAX) {
    const own = new Uint8Array(bytesMax);
    write(own, 0, key, createMain, modMain, version, value, lease);
    return own.subarray(0, end);
  }
  if (slabUsed + bytesMax > SLAB_BYTES) {
    slab = new Uint8Array(SLAB_BYTES);
    slabUsed = 0;
  }
  const start = slabUsed;
  write(slab, start, key, createMain, modMain, version, value, lease);
  slabUsed = end;
  return slab.subarray(start, end);
}

/** As `encodeKeyValue`, for bytes that are copied at once: they are valid until the next call. */
export function encodeTransientKeyValue(
  key: Uint8Array,
  createMain: number,
  modMain: number,
  version: number,
  value: Uint8Array,
  lease: bigint,
): Uint8Array {
  const bytesMax = key.length + value.length + OVERHEAD_BYTES_MAX;
  if (bytesMax > SLAB_BYTES) return encodeKeyValue(key, createMain, modMain, version, value, lease);
  write(scratch, 0, key, createMain, modMain, version, value, lease);
  if (transient.length !== end) transient = scratch.subarray(0, end);
  return transient;
}

/** The KeyValue that etcd stores under a tombstone's revision, the key alone; valid until the next call. */
export function encodeTransientTombstone(key: Uint8Array): Uint8Array {
  return encodeTransientKeyValue(key, 0, 0, 0, EMPTY_BYTES, 0n);
}

/** The KeyValue of the event of a delete at `main`; valid until the next call. */
export function encodeTransientDeleted(key: Uint8Array, main: number): Uint8Array {
  return encodeTransientKeyValue(key, 0, main, 0, EMPTY_BYTES, 0n);
}

/** Writes a KeyValue from `at` on, where there is room for it, and leaves its end in `end`. */
function write(
  target: Uint8Array,
  at: number,
  key: Uint8Array,
  createMain: number,
  modMain: number,
  version: number,
  value: Uint8Array,
  lease: bigint,
): void {
  end = at;
  if (key.length > 0) writeBytes(target, KEY_TAG, key);
  if (createMain > 0) writeNumber(target, CREATE_TAG, createMain);
  if (modMain > 0) writeNumber(target, MOD_TAG, modMain);
  if (version > 0) writeNumber(target, VERSION_TAG, version);
  if (value.length > 0) writeBytes(target, VALUE_TAG, value);
  if (lease !== 0n) writeLease(target, lease);
}

function writeBytes(target: Uint8Array, tag: number, bytes: Uint8Array): void {
  const { length } = bytes;
  writeNumber(target, tag, length);
  const start = end;
  if (length > LOOP_BYTES_MAX) target.set(bytes, start);
  else for (let i = 0; i < length; i += 1) target[start + i] = bytes[i]!;
  end = start + length;
}

/** A tag and the varint of a whole number in [0, 2^53). */
function writeNumber(target: Uint8Array, tag: number, value: number): void {
  let at = end;
  target[at++] = tag;
  while (value >= TWO_POW_32) {
    target[at++] = (value % 128) | 128;
    value = Math.floor(value / 128);
  }
  let low = value >>> 0;
  while (low > 127) {
    target[at++] = (low & 127) | 128;
    low >>>= 7;
  }
  target[at++] = low;
  end = at;
}

function writeLease(target: Uint8Array, lease: bigint): void {
  target[end++] = LEASE_TAG;
  let rest = BigInt.asUintN(64, lease);
  while (rest > 127n) {
    target[end++] = Number(rest & 127n) | 128;
    rest >>= 7n;
  }
  target[end++] = Number(rest);
}

/**
 * Reads the fields of one stored KeyValue after another, without an object for each. `key` and `value` are
 * views into the bytes read.
 */
export class KeyValueReader implements StoredKeyValue {
  createMain = 0;
  modMain = 0;
  version = 0;
  lease = 0n;
  bytes: Uint8Array = EMPTY_BYTES;
  keyStart = 0;
  keyEnd = 0;
  #start = 0;
  #end = 0;
  #at = 0;
  #valueTag = 0;
  #valueStart = 0;
  #valueEnd = 0;

  get key(): Uint8Array {
    return this.bytes.subarray(this.keyStart, this.keyEnd);
  }

  get value(): Uint8Array {
    return this.bytes.subarray(this.#valueStart, this.#valueEnd);
  }

  get length(): number {
    return this.#end - this.#start;
  }

  /** The KeyValue without its value field. */
  withoutValue(): Uint8Array {
    const before = this.bytes.subarray(this.#start, this.#valueTag);
    const after = this.bytes.subarray(this.#valueEnd, this.#end);
    const rest = new Uint8Array(before.length + after.length);
    rest.set(before);
    rest.set(after, before.length);
    return rest;
  }

  /** Reads the KeyValue `bytes[start, end)`; throws `corrupt` when the bytes are none. Returns itself. */
  read(bytes: Uint8Array, start = 0, end = bytes.length): this {
    this.bytes = bytes;
    this.#start = this.#at = start;
    this.#end = end;
    this.createMain = this.modMain = this.version = 0;
    this.lease = 0n;
    this.keyStart = this.keyEnd = 0;
    // A KeyValue without a value is cut in two where it begins.
    this.#valueTag = this.#valueStart = this.#valueEnd = start;
    while (this.#at < end) {
      const tagAt = this.#at;
      const tag = this.#varint();
      if (tag === CREATE_TAG) this.createMain = this.#varint();
      else if (tag === MOD_TAG) this.modMain = this.#varint();
      else if (tag === VERSION_TAG) this.version = this.#varint();
      else if (tag === LEASE_TAG) this.lease = this.#varint64();
      else if (tag === KEY_TAG) {
        this.keyEnd = this.#skipBytes();
        this.keyStart = this.#at;
        this.#at = this.keyEnd;
      } else if (tag === VALUE_TAG) {
        this.#valueEnd = this.#skipBytes();
        this.#valueTag = tagAt;
        this.#valueStart = this.#at;
        this.#at = this.#valueEnd;
      } else this.#skipField(tag);
    }
    return this;
  }

  /** Reads a length; returns where the bytes after it end. */
  #skipBytes(): number {
    const length = this.#varint();
    const end = this.#at + length;
    if (end > this.#end) throw malformed();
    return end;
  }

  #skipField(tag: number): void {
    const wireType = tag % 8;
    if (wireType === WIRE_VARINT) this.#varint64();
    else if (wireType === WIRE_LENGTH) this.#at = this.#skipBytes();
    else if (wireType === WIRE_FIXED64) this.#at += 8;
    else if (wireType === WIRE_FIXED32) this.#at += 4;
    else throw malformed();
    if (this.#at > this.#end) throw malformed();
  }

  #varint(): number {
    const bytes = this.bytes;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i += 1) {
      if (this.#at === this.#end) throw malformed();
      const byte = bytes[this.#at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
    throw malformed();
  }

  #varint64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.#at === this.#end) throw malformed();
      const byte = this.bytes[this.#at++]!;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asIntN(64, value);
    }
    throw malformed();
  }
}

const reader = new KeyValueReader();

/** A stored KeyValue without its value; the lease stays. */
export function withoutValue(keyValue: Uint8Array): Uint8Array {
  return reader.read(keyValue).withoutValue();
}

/** A stored KeyValue's key, create and mod revision and version, without value and lease. */
export function withoutValueAndLease(keyValue: Uint8Array): Uint8Array {
  const { key, createMain, modMain, version } = reader.read(keyValue);
  return encodeKeyValue(key, createMain, modMain, version, EMPTY_BYTES, 0n);
}

function malformed(): EtcdError {
  return new EtcdError("corrupt", "A stored KeyValue is malformed");
}
