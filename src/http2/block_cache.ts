const SLOTS = 32;
/** Longer blocks are rare and not kept, which bounds the cache of a connection to 32 KiB. */
const BLOCK_BYTES_MAX = 1_024;
/** The version of a block that refers to no dynamic table: it means the same for ever. */
const ANY_VERSION = -1;

interface Slot<Head> {
  readonly block: Uint8Array;
  readonly version: number;
  readonly head: Head;
}

/**
 * Remembers what header blocks decoded to. A client repeats itself: after its first requests, a block is a few
 * indices into a dynamic table that no longer changes, and the same bytes mean the same fields again.
 */
export class BlockCache<Head> {
  #slots: (Slot<Head> | undefined)[] | undefined;
  #latest: Slot<Head> | undefined;

  /** What `bytes[start, end)` decoded to before, if the dynamic table is still at the version of that time. */
  find(bytes: Uint8Array, start: number, end: number, version: number): Head | undefined {
    if (this.#slots === undefined) return undefined;
    let slot = this.#latest;
    if (slot === undefined || !same(slot.block, bytes, start, end)) {
      slot = this.#slots[slotOf(bytes, start, end)];
      if (slot === undefined || !same(slot.block, bytes, start, end)) return undefined;
      this.#latest = slot;
    }
    return slot.version === ANY_VERSION || slot.version === version ? slot.head : undefined;
  }

  /** Keeps a head. The block must have left the dynamic table as it was, at `version`. */
  store(
    bytes: Uint8Array,
    start: number,
    end: number,
    entry: { readonly head: Head; readonly version: number; readonly referredToDynamic: boolean },
  ): void {
    if (end - start > BLOCK_BYTES_MAX) return;
    this.#slots ??= new Array(SLOTS);
    const version = entry.referredToDynamic ? entry.version : ANY_VERSION;
    this.#latest = { block: bytes.slice(start, end), version, head: entry.head };
    this.#slots[slotOf(bytes, start, end)] = this.#latest;
  }
}

function same(block: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (block.length !== length) return false;
  for (let i = 0; i < length; i += 1) if (block[i] !== bytes[start + i]) return false;
  return true;
}

/** FNV-1a over the block. */
function slotOf(bytes: Uint8Array, start: number, end: number): number {
  let hash = 0x811c9dc5;
  for (let at = start; at < end; at += 1) hash = Math.imul(hash ^ bytes[at]!, 0x01000193);
  return (hash ^ (hash >>> 15)) & (SLOTS - 1);
}
