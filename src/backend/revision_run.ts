import { assert } from "../base/assert.ts";

/** Enough that a million records are a few thousand chunks; few enough that rewriting one is nothing. */
const CHUNK_RECORDS = 256;
/** Bytes of a chunk's arena: room for the records above at a few hundred bytes each. A larger value has a chunk alone. */
const ARENA_BYTES = 64 * 1024;
/** What a pool keeps at most: 8 MiB of arenas, as much as a batch of 100 ms at full load. */
const POOLED_CHUNKS_MAX = 128;

const LIVE = 0;
const TOMBSTONE = 1;
const DELETED = 2;

/** Is told one record; the bytes are valid only during the call. Returns false to stop. */
export type RevisionVisit = (main: number, sub: number, tombstone: boolean, keyValue: Uint8Array) => boolean;

/**
 * Records of bucket "key" in revision order, in memory: appended at the right, deleted anywhere, found by
 * binary search. It holds arrays of numbers and one byte arena per chunk, no object per record.
 *
 * Example: after `append(5, 0)`, `append(5, 1)`, `append(7, 0)` and `remove(5, 1)` there is one chunk with
 * mains [5, 5, 7], subs [0, 1, 0], kinds [live, deleted, live]; a scan from 5.1 visits 7.0 only.
 */
export class RevisionRun {
  #chunks: Chunk[] = [];
  #count = 0;
  #bytes = 0;
  readonly #pool: ChunkPool | undefined;

  /** A run with a pool takes its chunks from there and gives them back with `release()`. */
  constructor(pool?: ChunkPool) {
    this.#pool = pool;
  }

  /** Number of records, tombstones included. */
  get count(): number {
    return this.#count;
  }

  /** Bytes of the values of all records. */
  get bytes(): number {
    return this.#bytes;
  }

  /** True when the run has begun, at this revision or before it; its records may have been removed since. */
  startsAtOrBefore(main: number, sub: number): boolean {
    const first = this.#chunks[0];
    if (first === undefined) return false;
    const firstMain = first.mains[0]!;
    return firstMain < main || (firstMain === main && first.subs[0]! <= sub);
  }

  /**
   * Copies `keyValue` in and returns the chunk that took it, as its last record: those bytes do not move
   * while the chunk is the run's last. The revision is past every one appended before.
   */
  append(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): Chunk {
    let last = this.#chunks[this.#chunks.length - 1];
    if (last !== undefined) {
      assert(
        last.count === 0 || last.compareLast(main, sub) < 0,
        "Revision %.% is not past the newest one",
        main,
        sub,
      );
    }
    if (last === undefined || last.isFull(keyValue.length)) {
      if (last?.liveCount === 0 && this.#pool === undefined) this.#chunks.pop();
      last = this.#newChunk(keyValue.length);
      this.#chunks.push(last);
    }
    last.append(main, sub, tombstone ? TOMBSTONE : LIVE, keyValue);
    this.#count += 1;
    this.#bytes += keyValue.length;
    return last;
  }

  /** The bytes of a record that is not a tombstone: a view, good until the run changes. */
  get(main: number, sub: number): Uint8Array | undefined {
    const chunk = this.#chunks[this.#chunkOf(main, sub)];
    if (chunk === undefined) return undefined;
    const at = chunk.find(main, sub);
    return at >= 0 && chunk.kinds[at] === LIVE ? chunk.bytesAt(at) : undefined;
  }

  /** Removes a record; false when there is none of that kind. */
  remove(main: number, sub: number, tombstone: boolean): boolean {
    const chunkAt = this.#chunkOf(main, sub);
    const chunk = this.#chunks[chunkAt];
    if (chunk === undefined) return false;
    const at = chunk.find(main, sub);
    if (at < 0 || chunk.kinds[at] !== (tombstone ? TOMBSTONE : LIVE)) return false;
    this.#count -= 1;
    this.#bytes -= chunk.lengths[at]!;
    chunk.remove(at);
    const isLast = chunkAt === this.#chunks.length - 1;
    // The last chunk stays even when empty: it remembers the newest revision for the order check. Chunks
    // of a pool stay as they are: they do not live long, and somebody may hold the addresses of their bytes.
    if (isLast || this.#pool !== undefined) return true;
    if (chunk.liveCount === 0) this.#chunks.splice(chunkAt, 1);
    else if (chunk.liveCount * 2 < chunk.count) this.#chunks[chunkAt] = chunk.compacted();
    return true;
  }

  /** Gives the chunks back to the pool; the run is empty afterwards. */
  release(): void {
    for (const chunk of this.#chunks) this.#pool?.give(chunk);
    this.#chunks = [];
    this.#count = 0;
    this.#bytes = 0;
  }

  /** Visits records from `main`.`sub` on until `visit` returns false; `visit` must not change the run. */
  scan(main: number, sub: number, recordsMax: number, visit: RevisionVisit): void {
    let left = recordsMax;
    const first = Math.max(this.#chunkOf(main, sub), 0);
    for (let i = first; i < this.#chunks.length; i += 1) {
      const chunk = this.#chunks[i]!;
      for (let at = i === first ? chunk.lowerBound(main, sub) : 0; at < chunk.count; at += 1) {
        const kind = chunk.kinds[at];
        if (kind === DELETED) continue;
        if (left <= 0) return;
        left -= 1;
        if (!visit(chunk.mains[at]!, chunk.subs[at]!, kind === TOMBSTONE, chunk.bytesAt(at))) return;
      }
    }
  }

  #newChunk(valueBytes: number): Chunk {
    if (valueBytes > ARENA_BYTES) return new Chunk(valueBytes);
    return this.#pool?.take() ?? new Chunk(ARENA_BYTES);
  }

  /** Index of the last chunk that starts at or before the revision, or -1. */
  #chunkOf(main: number, sub: number): number {
    const chunks = this.#chunks;
    let low = 0;
    let high = chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const chunk = chunks[middle]!;
      const chunkMain = chunk.mains[0]!;
      if (chunkMain < main || (chunkMain === main && chunk.subs[0]! <= sub)) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

/** Chunks for reuse, so that a stream of short-lived runs leaves no garbage behind. */
export class ChunkPool {
  readonly #chunks: Chunk[] = [];

  take(): Chunk | undefined {
    return this.#chunks.pop();
  }

  give(chunk: Chunk): void {
    if (chunk.arena.length !== ARENA_BYTES || this.#chunks.length >= POOLED_CHUNKS_MAX) return;
    chunk.clear();
    this.#chunks.push(chunk);
  }
}

/** Up to `CHUNK_RECORDS` neighbouring records. */
export class Chunk {
  readonly mains = new Float64Array(CHUNK_RECORDS);
  readonly subs = new Uint32Array(CHUNK_RECORDS);
  readonly kinds = new Uint8Array(CHUNK_RECORDS);
  readonly lengths = new Uint32Array(CHUNK_RECORDS);
  readonly #starts = new Uint32Array(CHUNK_RECORDS);
  /** Values, one after the other. Never replaced, so it may be written out from another thread. */
  readonly arena: Uint8Array<ArrayBuffer>;
  /** Place of the arena in memory, or 0 when nobody has asked yet; kept here by who did. */
  arenaAddress = 0;
  /** Bytes of the arena that are taken. */
  arenaEnd = 0;
  count = 0;
  liveCount = 0;

  constructor(arenaBytes: number) {
    this.arena = new Uint8Array(new ArrayBuffer(arenaBytes));
  }

  isFull(valueBytes: number): boolean {
    return this.count === CHUNK_RECORDS || this.arenaEnd + valueBytes > this.arena.length;
  }

  append(main: number, sub: number, kind: number, keyValue: Uint8Array): void {
    const at = this.count;
    this.mains[at] = main;
    this.subs[at] = sub;
    this.kinds[at] = kind;
    this.lengths[at] = keyValue.length;
    this.#starts[at] = this.arenaEnd;
    this.arena.set(keyValue, this.arenaEnd);
    this.arenaEnd += keyValue.length;
    this.count += 1;
    this.liveCount += 1;
  }

  clear(): void {
    this.arenaEnd = 0;
    this.count = 0;
    this.liveCount = 0;
  }

  remove(at: number): void {
    this.kinds[at] = DELETED;
    this.liveCount -= 1;
  }

  /** The same records without the deleted ones. */
  compacted(): Chunk {
    let bytes = 0;
    for (let at = 0; at < this.count; at += 1) if (this.kinds[at] !== DELETED) bytes += this.lengths[at]!;
    const chunk = new Chunk(bytes);
    for (let at = 0; at < this.count; at += 1) {
      const kind = this.kinds[at]!;
      if (kind !== DELETED) chunk.append(this.mains[at]!, this.subs[at]!, kind, this.bytesAt(at));
    }
    return chunk;
  }

  /** A view into the arena. */
  bytesAt(at: number): Uint8Array {
    const start = this.#starts[at]!;
    return this.arena.subarray(start, start + this.lengths[at]!);
  }

  find(main: number, sub: number): number {
    const at = this.lowerBound(main, sub);
    return at < this.count && this.mains[at] === main && this.subs[at] === sub ? at : -1;
  }

  /** Index of the first record at or after the revision. */
  lowerBound(main: number, sub: number): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const middleMain = this.mains[middle]!;
      if (middleMain < main || (middleMain === main && this.subs[middle]! < sub)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Below zero when the newest record is before the revision. */
  compareLast(main: number, sub: number): number {
    const last = this.count - 1;
    return this.mains[last]! - main || this.subs[last]! - sub;
  }
}
