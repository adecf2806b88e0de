import { assert } from "../base/assert.ts";
import type { RaftIndex, Term } from "../base/units.ts";
import { checkedConfState, EMPTY_CONF_STATE } from "./conf_change.ts";
import { EntryRun } from "./entry_run.ts";
import { type ConfState, type Entry, type HardState, NO_MEMBER, type Snapshot } from "./types.ts";

/** The durable part of the log, as the core reads it. The driver writes it, before `RawNode.saved()`. */
export interface LogStorage {
  /** What the core starts from. */
  initialState(): { readonly hardState: HardState; readonly confState: ConfState };
  /** The first entry that has not been compacted; `lastIndex + 1` when there is none. */
  readonly firstIndex: RaftIndex;
  /** The last entry, or the one that the snapshot ends with. */
  readonly lastIndex: RaftIndex;
  /** Term at an index in [firstIndex - 1, lastIndex]; undefined at any other. */
  term(index: RaftIndex): Term | undefined;
  /** Entries in [from, to), cut to `bytesMax` but never to none. The range must be within the log. */
  entries(from: RaftIndex, to: RaftIndex, bytesMax: number): readonly Entry[];
  /** The newest snapshot to bring a follower up with, or undefined when it is not at hand just now. */
  snapshot(): Snapshot | undefined;
}

export const EMPTY_HARD_STATE: HardState = { term: 0, vote: NO_MEMBER, commit: 0 };

/** The log in memory, behind a write-ahead log that holds the same on disk. */
export class MemoryStorage implements LogStorage {
  #hardState: HardState = EMPTY_HARD_STATE;
  #confState: ConfState = EMPTY_CONF_STATE;
  readonly #entries = new EntryRun(1);
  /** Term of the entry before the first one, which has been compacted; 0 when the log starts at 1. */
  #compactedTerm: Term = 0;
  #snapshot: Snapshot | undefined;

  initialState(): { readonly hardState: HardState; readonly confState: ConfState } {
    return { hardState: this.#hardState, confState: this.#confState };
  }

  get firstIndex(): RaftIndex {
    return this.#entries.firstIndex;
  }

  get lastIndex(): RaftIndex {
    return this.#entries.nextIndex - 1;
  }

  term(index: RaftIndex): Term | undefined {
    const first = this.#entries.firstIndex;
    if (index === first - 1) return this.#compactedTerm;
    if (index < first || index >= this.#entries.nextIndex) return undefined;
    return this.#entries.at(index).term;
  }

  entries(from: RaftIndex, to: RaftIndex, bytesMax: number): readonly Entry[] {
    const stored = this.#entries;
    assert(
      stored.firstIndex <= from && to <= stored.nextIndex,
      "entries [%, %) asked for, [%, %) are stored",
      from,
      to,
      stored.firstIndex,
      stored.nextIndex,
    );
    return stored.slice(from, stored.endOfBatch(from, to, bytesMax));
  }

  snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  setHardState(hardState: HardState): void {
    this.#hardState = hardState;
  }

  /** Adds entries; they replace those at and after the first of them. Compacted ones are passed over. */
  append(entries: readonly Entry[]): void {
    const stored = this.#entries;
    let skip = 0;
    while (skip < entries.length && entries[skip]!.index < stored.firstIndex) skip += 1;
    if (skip === entries.length) return;
    const first = entries[skip]!.index;
    assert(first <= stored.nextIndex, "entry % stored after %", first, stored.nextIndex - 1);
    stored.dropFrom(first);
    for (let i = skip; i < entries.length; i += 1) stored.push(entries[i]!);
  }

  /** Drops the entries up to `index`; already compacted is fine. Its term is kept. */
  compact(index: RaftIndex): void {
    if (index < this.firstIndex) return;
    const term = this.term(index);
    assert(term !== undefined, "log compacted at %, but it ends at %", index, this.lastIndex);
    this.#entries.dropBefore(index + 1);
    this.#compactedTerm = term;
  }

  /** Makes a snapshot of the state machine at `index`, to be sent to followers. Older than the present one: none. */
  createSnapshot(index: RaftIndex, confState: ConfState, data: Uint8Array): Snapshot | undefined {
    if (this.#snapshot !== undefined && index <= this.#snapshot.index) return undefined;
    const term = this.term(index);
    assert(
      term !== undefined,
      "snapshot at %, but the log is [%, %]",
      index,
      this.firstIndex,
      this.lastIndex,
    );
    this.#snapshot = { index, term, confState, data };
    return this.#snapshot;
  }

  /** Starts over from a snapshot: all entries go. Older than the present one: nothing happens. */
  applySnapshot(snapshot: Snapshot): void {
    if (this.#snapshot !== undefined && snapshot.index <= this.#snapshot.index) return;
    this.#confState = checkedConfState(snapshot.confState);
    this.#snapshot = snapshot;
    this.#compactedTerm = snapshot.term;
    this.#entries.restart(snapshot.index + 1);
  }

  /** The configuration to start from, where it is known from elsewhere than a snapshot. */
  setConfState(confState: ConfState): void {
    this.#confState = checkedConfState(confState);
  }
}
