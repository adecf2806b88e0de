import type { RaftIndex, Term } from "../base/units.ts";
import { EntryRun } from "./entry_run.ts";
import type { Entry, Snapshot } from "./types.ts";

/**
 * The end of the log that is not durable yet: what a save in progress covers, and what has gathered since.
 *
 * Example: with entries 7 to 11 and `savingTo` 9, entries 7 and 8 are being written and 9 to 11 go with the
 * next save.
 */
export class Unstable {
  /** What is not durable; starts after the last durable entry, or after `snapshot`. */
  readonly entries: EntryRun;
  /** A snapshot from the leader that replaces everything before `entries`. */
  snapshot: Snapshot | undefined;
  /** Invariant: entries.firstIndex <= savingTo <= entries.nextIndex. Entries before it were handed out. */
  savingTo: RaftIndex;
  savingSnapshot = false;

  constructor(nextIndex: RaftIndex) {
    this.entries = new EntryRun(nextIndex);
    this.savingTo = nextIndex;
  }

  /** Index of the last entry or of the snapshot; undefined when both are elsewhere. */
  lastIndex(): RaftIndex | undefined {
    if (this.entries.nextIndex > this.entries.firstIndex) return this.entries.nextIndex - 1;
    return this.snapshot?.index;
  }

  /** Term at an index, undefined when it is not known here. */
  term(index: RaftIndex): Term | undefined {
    if (index >= this.entries.firstIndex) {
      return index < this.entries.nextIndex ? this.entries.at(index).term : undefined;
    }
    return this.snapshot?.index === index ? this.snapshot.term : undefined;
  }

  /** Appends; entries at the same place and after it are replaced, durable ones included. */
  replaceFrom(entries: readonly Entry[]): void {
    const first = entries[0]!.index;
    if (first < this.entries.firstIndex) this.entries.restart(first);
    else this.entries.dropFrom(first);
    this.savingTo = Math.min(this.savingTo, first);
    for (const entry of entries) this.entries.push(entry);
  }

  /** Everything starts over from a snapshot of the leader. */
  restore(snapshot: Snapshot): void {
    this.entries.restart(snapshot.index + 1);
    this.savingTo = snapshot.index + 1;
    this.snapshot = snapshot;
    this.savingSnapshot = false;
  }

  /** The entries to save next. They count as being saved from now on. */
  takeEntries(): readonly Entry[] {
    const taken = this.entries.slice(this.savingTo, this.entries.nextIndex);
    this.savingTo = this.entries.nextIndex;
    return taken;
  }

  /** The snapshot to save next, once. */
  takeSnapshot(): Snapshot | undefined {
    if (this.savingSnapshot) return undefined;
    this.savingSnapshot = this.snapshot !== undefined;
    return this.snapshot;
  }

  get somethingToSave(): boolean {
    return this.savingTo < this.entries.nextIndex || (this.snapshot !== undefined && !this.savingSnapshot);
  }

  /**
   * The entries up to `index` are durable, the last of them in `term`. They may have been replaced while they
   * were written: then the new ones are not durable, and nothing happens. Only one save is ever under way, and
   * the replacing entries wait for it, so that an equal term means the very entries that were written.
   */
  saved(index: RaftIndex, term: Term): void {
    if (index < this.entries.firstIndex || this.term(index) !== term) return;
    this.entries.dropBefore(index + 1);
    this.savingTo = Math.max(this.savingTo, index + 1);
  }

  savedSnapshot(index: RaftIndex): void {
    if (this.snapshot?.index !== index) return;
    this.snapshot = undefined;
    this.savingSnapshot = false;
  }
}
