import { assert } from "../base/assert.ts";
import { compareBytes } from "../base/bytes.ts";
import type { KeyHistory } from "./key_history.ts";
import { type KeyRecords, wordOf } from "./key_records.ts";
import type { KeySort } from "./key_sort.ts";

// A node is 264 words: a header, entries, their words, and in an inner node the children and their counts.
const LEAF_ENTRIES_MAX = 128;
const INNER_ENTRIES_MAX = LEAF_ENTRIES_MAX / 2;
/** Number of entries. */
const COUNT = 0;
/** 0 for a leaf. */
const HEIGHT = 1;
/** All entries' keys agree in this many first bytes. */
const SKIP = 2;
/** Live keys below the node. */
const LIVE = 3;
/** A Float64 in words 4 and 5: the last main revision at which a key below was created or deleted. */
const CHANGED = 4;
/** The leaf after and before this one, or 0. In a free node NEXT is the next free one. */
const NEXT = 6;
const PREVIOUS = 7;
/** Leaf: slot of a live key, or the complement of a deleted key's. Inner: slot of the child's first key. */
const ENTRIES = 8;
/** Leaf: 128 words. Inner: 64 words, the entries and the children taking 64 each before them. */
const WORDS = ENTRIES + LEAF_ENTRIES_MAX;
const CHILDREN = ENTRIES + INNER_ENTRIES_MAX;
/** Live keys below each child. */
const LIVES = WORDS + INNER_ENTRIES_MAX;
const NODE_WORDS = WORDS + LEAF_ENTRIES_MAX;

const CHUNK_SHIFT = 9;
const CHUNK_NODES = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_NODES - 1;
const LEVELS_MAX = 16;

/**
 * The keys in order: a B+tree of slots that knows, for each subtree, how many of its keys are live. Nodes are
 * numbered from 1 and lie in chunks of typed arrays.
 *
 * Beside each entry a node has its key's word: the four bytes behind those that all keys of the node have
 * in common, so that most comparisons touch neither record nor key. A word is stored as a signed number
 * with the top bit flipped, which orders as the bytes do; missing bytes count as 0, and equal words are
 * settled by comparing the keys.
 *
 * Invariants: entry i of an inner node is the first key of child i, exactly. SKIP is right but perhaps less
 * than it could be. No node but the root is empty. CHANGED of a node is at least that of its children.
 */
export class KeyTree {
  readonly #records: KeyRecords;
  readonly #history: KeyHistory;
  readonly #chunks: Int32Array[] = [];
  /** The same buffers, for CHANGED. */
  readonly #chunksAsFloats: Float64Array[] = [];
  #nodesEnd = 1;
  #freeNode = 0;
  #root: number;

  /** Leaves of a tree that is being built. */
  #built: number[] = [];

  /** The inner nodes that the last descent went through, and the child it took in each. */
  readonly #pathNodes = new Int32Array(LEVELS_MAX);
  readonly #pathChildren = new Int32Array(LEVELS_MAX);
  #leafLevel = 0;
  #leaf = 0;
  /** First entry of `#leaf` that is not before the sought key. */
  #leafAt = 0;
  /** Whether the last search of a node found the key itself, and whether it has the node's common bytes. */
  #exact = false;
  #inPrefix = false;

  /** Where the last count or visit stopped because of its `looksMax`, or -1. */
  resumeSlot = -1;
  #looksLeft = 0;

  constructor(records: KeyRecords, history: KeyHistory) {
    this.#records = records;
    this.#history = history;
    this.#root = this.#allocate(0);
  }

  /** Adds a key that is not in the tree, created at `main`. */
  insert(slot: number, live: boolean, main: number): void {
    this.#descendTo(slot);
    assert(!this.#exact, "Cannot add a key that is in the tree");
    this.#countOnPath(live ? 1 : 0, main);
    const at = this.#leafAt;
    if (at === 0) this.#changeFirst(this.#leafLevel, slot);
    this.#insertEntry(this.#leafLevel, this.#leaf, at, live ? slot : ~slot, 0, 0);
  }

  /**
   * Fills the empty tree with all keys when a store starts; nodes are full, as they are when keys come in order.
   * The last main revision at which a key was created or deleted is `changed[slot]`. Adds about `keysMax` keys
   * at a time; true when all are there.
   */
  buildSlice(sort: KeySort, changed: readonly number[], keysMax: number): boolean {
    const leaves = this.#built;
    for (let added = 0; added < keysMax; added += LEAF_ENTRIES_MAX) {
      const slot = sort.next();
      if (slot < 0) {
        this.#buildInner();
        return true;
      }
      const leaf = leaves.length === 0 ? this.#root : this.#allocate(0);
      if (leaves.length > 0) this.#linkAfter(leaves.at(-1)!, leaf);
      this.#fillLeaf(leaf, slot, sort, changed);
      leaves.push(leaf);
    }
    return false;
  }

  /** Records that a key came to life or was deleted at `main`. */
  setLive(slot: number, live: boolean, main: number): void {
    this.#descendTo(slot);
    assert(this.#exact, "Cannot change a key that is not in the tree");
    this.#chunkOf(this.#leaf)[baseOf(this.#leaf) + ENTRIES + this.#leafAt] = live ? slot : ~slot;
    this.#countOnPath(live ? 1 : -1, main);
  }

  /** The same for all live keys of [start, end), deleted at `main`: `visit` is told of each before, in order. */
  endLives(
    start: Uint8Array,
    end: Uint8Array | undefined,
    main: number,
    visit: (slot: number) => void,
  ): number {
    if (end !== undefined && compareBytes(start, end) >= 0) return 0;
    return this.#endBelow(this.#root, start, end, main, visit);
  }

  /** Removes a deleted key; its record and bytes still exist. */
  remove(slot: number): void {
    this.#descendTo(slot);
    assert(this.#exact, "Cannot remove a key that is not in the tree");
    this.#removeEntry(this.#leafLevel, this.#leaf, this.#leafAt);
  }

  /**
   * Number of keys in [start, end) live at `atMain`. Subtrees in which no key was created or deleted since
   * are not entered, so at the newest revision this takes two descents. Elsewhere each key of a leaf is
   * looked at; a leaf that begins after `looksMax` looks is where it stops (see KeyIndex).
   */
  count(start: Uint8Array, end: Uint8Array | undefined, atMain: number, looksMax: number): number {
    this.resumeSlot = -1;
    if (end !== undefined && compareBytes(start, end) >= 0) return 0;
    this.#looksLeft = looksMax;
    return this.#countBelow(this.#root, start, end, atMain);
  }

  /** Walks keys in [start, end) live at `atMain`; the hit fields of the history describe each. */
  visit(
    start: Uint8Array,
    end: Uint8Array | undefined,
    atMain: number,
    visit: (slot: number) => boolean,
    looksMax: number,
  ): void {
    this.resumeSlot = -1;
    let endLeaf = 0;
    let endAt = 0;
    if (end !== undefined) {
      if (compareBytes(start, end) >= 0) return;
      this.#descend(end, 0, end.length);
      endLeaf = this.#leaf;
      endAt = this.#leafAt;
    }
    this.#descend(start, 0, start.length);
    let at = this.#leafAt;
    let looksLeft = looksMax;
    for (let leaf = this.#leaf; leaf !== 0;) {
      const words = this.#chunkOf(leaf);
      const base = baseOf(leaf);
      const stop = leaf === endLeaf ? endAt : words[base + COUNT]!;
      const current = this.#changed(leaf) <= atMain;
      if (!current || words[base + LIVE]! > 0) {
        for (; at < stop; at += 1) {
          const entry = words[base + ENTRIES + at]!;
          if (entry < 0 && current) continue;
          const slot = entry < 0 ? ~entry : entry;
          if (looksLeft <= 0) {
            this.resumeSlot = slot;
            return;
          }
          looksLeft -= 1;
          if (!this.#history.seek(slot, atMain)) continue;
          const goesOn = visit(slot);
          // The visitor may have counted or visited something itself.
          this.resumeSlot = -1;
          if (!goesOn) return;
        }
      }
      if (leaf === endLeaf) return;
      leaf = words[base + NEXT]!;
      at = 0;
    }
  }

  get liveCount(): number {
    return this.#chunkOf(this.#root)[baseOf(this.#root) + LIVE]!;
  }

  get memoryBytes(): number {
    return this.#chunks.length * CHUNK_NODES * NODE_WORDS * 4;
  }

  // Search

  #descendTo(slot: number): void {
    const arena = this.#records.arena;
    const ref = this.#records.keyRef(slot);
    this.#descend(arena.bytesOf(ref), arena.startOf(ref), arena.lengthOf(ref));
  }

  /** Finds the place of the key `bytes[start, start + length)`. */
  #descend(bytes: Uint8Array, start: number, length: number): void {
    let node = this.#root;
    let level = 0;
    // In so many bytes the key is known to agree with the first key below `node`.
    let verified = 0;
    for (;;) {
      const words = this.#chunkOf(node);
      const base = baseOf(node);
      const at = this.#lowerBound(words, base, bytes, start, length, verified);
      if (words[base + HEIGHT] === 0) {
        this.#leaf = node;
        this.#leafAt = at;
        this.#leafLevel = level;
        return;
      }
      const child = this.#exact || at === 0 ? at : at - 1;
      if (this.#inPrefix) verified = words[base + SKIP]!;
      this.#pathNodes[level] = node;
      this.#pathChildren[level] = child;
      level += 1;
      node = words[base + CHILDREN + child]!;
    }
  }

  /** Number of the first entry that is not before the key. Sets `#exact` and `#inPrefix`. */
  #lowerBound(
    words: Int32Array,
    base: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    verified: number,
  ): number {
    this.#exact = false;
    this.#inPrefix = true;
    const count = words[base + COUNT]!;
    if (count === 0) return 0;
    const skip = words[base + SKIP]!;
    if (skip > verified) {
      const difference = this.#comparePrefix(words[base + ENTRIES]!, bytes, start, length, verified, skip);
      if (difference !== 0) {
        this.#inPrefix = false;
        return difference > 0 ? 0 : count;
      }
    }
    const sought = wordOf(bytes, start + skip, start + length);
    const wordsAt = base + WORDS;
    let low = 0;
    let high = count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const word = words[wordsAt + middle]!;
      if (word < sought) low = middle + 1;
      else if (word > sought) high = middle;
      else {
        const entry = words[base + ENTRIES + middle]!;
        const order = this.#records.compare(entry < 0 ? ~entry : entry, bytes, start, length, skip);
        if (order === 0) {
          this.#exact = true;
          return middle;
        }
        if (order < 0) low = middle + 1;
        else high = middle;
      }
    }
    return low;
  }

  /** Compares bytes [from, to) of an entry's key, which has as many, with those of the sought key. */
  #comparePrefix(
    entry: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    from: number,
    to: number,
  ): number {
    const arena = this.#records.arena;
    const ref = this.#records.keyRef(entry < 0 ? ~entry : entry);
    const stored = arena.bytesOf(ref);
    const storedStart = arena.startOf(ref);
    const shared = length < to ? length : to;
    for (let i = from; i < shared; i += 1) {
      const difference = stored[storedStart + i]! - bytes[start + i]!;
      if (difference !== 0) return difference;
    }
    return shared < to ? 1 : 0;
  }

  #countBelow(
    node: number,
    start: Uint8Array | undefined,
    end: Uint8Array | undefined,
    atMain: number,
  ): number {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const current = this.#changed(node) <= atMain;
    if (current && start === undefined && end === undefined) return words[base + LIVE]!;
    const first = start === undefined ? 0 : this.#firstIn(words, base, start);
    const last = this.#lastIn(words, base, end);
    let count = 0;
    if (words[base + HEIGHT] === 0) {
      if (!current && first <= last) {
        if (this.#looksLeft <= 0) {
          this.resumeSlot = slotAt(words, base, first);
          return 0;
        }
        this.#looksLeft -= last - first + 1;
      }
      for (let at = first; at <= last; at += 1) {
        const entry = words[base + ENTRIES + at]!;
        if (current) count += entry < 0 ? 0 : 1;
        else if (this.#history.seek(entry < 0 ? ~entry : entry, atMain)) count += 1;
      }
      return count;
    }
    for (let at = first; at <= last && this.resumeSlot < 0; at += 1) {
      const childStart = at === first ? start : undefined;
      const childEnd = at === last ? end : undefined;
      if (current && childStart === undefined && childEnd === undefined) count += words[base + LIVES + at]!;
      else count += this.#countBelow(words[base + CHILDREN + at]!, childStart, childEnd, atMain);
    }
    return count;
  }

  #endBelow(
    node: number,
    start: Uint8Array | undefined,
    end: Uint8Array | undefined,
    main: number,
    visit: (slot: number) => void,
  ): number {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const inner = words[base + HEIGHT] !== 0;
    const first = start === undefined ? 0 : this.#firstIn(words, base, start);
    const last = this.#lastIn(words, base, end);
    let ended = 0;
    for (let at = first; at <= last; at += 1) {
      if (inner) {
        if (words[base + LIVES + at] === 0) continue;
        const childStart = at === first ? start : undefined;
        const childEnd = at === last ? end : undefined;
        const below = this.#endBelow(words[base + CHILDREN + at]!, childStart, childEnd, main, visit);
        words[base + LIVES + at]! -= below;
        ended += below;
      } else {
        const slot = words[base + ENTRIES + at]!;
        if (slot < 0) continue;
        visit(slot);
        words[base + ENTRIES + at] = ~slot;
        ended += 1;
      }
    }
    if (ended > 0) this.#countIn(node, -ended, main);
    return ended;
  }

  /** The first entry of a node that keys from `start` on may be in or below. */
  #firstIn(words: Int32Array, base: number, start: Uint8Array): number {
    const first = this.#lowerBound(words, base, start, 0, start.length, 0);
    return words[base + HEIGHT] !== 0 && !this.#exact && first > 0 ? first - 1 : first;
  }

  /** The last entry that keys before `end` may be in or below: `end` lies before the first that is not before it. */
  #lastIn(words: Int32Array, base: number, end: Uint8Array | undefined): number {
    if (end === undefined) return words[base + COUNT]! - 1;
    return this.#lowerBound(words, base, end, 0, end.length, 0) - 1;
  }

  // Counts along the path of the last descent

  #countOnPath(difference: number, main: number): void {
    for (let level = 0; level < this.#leafLevel; level += 1) {
      const node = this.#pathNodes[level]!;
      this.#chunkOf(node)[baseOf(node) + LIVES + this.#pathChildren[level]!]! += difference;
      this.#countIn(node, difference, main);
    }
    this.#countIn(this.#leaf, difference, main);
  }

  #countIn(node: number, difference: number, main: number): void {
    this.#chunkOf(node)[baseOf(node) + LIVE]! += difference;
    if (main > this.#changed(node)) this.#setChanged(node, main);
  }

  /** Sets the first key of the subtree on the path at `level` in all nodes above that name it. */
  #changeFirst(level: number, slot: number): void {
    for (let above = level - 1; above >= 0; above -= 1) {
      const node = this.#pathNodes[above]!;
      const child = this.#pathChildren[above]!;
      const words = this.#chunkOf(node);
      const base = baseOf(node);
      words[base + ENTRIES + child] = slot;
      this.#fitWord(node, child);
      if (child > 0) return;
    }
  }

  // Change of nodes

  /** Puts inner nodes above the leaves that have been built. */
  #buildInner(): void {
    let level: readonly number[] = this.#built;
    for (let height = 1; level.length > 1; height += 1) {
      const above: number[] = [];
      for (let first = 0; first < level.length; first += INNER_ENTRIES_MAX) {
        const node = this.#allocate(height);
        this.#fillInner(node, level.slice(first, first + INNER_ENTRIES_MAX));
        above.push(node);
      }
      level = above;
    }
    this.#root = level[0] ?? this.#root;
    this.#built = [];
  }

  /** Fills a leaf with `firstSlot` and those that the sort has after it. */
  #fillLeaf(leaf: number, firstSlot: number, sort: KeySort, changed: readonly number[]): void {
    const words = this.#chunkOf(leaf);
    const base = baseOf(leaf);
    let newest = 0;
    let count = 0;
    for (let slot = firstSlot; slot >= 0; slot = count < LEAF_ENTRIES_MAX ? sort.next() : -1) {
      words[base + ENTRIES + count] = this.#records.isTombstone(slot) ? ~slot : slot;
      newest = Math.max(newest, changed[slot]!);
      count += 1;
    }
    words[base + COUNT] = count;
    this.#setChanged(leaf, newest);
    this.#refit(leaf);
    this.#recount(leaf);
  }

  #fillInner(node: number, children: readonly number[]): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    let newest = 0;
    for (let at = 0; at < children.length; at += 1) {
      const child = children[at]!;
      words[base + ENTRIES + at] = this.#firstSlot(child);
      words[base + CHILDREN + at] = child;
      words[base + LIVES + at] = this.#live(child);
      newest = Math.max(newest, this.#changed(child));
    }
    words[base + COUNT] = children.length;
    this.#setChanged(node, newest);
    this.#refit(node);
    this.#recount(node);
  }

  /** Puts an entry into the node on the path at `level`, splitting the node when it is full. */
  #insertEntry(level: number, node: number, at: number, entry: number, child: number, live: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const count = words[base + COUNT]!;
    const height = words[base + HEIGHT]!;
    if (count < entriesMax(height)) return this.#placeEntry(node, at, entry, child, live);

    // At the edges of the tree nothing moves, so keys that come in order, or in reverse, fill their nodes.
    let kept = count >>> 1;
    if (at === count && this.#onLastPath(level)) kept = count;
    else if (at === 0 && this.#onFirstPath(level)) kept = 0;
    const right = this.#splitOff(node, kept);
    if (at > kept || kept === count) this.#placeEntry(right, at - kept, entry, child, live);
    else this.#placeEntry(node, at, entry, child, live);
    this.#recount(node);
    this.#recount(right);

    const rightFirst = this.#firstSlot(right);
    const rightLive = this.#live(right);
    if (level === 0) {
      const root = this.#allocate(height + 1);
      this.#root = root;
      this.#setChanged(root, this.#changed(node));
      this.#placeEntry(root, 0, this.#firstSlot(node), node, this.#live(node));
      this.#placeEntry(root, 1, rightFirst, right, rightLive);
      this.#recount(root);
      return;
    }
    const parent = this.#pathNodes[level - 1]!;
    const place = this.#pathChildren[level - 1]!;
    this.#chunkOf(parent)[baseOf(parent) + LIVES + place] = this.#live(node);
    this.#insertEntry(level - 1, parent, place + 1, rightFirst, right, rightLive);
  }

  #placeEntry(node: number, at: number, entry: number, child: number, live: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const count = words[base + COUNT]!;
    shift(words, base + ENTRIES, at, count);
    shift(words, base + WORDS, at, count);
    words[base + ENTRIES + at] = entry;
    if (words[base + HEIGHT] !== 0) {
      shift(words, base + CHILDREN, at, count);
      shift(words, base + LIVES, at, count);
      words[base + CHILDREN + at] = child;
      words[base + LIVES + at] = live;
    }
    words[base + COUNT] = count + 1;
    this.#fitWord(node, at);
  }

  /** Moves entries from `kept` on to a new node behind this one. */
  #splitOff(node: number, kept: number): number {
    const height = this.#chunkOf(node)[baseOf(node) + HEIGHT]!;
    const right = this.#allocate(height);
    this.#setChanged(right, this.#changed(node));
    if (height === 0) this.#linkAfter(node, right);
    this.#moveEntries(node, kept, right);
    this.#chunkOf(right)[baseOf(right) + SKIP] = this.#chunkOf(node)[baseOf(node) + SKIP]!;
    this.#refitIfLoose(node);
    this.#refitIfLoose(right);
    return right;
  }

  /** Appends the entries of `from` that are at or behind `at` to `to`. The words are copied as they are. */
  #moveEntries(from: number, at: number, to: number): void {
    const source = this.#chunkOf(from);
    const sourceBase = baseOf(from);
    const target = this.#chunkOf(to);
    const targetBase = baseOf(to);
    const moved = source[sourceBase + COUNT]! - at;
    const targetCount = target[targetBase + COUNT]!;
    const inner = source[sourceBase + HEIGHT] !== 0;
    for (let i = 0; i < moved; i += 1) {
      const read = sourceBase + at + i;
      const write = targetBase + targetCount + i;
      target[write + ENTRIES] = source[read + ENTRIES]!;
      target[write + WORDS] = source[read + WORDS]!;
      if (inner) {
        target[write + CHILDREN] = source[read + CHILDREN]!;
        target[write + LIVES] = source[read + LIVES]!;
      }
    }
    source[sourceBase + COUNT] = at;
    target[targetBase + COUNT] = targetCount + moved;
  }

  /** Removes an entry of the node on the path at `level`, and the node when it was the last. */
  #removeEntry(level: number, node: number, at: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const count = words[base + COUNT]! - 1;
    unshift(words, base + ENTRIES, at, count);
    unshift(words, base + WORDS, at, count);
    if (words[base + HEIGHT] !== 0) {
      unshift(words, base + CHILDREN, at, count);
      unshift(words, base + LIVES, at, count);
    }
    words[base + COUNT] = count;
    if (level === 0) return this.#lowerRoot();
    if (count === 0) {
      this.#free(node);
      return this.#removeEntry(level - 1, this.#pathNodes[level - 1]!, this.#pathChildren[level - 1]!);
    }
    if (at === 0) this.#changeFirst(level, this.#firstSlot(node));
    if (count < entriesMax(words[base + HEIGHT]!) / 4) this.#mergeWithSibling(level);
  }

  /** Drops root nodes that have a single child. */
  #lowerRoot(): void {
    for (;;) {
      const root = this.#root;
      const words = this.#chunkOf(root);
      const base = baseOf(root);
      if (words[base + HEIGHT] === 0 || words[base + COUNT]! > 1) return;
      this.#root = words[base + CHILDREN]!;
      this.#free(root);
    }
  }

  /** Joins the node on the path at `level` with a neighbour under the same parent if that leaves room. */
  #mergeWithSibling(level: number): void {
    const parent = this.#pathNodes[level - 1]!;
    const words = this.#chunkOf(parent);
    const base = baseOf(parent);
    const place = this.#pathChildren[level - 1]!;
    const siblings = words[base + COUNT]!;
    if (siblings < 2) return;
    const leftPlace = place + 1 < siblings ? place : place - 1;
    const left = words[base + CHILDREN + leftPlace]!;
    const right = words[base + CHILDREN + leftPlace + 1]!;
    const height = words[base + HEIGHT]! - 1;
    const together = this.#count(left) + this.#count(right);
    if (together > (entriesMax(height) * 3) / 4) return;

    this.#moveEntries(right, 0, left);
    this.#refit(left);
    this.#recount(left);
    if (this.#changed(right) > this.#changed(left)) this.#setChanged(left, this.#changed(right));
    words[base + LIVES + leftPlace] = this.#live(left);
    this.#free(right);
    this.#removeEntry(level - 1, parent, leftPlace + 1);
  }

  /** Sets the word of an entry that is new in its place, after lowering SKIP if the key asks for it. */
  #fitWord(node: number, at: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const count = words[base + COUNT]!;
    if (count === 1) return this.#refit(node);
    const slot = slotAt(words, base, at);
    const skip = words[base + SKIP]!;
    // Between two other keys it has what they have in common; as the first or last it may not.
    if (at === 0 || at === count - 1) {
      const other = slotAt(words, base, at === 0 ? 1 : at - 1);
      if (this.#records.commonPrefix(slot, other, skip) < skip) return this.#refit(node);
    }
    words[base + WORDS + at] = this.#records.wordAt(slot, skip);
  }

  /** Recomputes the words when the keys have come to agree in two or more of the four bytes. */
  #refitIfLoose(node: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const count = words[base + COUNT]!;
    if (count < 2) return;
    const first = words[base + WORDS]!;
    const last = words[base + WORDS + count - 1]!;
    if (first >>> 16 === last >>> 16) this.#refit(node);
  }

  #refit(node: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const count = words[base + COUNT]!;
    const first = slotAt(words, base, 0);
    const skip = this.#records.commonPrefix(first, slotAt(words, base, count - 1), Infinity);
    words[base + SKIP] = skip;
    for (let at = 0; at < count; at += 1) {
      words[base + WORDS + at] = this.#records.wordAt(slotAt(words, base, at), skip);
    }
  }

  #recount(node: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    const count = words[base + COUNT]!;
    const inner = words[base + HEIGHT] !== 0;
    let live = 0;
    for (let at = 0; at < count; at += 1) {
      if (inner) live += words[base + LIVES + at]!;
      else if (words[base + ENTRIES + at]! >= 0) live += 1;
    }
    words[base + LIVE] = live;
  }

  #onLastPath(level: number): boolean {
    for (let above = 0; above < level; above += 1) {
      if (this.#pathChildren[above] !== this.#count(this.#pathNodes[above]!) - 1) return false;
    }
    return true;
  }

  #onFirstPath(level: number): boolean {
    for (let above = 0; above < level; above += 1) {
      if (this.#pathChildren[above] !== 0) return false;
    }
    return true;
  }

  // Nodes

  #chunkOf(node: number): Int32Array {
    return this.#chunks[node >>> CHUNK_SHIFT]!;
  }

  #count(node: number): number {
    return this.#chunkOf(node)[baseOf(node) + COUNT]!;
  }

  #live(node: number): number {
    return this.#chunkOf(node)[baseOf(node) + LIVE]!;
  }

  #firstSlot(node: number): number {
    return slotAt(this.#chunkOf(node), baseOf(node), 0);
  }

  #changed(node: number): number {
    return this.#chunksAsFloats[node >>> CHUNK_SHIFT]![(baseOf(node) + CHANGED) >>> 1]!;
  }

  #setChanged(node: number, main: number): void {
    this.#chunksAsFloats[node >>> CHUNK_SHIFT]![(baseOf(node) + CHANGED) >>> 1] = main;
  }

  #linkAfter(leaf: number, added: number): void {
    const next = this.#chunkOf(leaf)[baseOf(leaf) + NEXT]!;
    this.#chunkOf(added)[baseOf(added) + NEXT] = next;
    this.#chunkOf(added)[baseOf(added) + PREVIOUS] = leaf;
    this.#chunkOf(leaf)[baseOf(leaf) + NEXT] = added;
    if (next !== 0) this.#chunkOf(next)[baseOf(next) + PREVIOUS] = added;
  }

  #allocate(height: number): number {
    let node = this.#freeNode;
    if (node !== 0) this.#freeNode = this.#chunkOf(node)[baseOf(node) + NEXT]!;
    else {
      node = this.#nodesEnd;
      this.#nodesEnd += 1;
      if (node >>> CHUNK_SHIFT >= this.#chunks.length) {
        const chunk = new Int32Array(CHUNK_NODES * NODE_WORDS);
        this.#chunks.push(chunk);
        this.#chunksAsFloats.push(new Float64Array(chunk.buffer));
      }
    }
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    words.fill(0, base, base + ENTRIES);
    words[base + HEIGHT] = height;
    return node;
  }

  #free(node: number): void {
    const words = this.#chunkOf(node);
    const base = baseOf(node);
    if (words[base + HEIGHT] === 0) {
      const next = words[base + NEXT]!;
      const previous = words[base + PREVIOUS]!;
      if (next !== 0) this.#chunkOf(next)[baseOf(next) + PREVIOUS] = previous;
      if (previous !== 0) this.#chunkOf(previous)[baseOf(previous) + NEXT] = next;
    }
    words[base + NEXT] = this.#freeNode;
    this.#freeNode = node;
  }
}

function baseOf(node: number): number {
  return (node & CHUNK_MASK) * NODE_WORDS;
}

function entriesMax(height: number): number {
  return height === 0 ? LEAF_ENTRIES_MAX : INNER_ENTRIES_MAX;
}

function slotAt(words: Int32Array, base: number, at: number): number {
  const entry = words[base + ENTRIES + at]!;
  return entry < 0 ? ~entry : entry;
}

/** Makes room at place `at` of the run of `count` words that starts at `start`. */
function shift(words: Int32Array, start: number, at: number, count: number): void {
  if (at < count) words.copyWithin(start + at + 1, start + at, start + count);
}

/** Closes place `at`; `count` words remain. */
function unshift(words: Int32Array, start: number, at: number, count: number): void {
  if (at < count) words.copyWithin(start + at, start + at + 1, start + count + 1);
}
