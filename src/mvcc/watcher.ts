import type { WatchStream } from "./watch_stream.ts";
import type { WatcherGroup } from "./watcher_group.ts";

/** What a watcher wants, as bits of `Watcher.flags`. */
export const watcherFlag = {
  noPut: 1,
  noDelete: 2,
  prevKv: 4,
  /** Large responses are split. For the receiver: the core takes no notice. */
  fragment: 8,
  /** Created without a start revision: it has nothing to wait for before it may report progress. */
  fromNow: 16,
  /** For the receiver: events were sent since it last looked. */
  eventsSent: 32,
  /** It is cancelled, and its id is free. */
  ended: 64,
} as const;

/** The flags that decide which bytes an event becomes. */
export const SHAPE_FLAGS = watcherFlag.noPut | watcherFlag.noDelete | watcherFlag.prevKv;

/** Chosen by the client or counted up per stream; a bigint only when no number can hold it. */
export type WatchId = number | bigint;

/**
 * One watch of one stream: a position, not a queue. Kept small, as there may be a million: what it watches is
 * its group's, and where it stands follows from where its group is (see `WatchHub`).
 */
export class Watcher {
  readonly stream: WatchStream;
  readonly id: WatchId;
  flags: number;
  /**
   * No event below this revision is for it. While it is parked (see `WatchHub`), the first revision that
   * it has not got.
   */
  from: number;
  /** Undefined when it is cancelled or parked. */
  group: WatcherGroup | undefined = undefined;
  /** Neighbours in the group's list. */
  previous: Watcher | undefined = undefined;
  next: Watcher | undefined = undefined;

  constructor(stream: WatchStream, id: WatchId, flags: number, from: number) {
    this.stream = stream;
    this.id = id;
    this.flags = flags;
    this.from = from;
  }
}
