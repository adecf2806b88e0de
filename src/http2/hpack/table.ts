import type { HeaderField } from "../api.ts";

/** Octets that RFC 7541 section 4.1 adds to name and value for the size of an entry. */
export const ENTRY_OVERHEAD_BYTES = 32;

/** SETTINGS_HEADER_TABLE_SIZE of who does not say (RFC 9113 section 6.5.2). */
export const TABLE_BYTES_DEFAULT = 4_096;

/** What HTTP/2 makes of a field, derived from its name and value once and kept on the entry. */
export type FieldClass = number;
export const CLASS_UNKNOWN: FieldClass = 0;

/** A decoded field. Entries of the tables are shared by every block that refers to them. */
export class HeaderEntry {
  readonly field: HeaderField;
  /** Octets of name and value, plus the overhead. */
  readonly size: number;
  /** The consumer's, to remember what it found out about the field. */
  class: FieldClass = CLASS_UNKNOWN;

  constructor(name: string, value: string) {
    this.field = [name, value];
    this.size = name.length + value.length + ENTRY_OVERHEAD_BYTES;
  }
}

/** RFC 7541 appendix A, from index 1. */
const staticFields: readonly (readonly [string, string?])[] = [
  [":authority"],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset"],
  ["accept-encoding", "gzip, deflate"],
  ["accept-language"],
  ["accept-ranges"],
  ["accept"],
  ["access-control-allow-origin"],
  ["age"],
  ["allow"],
  ["authorization"],
  ["cache-control"],
  ["content-disposition"],
  ["content-encoding"],
  ["content-language"],
  ["content-length"],
  ["content-location"],
  ["content-range"],
  ["content-type"],
  ["cookie"],
  ["date"],
  ["etag"],
  ["expect"],
  ["expires"],
  ["from"],
  ["host"],
  ["if-match"],
  ["if-modified-since"],
  ["if-none-match"],
  ["if-range"],
  ["if-unmodified-since"],
  ["last-modified"],
  ["link"],
  ["location"],
  ["max-forwards"],
  ["proxy-authenticate"],
  ["proxy-authorization"],
  ["range"],
  ["referer"],
  ["refresh"],
  ["retry-after"],
  ["server"],
  ["set-cookie"],
  ["strict-transport-security"],
  ["transfer-encoding"],
  ["user-agent"],
  ["vary"],
  ["via"],
  ["www-authenticate"],
];

/** The static table; index 1 of the format is at 0. */
export const staticTable: readonly HeaderEntry[] = staticFields.map(([name, value]) =>
  new HeaderEntry(name, value ?? "")
);

/**
 * The decoder's dynamic table: a ring, newest entry first by index.
 *
 * Example: after inserting a, b, c the format's indices 62, 63, 64 are c, b, a; `entryAt` counts from 0.
 */
export class DynamicTable {
  readonly #sizeLimit: number;
  #sizeMax: number;
  #size = 0;
  #ring: (HeaderEntry | undefined)[] = [];
  #newest = 0;
  #count = 0;
  #version = 0;

  /** `sizeLimit` is the SETTINGS_HEADER_TABLE_SIZE that the peer has been told, in octets. */
  constructor(sizeLimit: number) {
    this.#sizeLimit = sizeLimit;
    this.#sizeMax = sizeLimit;
  }

  /** Changes whenever an index may stand for another entry than before. */
  get version(): number {
    return this.#version;
  }

  get count(): number {
    return this.#count;
  }

  get size(): number {
    return this.#size;
  }

  entryAt(index: number): HeaderEntry | undefined {
    if (index >= this.#count) return undefined;
    return this.#ring[(this.#newest - index) & (this.#ring.length - 1)];
  }

  /** Adds an entry, evicting the oldest ones; one larger than the table empties it (RFC 7541 section 4.4). */
  insert(entry: HeaderEntry): void {
    this.#version += 1;
    this.#evictTo(this.#sizeMax - entry.size);
    if (entry.size > this.#sizeMax) return;
    if (this.#ring.length === 0) this.#ring = new Array(slotsFor(this.#sizeLimit));
    this.#newest = (this.#newest + 1) & (this.#ring.length - 1);
    this.#ring[this.#newest] = entry;
    this.#count += 1;
    this.#size += entry.size;
  }

  /** Applies a dynamic table size update. False when it exceeds what the peer has been allowed. */
  resize(sizeMax: number): boolean {
    if (sizeMax > this.#sizeLimit) return false;
    this.#version += 1;
    this.#sizeMax = sizeMax;
    this.#evictTo(sizeMax);
    return true;
  }

  #evictTo(size: number): void {
    while (this.#size > size && this.#count > 0) {
      const oldest = (this.#newest - this.#count + 1) & (this.#ring.length - 1);
      this.#size -= this.#ring[oldest]!.size;
      this.#ring[oldest] = undefined;
      this.#count -= 1;
    }
  }
}

/** A power of two that is no less than the entries that fit into `sizeLimit` octets. */
function slotsFor(sizeLimit: number): number {
  let slots = 1;
  while (slots < sizeLimit / ENTRY_OVERHEAD_BYTES) slots *= 2;
  return slots;
}
