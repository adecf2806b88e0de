import type { RaftIndex, Term } from "../../src/base/units.ts";
import type { ConfState, Entry, EntryType, HardState } from "../../src/raft/types.ts";

/** What tests of the log write, and a plain model of what it has to hold. */

export const DIR = "/data/member/wal";
export const PARENT = "/data/member";
export const METADATA = new TextEncoder().encode("member 8e9e05c52164694d");
export const BEGINNING = { index: 0 as RaftIndex, term: 0 as Term };
/** A member id as etcd makes them: a 64-bit hash. */
export const MEMBER = 0x8e9e05c52164694dn;

export const CONF_STATE: ConfState = {
  voters: [MEMBER, 0xfd422379fda50e48n],
  learners: [3n],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export function entry(
  index: number,
  term: number,
  data = `entry ${index} of ${term}`,
  type: EntryType = 0,
): Entry {
  return { index: index as RaftIndex, term: term as Term, type, data: new TextEncoder().encode(data) };
}

export function state(term: number, commit: number, vote = MEMBER): HardState {
  return { term: term as Term, vote, commit: commit as RaftIndex };
}

/** One save, as the model takes it. */
export interface Save {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
}

export interface LogContent {
  readonly hardState: HardState | undefined;
  readonly entries: readonly Entry[];
}

export const EMPTY_LOG: LogContent = { hardState: undefined, entries: [] };

/** The log after a save of which only the first `records` records count: entries first, then the state. */
export function applySave(content: LogContent, save: Save, records = Infinity): LogContent {
  let entries = content.entries;
  for (const entry of save.entries.slice(0, records)) entries = [...entries.slice(0, entry.index - 1), entry];
  const statesSaved = records > save.entries.length && save.hardState !== undefined;
  return { hardState: statesSaved ? save.hardState : content.hardState, entries };
}

/** Text that is equal for equal logs. */
export function describe(content: LogContent): string {
  const { hardState } = content;
  const head = hardState === undefined ? "none" : `${hardState.term}/${hardState.vote}/${hardState.commit}`;
  const entries = content.entries.map((entry) =>
    `${entry.index}/${entry.term}/${entry.type}/${new TextDecoder().decode(entry.data)}`
  );
  return [head, ...entries].join("\n");
}
