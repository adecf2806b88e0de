import { HIGH_MASK, type KeyRecords, TWO_POW_32 } from "./key_records.ts";
import { RevisionArena } from "./revision_arena.ts";

// What a cell is, in the top two bits of its second word.
const PUT = 0;
const TOMBSTONE = 1;
/** An entry whose main or sub revision is too large for one cell; the sub revision is in a second one. */
const WIDE = 2;
const MARK = 3;
const KIND_SHIFT = 30;
/** In a WIDE cell: it is a tombstone. */
const WIDE_TOMBSTONE = 1 << 29;
/** In a MARK cell: it is a signpost and not a generation mark. */
const SIGNPOST = 1 << 29;

/** PUT and TOMBSTONE: 32 bits of main in the first word; 8 more bits of main and 22 of sub in the second. */
const NARROW_MAIN_END = 2 ** 40;
const NARROW_MAIN_SHIFT = 22;
const NARROW_SUB_MASK = (1 << NARROW_MAIN_SHIFT) - 1;
/** A generation mark holds a version of 1 to 255 itself; another is in a second cell, and these bits are 0. */
const MARK_VERSION_SHIFT = 21;
const MARK_VERSION_MASK = 0xff;

/** What `locate` found. */
const MISSING = 0;
export const FOUND_PUT = 1;
const FOUND_TOMBSTONE = 2;

/**
 * The revisions of a key before its newest (which is in its record): a chain of cells from new to old.
 * - An entry is a put or a tombstone. A tombstone is followed by the mark of the generation that it ended.
 * - A generation mark says which create revision and version the next older put has. From there on the
 *   version goes down by one with each put, so that entries need no version of their own.
 * - A signpost, after every 64 entries, points to an older signpost. It is followed by a generation mark, so
 *   a walk may jump from one to the other and know where it is. Signpost n points to the one whose number
 *   is n with its lowest 1 bit cleared: any revision is a few dozen jumps and 64 steps a jump level away.
 *
 * Example: put 2, put 3, delete 4, put 5, put 6 of a key. The record says 6, created at 5, version 2; the
 * chain is: put 5; tombstone 4; generation created at 2, version 2; put 3; put 2.
 *
 * Compaction frees the old end of a chain, and with it perhaps what a signpost points to. A signpost also
 * holds the main revision of the entry just before its target; only above `compactedMain` is it followed.
 */
export class KeyHistory {
  hitMain = 0;
  hitSub = 0;
  hitCreateMain = 0;
  hitVersion = 0;
  /** Of the newest revision only; 0 for others. */
  hitBytes = 0;
  /** Highest revision that a compaction has begun for. */
  compactedMain = -1;

  readonly #records: KeyRecords;
  readonly #cells = new RevisionArena();
  /** Where the last located revision is: a cell, or 0 for the record itself. */
  #hitCell = 0;

  constructor(records: KeyRecords) {
    this.#records = records;
  }

  /** True when the key is live at `atMain`; then the hit fields describe its newest put at or before it. */
  seek(slot: number, atMain: number): boolean {
    const records = this.#records;
    const main = records.main(slot);
    if (main > atMain) return this.#locateOlder(slot, atMain) === FOUND_PUT;
    if (records.isTombstone(slot)) return false;
    this.hitMain = main;
    this.hitSub = records.sub(slot);
    this.hitCreateMain = records.createMain(slot);
    this.hitVersion = records.version(slot);
    this.hitBytes = records.bytes(slot);
    return true;
  }

  /** Finds the newest revision at or before `atMain`: the hit fields, for a tombstone only main and sub. */
  locate(slot: number, atMain: number): number {
    const records = this.#records;
    if (records.main(slot) > atMain) return this.#locateOlder(slot, atMain);
    this.#hitCell = 0;
    if (this.seek(slot, atMain)) return FOUND_PUT;
    this.hitMain = records.main(slot);
    this.hitSub = records.sub(slot);
    return FOUND_TOMBSTONE;
  }

  /** Moves the newest revision from the record to the chain, BEFORE the record takes another. */
  push(slot: number): void {
    const records = this.#records;
    const main = records.main(slot);
    const tombstone = records.isTombstone(slot);
    const signpostDue = records.countEntry(slot);
    let chain = records.history(slot);
    if (tombstone || signpostDue) {
      const version = records.version(slot);
      chain = this.#pushGeneration(chain, records.createMain(slot), tombstone ? version : version - 1);
    }
    if (signpostDue) chain = this.#pushSignpost(chain, main);
    records.setHistory(slot, this.#pushEntry(chain, main, records.sub(slot), tombstone));
  }

  /** After `push` of a put that the record's next revision does not continue, though no tombstone is known. */
  breakGeneration(slot: number): void {
    const records = this.#records;
    const chain = records.history(slot);
    records.setHistory(
      slot,
      this.#pushGeneration(chain, records.createMain(slot), records.version(slot)),
    );
  }

  /**
   * Frees the revisions of a key that nobody reads after a compaction at `atMain` (see KeyIndex), and
   * reports the one at or before it that stays. True when nothing of the key is left. A tombstone that goes
   * while newer revisions stay keeps its cell until a later compaction; it ends the walks that come to it.
   */
  compact(slot: number, atMain: number, keep: (main: number, sub: number) => void): boolean {
    const found = this.locate(slot, atMain);
    if (found === MISSING) return false;
    const goes = found === FOUND_TOMBSTONE && this.hitMain < atMain;
    if (!goes) keep(this.hitMain, this.hitSub);
    if (this.#hitCell !== 0) {
      this.#cells.cutAfter(this.#lastCellOf(this.#hitCell));
      return false;
    }
    this.#cells.freeChain(this.#records.history(slot));
    this.#records.setHistory(slot, 0);
    return goes;
  }

  get memoryBytes(): number {
    return this.#cells.memoryBytes;
  }

  /** `locate` for a key whose newest revision is past `atMain`. */
  #locateOlder(slot: number, atMain: number): number {
    const cells = this.#cells;
    const records = this.#records;
    const jumpsAbove = atMain > this.compactedMain ? atMain : this.compactedMain;
    let createMain = records.createMain(slot);
    let version = records.version(slot);
    if (!records.isTombstone(slot)) version -= 1;
    let cell = records.history(slot);
    while (cell !== 0) {
      const first = cells.first(cell);
      const second = cells.second(cell);
      const kind = second >>> KIND_SHIFT;
      let last = cell;
      if (kind === MARK) {
        const high = (second & HIGH_MASK) * TWO_POW_32;
        if ((second & SIGNPOST) === 0) {
          createMain = high + (first >>> 0);
          version = (second >>> MARK_VERSION_SHIFT) & MARK_VERSION_MASK;
          if (version === 0) {
            last = cells.next(cell);
            version = cells.second(last) * TWO_POW_32 + (cells.first(last) >>> 0);
          }
        } else {
          last = cells.next(cell);
          const target = cells.first(last);
          if (target !== 0 && high + (first >>> 0) > jumpsAbove) {
            cell = target;
            continue;
          }
          last = cells.next(last);
        }
      } else {
        let main: number;
        let tombstone = kind === TOMBSTONE;
        if (kind === WIDE) {
          main = (second & HIGH_MASK) * TWO_POW_32 + (first >>> 0);
          tombstone = (second & WIDE_TOMBSTONE) !== 0;
          last = cells.next(cell);
        } else {
          main = ((second >>> NARROW_MAIN_SHIFT) & 0xff) * TWO_POW_32 + (first >>> 0);
        }
        if (main <= atMain) {
          this.#hitCell = cell;
          this.hitMain = main;
          this.hitSub = kind === WIDE ? cells.first(last) : second & NARROW_SUB_MASK;
          this.hitCreateMain = createMain;
          this.hitVersion = version;
          this.hitBytes = 0;
          return tombstone ? FOUND_TOMBSTONE : FOUND_PUT;
        }
        // After a tombstone comes a mark that sets the version.
        version -= 1;
      }
      cell = cells.next(last);
    }
    return MISSING;
  }

  #pushEntry(chain: number, main: number, sub: number, tombstone: boolean): number {
    if (main < NARROW_MAIN_END && sub <= NARROW_SUB_MASK) {
      const kind = (tombstone ? TOMBSTONE : PUT) << KIND_SHIFT;
      const mainHigh = Math.floor(main / TWO_POW_32) << NARROW_MAIN_SHIFT;
      return this.#cells.push(chain, main, kind | mainHigh | sub);
    }
    const wide = (WIDE << KIND_SHIFT) | (tombstone ? WIDE_TOMBSTONE : 0);
    return this.#cells.push(this.#cells.push(chain, sub, 0), main, wide | (main / TWO_POW_32));
  }

  #pushGeneration(chain: number, createMain: number, version: number): number {
    const mark = (MARK << KIND_SHIFT) | (createMain / TWO_POW_32);
    if (version > 0 && version <= MARK_VERSION_MASK) {
      return this.#cells.push(chain, createMain, mark | (version << MARK_VERSION_SHIFT));
    }
    return this.#cells.push(this.#cells.push(chain, version, version / TWO_POW_32), createMain, mark);
  }

  /**
   * A signpost is three cells: (main before the target, kind), (target, number), (main before this one).
   * `mainBefore` is the revision of the entry that goes in front of it.
   */
  #pushSignpost(chain: number, mainBefore: number): number {
    const cells = this.#cells;
    const newest = this.#signpostIn(chain);
    const number = newest === 0 ? 0 : this.#numberOf(newest) + 1;
    const targetNumber = number & (number - 1);
    let target = newest;
    while (target !== 0 && this.#numberOf(target) > targetNumber) {
      target = this.#mainBeforeTarget(target) > this.compactedMain ? cells.first(cells.next(target)) : 0;
    }
    let mainBeforeTarget = 0;
    if (target !== 0) {
      const own = cells.next(cells.next(target));
      mainBeforeTarget = cells.second(own) * TWO_POW_32 + (cells.first(own) >>> 0);
    }
    const mark = (MARK << KIND_SHIFT) | SIGNPOST | (mainBeforeTarget / TWO_POW_32);
    const ownCell = cells.push(chain, mainBefore, mainBefore / TWO_POW_32);
    return cells.push(cells.push(ownCell, target, number), mainBeforeTarget, mark);
  }

  /** The newest signpost of a chain, which is at most 64 entries away, or 0. */
  #signpostIn(chain: number): number {
    let cell = chain;
    while (cell !== 0 && !isSignpost(this.#cells.second(cell))) {
      cell = this.#cells.next(this.#lastCellOf(cell));
    }
    return cell;
  }

  #numberOf(signpost: number): number {
    return this.#cells.second(this.#cells.next(signpost));
  }

  #mainBeforeTarget(signpost: number): number {
    return (this.#cells.second(signpost) & HIGH_MASK) * TWO_POW_32 + (this.#cells.first(signpost) >>> 0);
  }

  /** The last of the cells that an entry or a generation mark consists of. */
  #lastCellOf(cell: number): number {
    const second = this.#cells.second(cell);
    const kind = second >>> KIND_SHIFT;
    const versionApart = kind === MARK && ((second >>> MARK_VERSION_SHIFT) & MARK_VERSION_MASK) === 0;
    return kind === WIDE || versionApart ? this.#cells.next(cell) : cell;
  }
}

function isSignpost(second: number): boolean {
  return second >>> KIND_SHIFT === MARK && (second & SIGNPOST) !== 0;
}
