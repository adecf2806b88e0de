/** What an index takes from a stored KeyValue; a `KeyValueReader` is one. */
export interface StoredKeyValue {
  /** The key is `bytes[keyStart, keyEnd)`. */
  readonly bytes: Uint8Array;
  readonly keyStart: number;
  readonly keyEnd: number;
  readonly createMain: number;
  readonly version: number;
  /** Of the KeyValue, in bytes. */
  readonly length: number;
}

/**
 * The in-memory index from user keys to their revisions. A key's life is a list of generations; a
 * generation is a run of revisions from a create to (usually) a tombstone. It holds no object per key:
 * callers see numbers only. A `slot` names a key and stays valid until the key is compacted away;
 * no slot is kept across a turn of the event loop.
 */
export interface KeyIndex {
  /** Slot of a key that the index knows (perhaps only as deleted), or -1. */
  find(key: Uint8Array): number;
  /**
   * Records a put; returns the slot. Afterwards `createMain(slot)`, `version(slot)` and so on describe
   * this put: a key that was missing or deleted starts a generation with version 1.
   */
  put(key: Uint8Array, main: number, sub: number): number;
  /** Says how long the KeyValue of a slot's newest put is, as it is stored; before, the index does not know. */
  setBytes(slot: number, bytes: number): void;
  /** Records a delete of a live key: ends its generation. Returns false when the key is not live. */
  tombstone(key: Uint8Array, main: number, sub: number): boolean;
  /**
   * The same for every key of [start, end) that is live now, in key order, the first with `sub` and each later one with
   * the next; `end` undefined means no upper bound. `visit` is told of each while it is still live, and changes nothing
   * here. Returns how many there were.
   */
  tombstoneRange(
    start: Uint8Array,
    end: Uint8Array | undefined,
    main: number,
    sub: number,
    visit: (slot: number) => void,
  ): number;

  /** Takes one record at start-up, in revision order: a put or a tombstone. */
  restore(put: StoredKeyValue, main: number, sub: number): void;
  restoreTombstone(tombstone: StoredKeyValue, main: number, sub: number): void;
  /**
   * AFTER the last record, and BEFORE the index is asked anything: puts about `keysMax` keys in order; true when
   * all are.
   */
  restoredSlice(keysMax: number): boolean;

  /**
   * Positions the cursor at the newest put of the key at or before main revision `atMain`. True when the
   * key is live there; then `hitMain`, `hitSub`, `hitCreateMain`, `hitVersion` describe it.
   */
  seek(key: Uint8Array, atMain: number): boolean;
  readonly hitMain: number;
  readonly hitSub: number;
  readonly hitCreateMain: number;
  readonly hitVersion: number;
  /** Length of the KeyValue as it is stored, or 0: the index knows it of newest puts alone. */
  readonly hitBytes: number;

  /**
   * Number of keys in [start, end) live at `atMain`; `end` undefined means no upper bound. Where keys were
   * created or deleted since `atMain` they are looked at one by one: after `looksMax` looks (or a few more)
   * it stops, the number is that of the keys before `resumeSlot`, and the caller goes on from its key. The
   * sum is right whatever is written in between, as long as `atMain` is not compacted.
   */
  count(start: Uint8Array, end: Uint8Array | undefined, atMain: number, looksMax?: number): number;
  /**
   * Walks keys in [start, end) live at `atMain` in key order. For each, the hit fields are set and
   * `visit` is called; it returns false to stop. `keyBytes(slot)` copies the key out. After `looksMax` looks
   * at a key, live or not, it stops too, at `resumeSlot`.
   */
  visit(
    start: Uint8Array,
    end: Uint8Array | undefined,
    atMain: number,
    visit: (slot: number) => boolean,
    looksMax?: number,
  ): void;
  /** Where the last `count` or `visit` stopped because of `looksMax`, or -1 when it did not. */
  readonly resumeSlot: number;
  keyBytes(slot: number): Uint8Array;

  /** Facts of the newest put of a slot (after `put`, or when live). */
  createMain(slot: number): number;
  version(slot: number): number;
  modMain(slot: number): number;
  modSub(slot: number): number;
  isLive(slot: number): boolean;

  /**
   * Drops what nobody can read after compaction at `atMain`, in slices: each call handles at most
   * `keysMax` keys and returns true when the pass is complete. For each key the newest revision at or
   * before `atMain` stays, unless it is a tombstone older than `atMain` (one exactly at `atMain` stays).
   * Every revision at or before `atMain` that stays is reported to `keep`.
   * `atMain` never goes down; a higher one in the middle of a pass starts a new pass. Keys may change
   * between slices. From the first slice on, reads below `atMain` have no meaning.
   */
  compactSlice(atMain: number, keysMax: number, keep: (main: number, sub: number) => void): boolean;
  /**
   * The revisions that a hash or compaction at `atMain` keeps, without changing anything: per key the
   * newest one at or before `atMain`, a tombstone exactly at `atMain` excluded.
   */
  keepAt(atMain: number, keep: (main: number, sub: number) => void): void;

  /** Keys known, deleted ones included. */
  readonly keyCount: number;
  readonly liveCount: number;
  /** Bytes of all arenas and tables. */
  readonly memoryBytes: number;
}
