import { assert } from "../base/assert.ts";
import type { RaftIndex, Term } from "../base/units.ts";
import { entryBytes } from "./entry_run.ts";
import type { LogStorage } from "./storage.ts";
import type { Entry, Snapshot } from "./types.ts";
import { Unstable } from "./unstable.ts";

/** Position and term of an entry: equal pairs mean equal logs up to there (the log matching property). */
export interface EntryId {
  readonly index: RaftIndex;
  readonly term: Term;
}

/**
 * The whole log: the durable part in storage, the end in `unstable`, and how far it is committed, handed out
 * and applied.
 *
 * Invariant: applied <= applying <= committed <= lastIndex, and applying <= stableIndex.
 */
export class RaftLog {
  readonly storage: LogStorage;
  readonly unstable: Unstable;
  /** The highest index known to be durable on a quorum. */
  committed: RaftIndex;
  /** Handed to the state machine up to here. */
  applying: RaftIndex;
  /** The state machine is done up to here. */
  applied: RaftIndex;

  /** Starts at `applied`, or where storage was compacted: what is committed after it is handed out again. */
  constructor(storage: LogStorage, options: { readonly committed: RaftIndex; readonly applied: RaftIndex }) {
    const compacted = storage.firstIndex - 1;
    const committed = Math.max(options.committed, compacted);
    assert(
      committed <= storage.lastIndex,
      "commit % is past the last entry %: was the log truncated or lost?",
      committed,
      storage.lastIndex,
    );
    assert(
      options.applied <= committed,
      "applied % is past commit %: was the log truncated or lost?",
      options.applied,
      committed,
    );
    this.storage = storage;
    this.unstable = new Unstable(storage.lastIndex + 1);
    this.committed = committed;
    this.applied = Math.max(options.applied, compacted);
    this.applying = this.applied;
  }

  get firstIndex(): RaftIndex {
    const snapshot = this.unstable.snapshot;
    return snapshot === undefined ? this.storage.firstIndex : snapshot.index + 1;
  }

  get lastIndex(): RaftIndex {
    return this.unstable.lastIndex() ?? this.storage.lastIndex;
  }

  /** The last entry that is durable here. */
  get stableIndex(): RaftIndex {
    return this.unstable.snapshot === undefined
      ? this.unstable.entries.firstIndex - 1
      : this.storage.lastIndex;
  }

  get lastId(): EntryId {
    const index = this.lastIndex;
    const term = this.term(index);
    assert(term !== undefined, "no term for the last entry %", index);
    return { index, term };
  }

  /** Term of the entry at an index; undefined when it is compacted or not there yet. */
  term(index: RaftIndex): Term | undefined {
    const unstable = this.unstable.term(index);
    if (unstable !== undefined) return unstable;
    if (index >= this.unstable.entries.firstIndex || this.unstable.snapshot !== undefined) return undefined;
    return this.storage.term(index);
  }

  matches(id: EntryId): boolean {
    return this.term(id.index) === id.term;
  }

  /** Whether a log that ends with `last` is no older than ours: what a vote depends on (Raft, 5.4.1). */
  isUpToDate(last: EntryId): boolean {
    const ours = this.lastId;
    return last.term > ours.term || (last.term === ours.term && last.index >= ours.index);
  }

  /** Appends one entry of the leader itself. */
  append(entry: Entry): void {
    this.unstable.entries.push(entry);
  }

  /**
   * Appends what a leader sent after the entry `previous`, replacing entries that conflict. Gives the index of
   * the last entry sent, or undefined when `previous` is not in this log.
   */
  appendAfter(previous: EntryId, entries: readonly Entry[]): RaftIndex | undefined {
    if (!this.matches(previous)) return undefined;
    const firstNew = entries.findIndex((entry) => !this.matches(entry));
    if (firstNew >= 0) {
      const index = entries[firstNew]!.index;
      assert(index > this.committed, "entry % conflicts with the committed %", index, this.committed);
      this.unstable.replaceFrom(firstNew === 0 ? entries : entries.slice(firstNew));
    }
    return previous.index + entries.length;
  }

  /**
   * The last index, no later than `id.index`, at which a log that has `id` may agree with this one: terms
   * never decrease along a log, so entries of later terms than `id.term` cannot. Skips a whole term per round
   * trip where logs diverge. The term is 0 when it is not known any more.
   */
  lastPossibleMatch(id: EntryId): EntryId {
    for (let index = id.index; index > 0; index -= 1) {
      const term = this.term(index);
      if (term === undefined) return { index, term: 0 };
      if (term <= id.term) return { index, term };
    }
    return { index: 0, term: 0 };
  }

  /** Commits up to `index`, which the leader found durable on a quorum. */
  commitTo(index: RaftIndex): void {
    if (index <= this.committed) return;
    assert(
      index <= this.lastIndex,
      "tocommit(%) is out of range [lastIndex(%)]. Was the raft log corrupted, truncated, or lost?",
      index,
      this.lastIndex,
    );
    this.committed = index;
  }

  /** Entries from `from` on, at most `bytesMax` but at least one if there is one; undefined when compacted. */
  entriesFrom(from: RaftIndex, bytesMax: number): readonly Entry[] | undefined {
    if (from < this.firstIndex) return undefined;
    return this.slice(from, this.lastIndex + 1, bytesMax);
  }

  /** Entries in [from, to), cut to `bytesMax` but never to none. */
  slice(from: RaftIndex, to: RaftIndex, bytesMax: number): readonly Entry[] {
    if (from >= to) return [];
    const unstable = this.unstable.entries;
    if (from >= unstable.firstIndex) return unstable.slice(from, unstable.endOfBatch(from, to, bytesMax));
    const stableEnd = Math.min(to, unstable.firstIndex);
    const stable = this.storage.entries(from, stableEnd, bytesMax);
    if (to <= stableEnd || from + stable.length < stableEnd) return stable;
    let left = bytesMax;
    for (const entry of stable) left -= entryBytes(entry);
    const end = unstable.endOfBatch(stableEnd, to, left);
    // `endOfBatch` gives at least one entry, which `stable` has made up for already.
    if (end === stableEnd + 1 && entryBytes(unstable.at(stableEnd)) > left) return stable;
    return [...stable, ...unstable.slice(stableEnd, end)];
  }

  get hasNextCommitted(): boolean {
    return this.applying === this.applied && this.applying < this.#applicable;
  }

  /**
   * The committed entries to apply next, at most `bytesMax` but at least one. Only durable ones, so that they
   * can be applied while a save is under way, and only once those handed out before are applied.
   */
  takeCommitted(bytesMax: number): readonly Entry[] {
    if (!this.hasNextCommitted) return [];
    const taken = this.slice(this.applying + 1, this.#applicable + 1, bytesMax);
    this.applying = taken.at(-1)!.index;
    return taken;
  }

  appliedTo(index: RaftIndex): void {
    assert(
      this.applied <= index && index <= this.applying,
      "applied up to % after %, but only % was handed out",
      index,
      this.applied,
      this.applying,
    );
    this.applied = index;
  }

  /** Starts over from a snapshot of the leader. */
  restore(snapshot: Snapshot): void {
    this.unstable.restore(snapshot);
    this.committed = snapshot.index;
  }

  /** A snapshot is to be saved, but the state machine that it replaces is still applying older entries. */
  get snapshotMustWait(): boolean {
    return this.unstable.snapshot !== undefined && this.applying !== this.applied;
  }

  /** The snapshot is durable, and the state machine has become what it holds. */
  savedSnapshot(index: RaftIndex): void {
    this.unstable.savedSnapshot(index);
    this.applying = Math.max(this.applying, index);
    this.applied = Math.max(this.applied, index);
  }

  /** Entries wait behind a snapshot that is not installed yet. */
  get #applicable(): RaftIndex {
    return this.unstable.snapshot === undefined ? Math.min(this.committed, this.stableIndex) : 0;
  }
}
