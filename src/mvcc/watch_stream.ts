import { binaryString } from "../base/binary_string.ts";
import type { WatchHub } from "./watch_hub.ts";
import { Watcher, watcherFlag, type WatchId } from "./watcher.ts";
import { ONE_KEY, type WatchedRange } from "./watcher_group.ts";

/** Who is told what the watchers of a stream see. Nothing here may throw. */
export interface WatchReceiver {
  /** False while the client takes no more: watchers then stand still, and go on after `WatchStream.resume`. */
  readonly writable: boolean;
  /**
   * Events for a watcher, whole revisions in order: `run` is the encoded `events` fields of its response, valid
   * during the call, and `count` says how many they are before filters. `revision` is the store's.
   */
  onEvents(watcher: Watcher, revision: number, run: Uint8Array, count: number): void;
  /** A watcher has ended: what it needs was compacted. */
  onCompacted(watcher: Watcher, compactRevision: number): void;
}

/** What a client asks for. */
export interface WatchRequest {
  readonly key: Uint8Array;
  /** As on the wire: none for one key, "\0" for everything from `key` on. */
  readonly rangeEnd: Uint8Array;
  /** 0 for what comes next. */
  readonly startRevision: number;
  /** 0 to be given one. */
  readonly id: WatchId;
  /** Of `watcherFlag`. */
  readonly flags: number;
}

export type WatchRefusal = "emptyRange" | "duplicateId" | "tooMany";

/** Watchers whose responses go to one client over one call, by their ids. */
export class WatchStream {
  readonly receiver: WatchReceiver;
  readonly #hub: WatchHub;
  readonly #watchersMax: number;
  /**
   * In the order of their ids, which is that of their creation unless the client chooses them: a map would take
   * 30 bytes more for each. Those that have ended keep their places until they are as many as the others.
   */
  #watchers: Watcher[] = [];
  #size = 0;
  /** Watchers that have something to send that the receiver did not take, with what they watch. */
  readonly parked = new Map<Watcher, WatchedRange>();
  #nextId = 0;
  #isClosed = false;

  /** For `WatchHub.openStream`. */
  constructor(hub: WatchHub, receiver: WatchReceiver, watchersMax: number) {
    this.#hub = hub;
    this.receiver = receiver;
    this.#watchersMax = watchersMax;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Number of watchers. */
  get size(): number {
    return this.#size;
  }

  /** Adds a watcher, or says why not. Its events come in a later turn. */
  create(request: WatchRequest): Watcher | WatchRefusal {
    const range = watchedRange(request);
    if (range === undefined) return "emptyRange";
    if (request.id !== 0 && this.#find(request.id) !== undefined) return "duplicateId";
    if (this.#size >= this.#watchersMax || !this.#hub.hasRoom) return "tooMany";
    const { startRevision } = request;
    const from = startRevision === 0 ? this.#hub.currentRevision + 1 : startRevision;
    const flags = startRevision === 0 ? request.flags | watcherFlag.fromNow : request.flags;
    const id = request.id === 0 ? this.#freeId() : request.id;
    const watcher = new Watcher(this, id, flags, from);
    this.#insert(watcher);
    this.#hub.add(watcher, range);
    return watcher;
  }

  /** Ends a watcher; undefined when there is none with this id. */
  cancel(id: WatchId): Watcher | undefined {
    const watcher = this.#find(id);
    if (watcher === undefined) return undefined;
    this.#hub.remove(watcher);
    watcher.flags |= watcherFlag.ended;
    this.#size -= 1;
    if (this.#size <= this.#watchers.length / 2) this.#watchers = this.#live();
    return watcher;
  }

  /** The receiver is writable again. */
  resume(): void {
    if (this.parked.size > 0) this.#hub.resume(this);
  }

  /** Ends all watchers. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.parked.clear();
    this.#hub.closeStream(this, this.#live().values());
  }

  /** Whether a watcher has been told everything up to the current revision, in `WatchHub.afterDelivery`. */
  isCurrent(watcher: Watcher): boolean {
    const waits = (watcher.flags & watcherFlag.fromNow) === 0 && watcher.from > this.#hub.currentRevision;
    return !waits && this.#hub.isSynced(watcher);
  }

  /** Whether there are watchers and all are current. */
  get isAllCurrent(): boolean {
    for (const watcher of this.#watchers) {
      if (!isEnded(watcher) && !this.isCurrent(watcher)) return false;
    }
    return this.#size > 0;
  }

  #freeId(): number {
    while (this.#find(this.#nextId) !== undefined) this.#nextId += 1;
    return this.#nextId++;
  }

  #find(id: WatchId): Watcher | undefined {
    const watcher = this.#watchers[this.#position(id)];
    return watcher?.id === id && !isEnded(watcher) ? watcher : undefined;
  }

  #insert(watcher: Watcher): void {
    const watchers = this.#watchers;
    const at = this.#position(watcher.id);
    if (at === watchers.length) watchers.push(watcher);
    else watchers.splice(at, watchers[at]!.id === watcher.id ? 1 : 0, watcher);
    this.#size += 1;
  }

  #live(): Watcher[] {
    return this.#watchers.filter((watcher) => !isEnded(watcher));
  }

  /** Where the first watcher stands whose id is not below this one. */
  #position(id: WatchId): number {
    const watchers = this.#watchers;
    let low = 0;
    let high = watchers.length;
    if (high === 0 || watchers[high - 1]!.id < id) return high;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (watchers[middle]!.id < id) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isEnded(watcher: Watcher): boolean {
  return (watcher.flags & watcherFlag.ended) !== 0;
}

/** Undefined when the range is empty. The empty key stands for the first there is, "\0". */
function watchedRange({ key, rangeEnd }: WatchRequest): WatchedRange | undefined {
  const begin = key.length === 0 ? "\0" : binaryString(key);
  if (rangeEnd.length === 0) return { begin, end: ONE_KEY };
  const end = rangeEnd.length === 1 && rangeEnd[0] === 0 ? undefined : binaryString(rangeEnd);
  return end !== undefined && begin >= end ? undefined : { begin, end };
}
