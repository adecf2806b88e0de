import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";

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

/** Tags and varints of the six fields at their longest. */
const OVERHEAD_BYTES_MAX = 6 + 2 * 5 + 4 * 10;

const scratch = new ByteWriter(4096);
/** A buffer that one huge value made grow is given back rather than kept for ever. */
const SCRATCH_BYTES_MAX = 1024 * 1024;

/** Encodes a KeyValue. Revisions, version and lease of 0 are left out, as is an empty value. */
export function encodeKeyValue(
  key: Uint8Array,
  createMain: number,
  modMain: number,
  version: number,
  value: Uint8Array,
  lease: bigint,
): Uint8Array {
  const out = scratch;
  out.length = 0;
  out.reserve(key.length + value.length + OVERHEAD_BYTES_MAX);
  if (key.length > 0) writeBytesField(out, KEY_TAG, key);
  if (createMain > 0) writeNumberField(out, CREATE_TAG, createMain);
  if (modMain > 0) writeNumberField(out, MOD_TAG, modMain);
  if (version > 0) writeNumberField(out, VERSION_TAG, version);
  if (value.length > 0) writeBytesField(out, VALUE_TAG, value);
  if (lease !== 0n) {
    out.bytes[out.length++] = LEASE_TAG;
    out.varint64(lease);
  }
  const encoded = out.bytes.slice(0, out.length);
  if (out.bytes.length > SCRATCH_BYTES_MAX) out.bytes = new Uint8Array(4096);
  return encoded;
}

/** The KeyValue that etcd stores under a tombstone's revision: the key alone. */
export function encodeTombstone(key: Uint8Array): Uint8Array {
  return encodeKeyValue(key, 0, 0, 0, EMPTY_BYTES, 0n);
}

function writeBytesField(out: ByteWriter, tag: number, bytes: Uint8Array): void {
  out.bytes[out.length++] = tag;
  out.varint(bytes.length);
  out.bytes.set(bytes, out.length);
  out.length += bytes.length;
}

function writeNumberField(out: ByteWriter, tag: number, value: number): void {
  out.bytes[out.length++] = tag;
  out.varint(value);
}

/**
 * Reads the fields of one stored KeyValue after another, without an object for each. `key` and `value` are
 * views into the bytes read.
 */
export class KeyValueReader {
  createMain = 0;
  modMain = 0;
  version = 0;
  lease = 0n;
  #bytes: Uint8Array = EMPTY_BYTES;
  #at = 0;
  #keyStart = 0;
  #keyEnd = 0;
  #valueTag = 0;
  #valueStart = 0;
  #valueEnd = 0;

  get key(): Uint8Array {
    return this.#bytes.subarray(this.#keyStart, this.#keyEnd);
  }

  get value(): Uint8Array {
    return this.#bytes.subarray(this.#valueStart, this.#valueEnd);
  }

  /** The bytes read without their value field. */
  withoutValue(): Uint8Array {
    const bytes = this.#bytes;
    const rest = new Uint8Array(bytes.length - (this.#valueEnd - this.#valueTag));
    rest.set(bytes.subarray(0, this.#valueTag));
    rest.set(bytes.subarray(this.#valueEnd), this.#valueTag);
    return rest;
  }

  /** Reads a KeyValue; throws `corrupt` when the bytes are none. Returns itself. */
  read(bytes: Uint8Array): this {
    this.#bytes = bytes;
    this.#at = 0;
    this.createMain = this.modMain = this.version = 0;
    this.lease = 0n;
    this.#keyStart = this.#keyEnd = 0;
    this.#valueTag = this.#valueStart = this.#valueEnd = 0;
    while (this.#at < bytes.length) {
      const tagAt = this.#at;
      const tag = this.#varint();
      if (tag === CREATE_TAG) this.createMain = this.#varint();
      else if (tag === MOD_TAG) this.modMain = this.#varint();
      else if (tag === VERSION_TAG) this.version = this.#varint();
      else if (tag === LEASE_TAG) this.lease = this.#varint64();
      else if (tag === KEY_TAG) {
        this.#keyEnd = this.#skipBytes();
        this.#keyStart = this.#at;
        this.#at = this.#keyEnd;
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
    if (end > this.#bytes.length) throw malformed();
    return end;
  }

  #skipField(tag: number): void {
    const wireType = tag % 8;
    if (wireType === WIRE_VARINT) this.#varint64();
    else if (wireType === WIRE_LENGTH) this.#at = this.#skipBytes();
    else if (wireType === WIRE_FIXED64) this.#at += 8;
    else if (wireType === WIRE_FIXED32) this.#at += 4;
    else throw malformed();
    if (this.#at > this.#bytes.length) throw malformed();
  }

  #varint(): number {
    const bytes = this.#bytes;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i += 1) {
      const byte = bytes[this.#at++];
      if (byte === undefined) throw malformed();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
    throw malformed();
  }

  #varint64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw malformed();
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
