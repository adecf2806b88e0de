import { IntervalTree } from "../base/interval_tree.ts";
import type { Watcher } from "./watcher.ts";

/** What a watcher watches, as binary strings: [begin, end), or the key `begin` alone. */
export interface WatchedRange {
  readonly begin: string;
  /** `ONE_KEY`, the first key not watched, or undefined for all keys from `begin` on. */
  readonly end: string | undefined;
}

/** The `end` of a watch on one key. No range ends here: it would be empty. */
export const ONE_KEY = "";

/**
 * All watchers of one index that watch the same: they see the same events. A group moves between indexes as
 * a whole, in O(1), however many watchers it has.
 */
export class WatcherGroup implements WatchedRange {
  readonly begin: string;
  readonly end: string | undefined;
  home: WatcherIndex;
  size = 0;
  /** A doubly linked list; new ones come first. */
  first: Watcher | undefined = undefined;
  /** The watcher that the fan-out under way visits next. Invariant: it is in the list. */
  visited: Watcher | undefined = undefined;

  constructor({ begin, end }: WatchedRange, home: WatcherIndex) {
    this.begin = begin;
    this.end = end;
    this.home = home;
  }

  add(watcher: Watcher): void {
    watcher.group = this;
    watcher.previous = undefined;
    watcher.next = this.first;
    if (this.first !== undefined) this.first.previous = watcher;
    this.first = watcher;
    this.size += 1;
  }

  remove(watcher: Watcher): void {
    const { previous, next } = watcher;
    if (this.visited === watcher) this.visited = next;
    if (previous === undefined) this.first = next;
    else previous.next = next;
    if (next !== undefined) next.previous = previous;
    watcher.group = watcher.previous = watcher.next = undefined;
    this.size -= 1;
  }

  /** Takes all watchers of another group. */
  absorb(other: WatcherGroup): void {
    for (let watcher = other.first; watcher !== undefined; watcher = other.first) {
      other.remove(watcher);
      this.add(watcher);
    }
  }
}

/** Watchers by what they watch: exact keys in a map, ranges in an interval tree. */
export class WatcherIndex {
  readonly #keys = new Map<string, WatcherGroup>();
  readonly #ranges = new IntervalTree<WatcherGroup>();
  #size = 0;

  /** Number of watchers. */
  get size(): number {
    return this.#size;
  }

  get groupCount(): number {
    return this.#keys.size + this.#ranges.size;
  }

  add(watcher: Watcher, range: WatchedRange): void {
    let group = this.#find(range);
    if (group === undefined) {
      group = new WatcherGroup(range, this);
      this.#put(group);
    }
    group.add(watcher);
    this.#size += 1;
  }

  /** Takes out a watcher that is in a group of this index. */
  remove(watcher: Watcher): void {
    const group = watcher.group!;
    group.remove(watcher);
    this.#size -= 1;
    if (group.size === 0) this.#drop(group);
  }

  /** Appends the groups that watch a key. */
  match(key: string, found: WatcherGroup[]): void {
    const group = this.#keys.size > 0 ? this.#keys.get(key) : undefined;
    if (group !== undefined) found.push(group);
    if (this.#ranges.size > 0) this.#ranges.stab(key, found);
  }

  /** Takes a group over from another index. Its watchers join a group that watches the same here. */
  adopt(group: WatcherGroup): void {
    group.home.#drop(group);
    group.home.#size -= group.size;
    this.#size += group.size;
    const own = this.#find(group);
    if (own !== undefined && own.size >= group.size) return own.absorb(group);
    group.home = this;
    this.#put(group);
    if (own !== undefined) group.absorb(own);
  }

  /** Moves groups to another index, `groupsMax` at most; true when none is left. */
  moveTo(other: WatcherIndex, groupsMax: number): boolean {
    let left = groupsMax;
    for (const group of this.#keys.values()) {
      if (left-- === 0) return false;
      other.adopt(group);
    }
    for (let group = this.#ranges.first(); group !== undefined; group = this.#ranges.first()) {
      if (left-- <= 0) return false;
      other.adopt(group);
    }
    return true;
  }

  /** The index may not change meanwhile. */
  *groups(): IterableIterator<WatcherGroup> {
    yield* this.#keys.values();
    yield* this.#ranges.values();
  }

  #find({ begin, end }: WatchedRange): WatcherGroup | undefined {
    return end === ONE_KEY ? this.#keys.get(begin) : this.#ranges.get(begin, end);
  }

  #put(group: WatcherGroup): void {
    if (group.end === ONE_KEY) this.#keys.set(group.begin, group);
    else this.#ranges.set(group.begin, group.end, group);
  }

  #drop({ begin, end }: WatcherGroup): void {
    if (end === ONE_KEY) this.#keys.delete(begin);
    else this.#ranges.delete(begin, end);
  }
}
