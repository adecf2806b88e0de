import { textOf, utf8 } from "../../base/bytes.ts";
import type { Backend } from "../../mvcc/backend.ts";
import type { ConfState } from "../../raft/types.ts";

/*
 * Bucket "meta": facts about the backend as a whole. `scheduledCompactRev` and `finishedCompactRev`, revision
 * keys of 17 bytes, are here too; compaction in mvcc reads and writes them. `storageVersion` is in version.ts.
 */

/** Raft index of the last applied entry whose changes are in the backend; 8 bytes, big endian. */
export const CONSISTENT_INDEX_KEY = utf8("consistent_index");
/** Raft term of that entry; 8 bytes, big endian. */
export const TERM_KEY = utf8("term");
/** Configuration of the cluster at that entry, as Go writes `raftpb.ConfState` in JSON. */
const CONF_STATE_KEY = utf8("confState");

/** Eight bytes, big endian, of a whole number in [0, 2^53). */
export function encodeUint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value));
  return bytes;
}

export function decodeUint64(bytes: Uint8Array): number {
  return Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(0));
}

/** Zeros in an empty backend. `Backend.endEntry` writes them. */
export function readConsistentIndex(backend: Backend): { readonly index: number; readonly term: number } {
  const index = backend.get("meta", CONSISTENT_INDEX_KEY);
  const term = backend.get("meta", TERM_KEY);
  return {
    index: index === undefined ? 0 : decodeUint64(index),
    term: term === undefined ? 0 : decodeUint64(term),
  };
}

export function writeConfState(backend: Backend, confState: ConfState): void {
  const { voters, learners, votersOutgoing, learnersNext, autoLeave } = confState;
  // Ids are bare numbers of 64 bits, more than JSON.stringify would write. Empty lists are left out.
  const fields = [
    ["voters", voters],
    ["learners", learners],
    ["voters_outgoing", votersOutgoing],
    ["learners_next", learnersNext],
  ] as const;
  const lists = fields.filter(([, ids]) => ids.length > 0).map(([name, ids]) =>
    `"${name}":[${ids.join(",")}],`
  );
  backend.put("meta", CONF_STATE_KEY, utf8(`{${lists.join("")}"auto_leave":${autoLeave}}`));
}

/** Undefined when none was stored. Throws `SyntaxError` when the bytes are no configuration. */
export function readConfState(backend: Backend): ConfState | undefined {
  const bytes = backend.get("meta", CONF_STATE_KEY);
  if (bytes === undefined) return undefined;
  const text = textOf(bytes);
  const fields = JSON.parse(text) as Record<string, unknown>;
  const idsOf = (name: string): bigint[] => {
    if (fields[name] === undefined || fields[name] === null) return [];
    // From the text, since JSON.parse has rounded the numbers.
    const list = new RegExp(`"${name}"\\s*:\\s*\\[([\\d,\\s]*)\\]`).exec(text)?.[1];
    if (list === undefined) throw new SyntaxError(`Stored configuration has no list "${name}": ${text}`);
    return list.split(",").map((id) => id.trim()).filter((id) => id !== "").map(BigInt);
  };
  return {
    voters: idsOf("voters"),
    learners: idsOf("learners"),
    votersOutgoing: idsOf("voters_outgoing"),
    learnersNext: idsOf("learners_next"),
    autoLeave: fields["auto_leave"] === true,
  };
}
