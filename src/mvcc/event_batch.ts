import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import { KeyValueReader } from "./key_value.ts";
import { SHAPE_FLAGS, watcherFlag } from "./watcher.ts";
import type { WatcherGroup } from "./watcher_group.ts";

/** What happened to a key. */
export const eventKind = { created: 0, modified: 1, deleted: 2 } as const;
export type EventKind = (typeof eventKind)[keyof typeof eventKind];

/** The KeyValue of a key at a revision, undefined when there is none. Throws `compacted`. */
export type ReadKeyValue = (key: Uint8Array, revision: number) => Uint8Array | undefined;

/*
 * Fields of mvccpb.Event, and the tag of `events` in etcdserverpb.WatchResponse (etcd, api/mvccpb/kv.proto
 * and api/etcdserverpb/rpc.proto).
 */
const EVENTS_TAG = 0x5a;
const TYPE_TAG = 0x08;
const TYPE_DELETE = 1;
const KV_TAG = 0x12;
const PREV_KV_TAG = 0x1a;

/** A buffer that has grown past this is not kept for the next batch. */
const KEPT_BYTES_MAX = 1024 * 1024;
const INITIAL_BYTES = 4096;

/**
 * Events of consecutive revisions that somebody watches, encoded once, as `events` fields of a WatchResponse:
 * the bytes of a run of events are what every watcher that wants them is sent. What a group of watchers gets
 * is a list of event numbers.
 *
 * Example: revision 5 puts a and b, revision 6 deletes a; a is watched alone and together with b. There are three
 * events with mains [5, 5, 6]; the group of a has [0, 2], the group of both [0, 1, 2].
 */
export class EventBatch {
  /** What each group gets, in order. */
  readonly groups = new Map<WatcherGroup, number[]>();
  #out = new ByteWriter(INITIAL_BYTES);
  #mains: number[] = [];
  #kinds: EventKind[] = [];
  /** Where event i ends; it begins where the one before ends. */
  #ends: number[] = [];

  get count(): number {
    return this.#mains.length;
  }

  get bytes(): number {
    return this.#out.length;
  }

  /** Main revision of an event. */
  mainOf(event: number): number {
    return this.#mains[event]!;
  }

  /** Adds an event for the groups that watch its key. Copies `keyValue`, the event's own. */
  append(main: number, kind: EventKind, keyValue: Uint8Array, groups: readonly WatcherGroup[]): void {
    const event = this.#mains.length;
    const out = this.#out;
    const deleted = kind === eventKind.deleted;
    out.byte(EVENTS_TAG);
    out.varint((deleted ? 2 : 0) + 1 + varintBytes(keyValue.length) + keyValue.length);
    if (deleted) {
      out.byte(TYPE_TAG);
      out.byte(TYPE_DELETE);
    }
    out.byte(KV_TAG);
    out.varint(keyValue.length);
    out.write(keyValue);
    this.#mains.push(main);
    this.#kinds.push(kind);
    this.#ends.push(out.length);
    for (const group of groups) {
      const events = this.groups.get(group);
      if (events === undefined) this.groups.set(group, [event]);
      else events.push(event);
    }
  }

  /**
   * The encoded events of a list, from its `start`th on, for a watcher with these flags; none when it wants none
   * of them. The bytes may be the batch's own: they are valid until `clear`.
   */
  run(events: readonly number[], start: number, flags: number, read: ReadKeyValue): Uint8Array {
    const first = events[start]!;
    const last = events[events.length - 1]!;
    const isWhole = last - first === events.length - 1 - start;
    if (isWhole && (flags & SHAPE_FLAGS) === 0) {
      return this.#out.bytes.subarray(this.#startOf(first), this.#ends[last]!);
    }
    const run = new ByteWriter(256);
    for (let i = start; i < events.length; i += 1) {
      const event = events[i]!;
      const unwanted = this.#kinds[event] === eventKind.deleted ? watcherFlag.noDelete : watcherFlag.noPut;
      if ((flags & unwanted) !== 0) continue;
      const field = this.#out.bytes.subarray(this.#startOf(event), this.#ends[event]!);
      const previous = (flags & watcherFlag.prevKv) === 0 ? undefined : this.#previous(event, field, read);
      if (previous === undefined) run.write(field);
      else writeWithPrevious(run, field, previous);
    }
    return run.length === 0 ? EMPTY_BYTES : run.bytes.subarray(0, run.length);
  }

  clear(): void {
    this.groups.clear();
    this.#mains = [];
    this.#kinds = [];
    this.#ends = [];
    if (this.#out.bytes.length > KEPT_BYTES_MAX) this.#out = new ByteWriter(INITIAL_BYTES);
    else this.#out.clear();
  }

  #startOf(event: number): number {
    return event === 0 ? 0 : this.#ends[event - 1]!;
  }

  /** What the key held just before an event; undefined when it held nothing, or compaction has removed it. */
  #previous(event: number, field: Uint8Array, read: ReadKeyValue): Uint8Array | undefined {
    const kind = this.#kinds[event]!;
    if (kind === eventKind.created) return undefined;
    const { at, length } = lengthAt(field, 1);
    const keyValueAt = lengthAt(field, at + (kind === eventKind.deleted ? 2 : 0) + 1).at;
    const { key } = reader.read(field.subarray(keyValueAt, at + length));
    try {
      return read(key, this.#mains[event]! - 1);
    } catch (error) {
      if (error instanceof EtcdError && error.code === "compacted") return undefined;
      throw error;
    }
  }
}

const reader = new KeyValueReader();

/** An `events` field again, with `prev_kv` as the last field of the event. */
function writeWithPrevious(out: ByteWriter, field: Uint8Array, previous: Uint8Array): void {
  const { at, length } = lengthAt(field, 1);
  out.byte(EVENTS_TAG);
  out.varint(length + 1 + varintBytes(previous.length) + previous.length);
  out.write(field.subarray(at));
  out.byte(PREV_KV_TAG);
  out.varint(previous.length);
  out.write(previous);
}

/**
 * Where each of a run's `events` fields ends, for a response that has to be split.
 */
export function eventEnds(run: Uint8Array): number[] {
  const ends: number[] = [];
  for (let end = 0; end < run.length;) {
    const { at, length } = lengthAt(run, end + 1);
    end = at + length;
    ends.push(end);
  }
  return ends;
}

/** How many events a run has. */
export function countEvents(run: Uint8Array): number {
  let count = 0;
  for (let end = 0; end < run.length; count += 1) {
    const { at, length } = lengthAt(run, end + 1);
    end = at + length;
  }
  return count;
}

/** Reads a length that this module has written: the length, and where what it counts begins. */
function lengthAt(bytes: Uint8Array, from: number): { readonly length: number; readonly at: number } {
  let length = 0;
  for (let at = from, scale = 1;; scale *= 128) {
    const byte = bytes[at++]!;
    length += (byte & 127) * scale;
    if (byte < 128) return { length, at };
  }
}

function varintBytes(value: number): number {
  let bytes = 1;
  for (let rest = value; rest > 127; rest = Math.floor(rest / 128)) bytes += 1;
  return bytes;
}
