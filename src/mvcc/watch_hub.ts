import { assert } from "../base/assert.ts";
import { binaryString } from "../base/binary_string.ts";
import type { Backend } from "./backend.ts";
import { CatchUp, type HistorySource } from "./catch_up.ts";
import { EventBatch, eventKind } from "./event_batch.ts";
import type { EventSink, StoreEvent } from "./event_sink.ts";
import { Fanout, TurnBudget } from "./fanout.ts";
import { encodeTransientDeleted } from "./key_value.ts";
import type { Store } from "./store.ts";
import { type WatchReceiver, WatchStream } from "./watch_stream.ts";
import type { Watcher } from "./watcher.ts";
import { type WatchedRange, type WatcherGroup, WatcherIndex } from "./watcher_group.ts";

/**
 * Watchers of one stream, and of all. An idle one takes some 300 bytes, so that a full house is less than
 * a gigabyte.
 */
export const WATCHERS_PER_STREAM_MAX = 100_000;
export const WATCHERS_MAX = 2_000_000;

/** New events that may wait for older ones to be sent before their watchers go back to reading the history. */
const WAITING_EVENTS_MAX = 2000;
const WAITING_BYTES_MAX = 1024 * 1024;
/** Watchers that are let go of, or sent back to the history, in one turn. */
const TURN_MOVES_MAX = 1000;

/**
 * All watchers of a store. Each stands in one of three places:
 *
 * - synced: it has been sent everything that is not in `#waiting` or in the fan-out under way. The events of
 *   the transactions applied together are sent together, by `deliver`.
 * - catching up: its group belongs to a cursor of `CatchUp`, which reads the history out of the backend.
 * - parked: its stream takes no more. It is in no group, and `Watcher.from` is the first revision that it
 *   lacks; `resume` sends it to catch up.
 *
 * So a slow watcher is a position in the history, and what waits in memory is bounded, however many there are.
 * Groups with so many watchers that one turn cannot serve them fall behind by themselves when events come
 * faster than they are sent; they then get more events in each response.
 */
export class WatchHub implements EventSink, HistorySource {
  readonly #store: Store;
  readonly #afterSockets: (run: () => void) => void;
  readonly #rest: (run: () => void) => void;
  readonly #synced = new WatcherIndex();
  readonly #catchUp: CatchUp;
  readonly #fanout: Fanout;
  readonly #budget = new TurnBudget();
  readonly #found: WatcherGroup[] = [];
  #waiting = new EventBatch();
  #spare = new EventBatch();
  #resuming = new Set<WatchStream>();
  #closing: Iterator<Watcher>[] = [];
  #afterDelivery: (() => void)[] = [];
  #isScheduled = false;
  #size = 0;
  #streams = 0;

  /** `afterSockets` runs a step when all sockets had their turn, `rest` after a pause beside that. */
  constructor(store: Store, afterSockets: (run: () => void) => void, rest = afterSockets) {
    this.#store = store;
    this.#afterSockets = afterSockets;
    this.#rest = rest;
    this.#catchUp = new CatchUp(this);
    this.#fanout = new Fanout(this);
  }

  /** Number of watchers. */
  get size(): number {
    return this.#size;
  }

  get streamCount(): number {
    return this.#streams;
  }

  /** Watchers that are behind: etcd's slow watchers. */
  get slowCount(): number {
    return this.#size - this.#synced.size;
  }

  /** Events sent since start, to watchers of all kinds. */
  get sentEvents(): number {
    return this.#fanout.sentEvents + this.#catchUp.sentEvents;
  }

  /** Events that wait to be sent to synced watchers. */
  get waitingEvents(): number {
    return this.#waiting.count;
  }

  get hasRoom(): boolean {
    return this.#size < WATCHERS_MAX;
  }

  openStream(receiver: WatchReceiver, watchersMax = WATCHERS_PER_STREAM_MAX): WatchStream {
    this.#streams += 1;
    return new WatchStream(this, receiver, watchersMax);
  }

  // EventSink

  onEvents(main: number, events: readonly StoreEvent[]): void {
    if (this.#waiting.count >= WAITING_EVENTS_MAX || this.#waiting.bytes >= WAITING_BYTES_MAX) this.#spill();
    const found = this.#found;
    for (const event of events) {
      found.length = 0;
      this.#synced.match(binaryString(event.key), found);
      if (found.length === 0) continue;
      if (event.type === "delete") {
        this.#waiting.append(main, eventKind.deleted, encodeTransientDeleted(event.key, main), found);
      } else {
        const kind = event.created ? eventKind.created : eventKind.modified;
        this.#waiting.append(main, kind, event.keyValue, found);
      }
    }
    if (this.#waiting.count > 0) this.#wake();
  }

  // Work.

  /**
   * Sends what has happened to synced watchers, as far as a turn allows: to be called after transactions were
   * applied, with the replies. What is left is sent in coming turns.
   */
  deliver(): void {
    this.#budget.renew();
    if (!this.#deliver()) this.#wake();
  }

  /**
   * After the hub has sent what was current at some moment from now on: at once, when nothing waits. Then
   * `WatchStream.isCurrent` tells the truth.
   */
  afterDelivery(run: () => void): void {
    if (this.#isDelivered) return run();
    this.#afterDelivery.push(run);
    this.#wake();
  }

  readonly #step = (): void => {
    this.#isScheduled = false;
    this.#budget.renew();
    this.#release();
    this.#resume();
    // Groups that have just fallen behind may still be in the fan-out: it comes first.
    if (this.#deliver() && !this.#catchUp.isIdle) {
      this.#budget.renew();
      this.#catchUp.step(this.#synced, this.#budget);
    }
    if (!this.#isIdle) this.#wake();
  };

  get #isDelivered(): boolean {
    return !this.#fanout.isActive && this.#waiting.count === 0;
  }

  get #isIdle(): boolean {
    return this.#isDelivered && this.#catchUp.isIdle && this.#resuming.size === 0 &&
      this.#closing.length === 0;
  }

  #wake(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Catching up rests between its steps, short as they are: steps that follow each other at once would leave
    // others little of the processor.
    if (this.#isDelivered) this.#rest(this.#step);
    else this.#afterSockets(this.#step);
  }

  /** True when nothing waits for synced watchers any more. */
  #deliver(): boolean {
    while (this.#fanout.run(this.#budget)) {
      if (this.#waiting.count === 0) {
        const callbacks = this.#afterDelivery;
        if (callbacks.length > 0) {
          this.#afterDelivery = [];
          for (const callback of callbacks) callback();
        }
        return true;
      }
      const batch = this.#waiting;
      this.#waiting = this.#spare;
      this.#spare = batch;
      this.#fanout.begin(batch);
    }
    return false;
  }

  /** Too much waits: the watchers it is for read it from the history. */
  #spill(): void {
    this.#catchUp.adopt(this.#waiting.groups.keys(), this.#waiting.mainOf(0));
    this.#waiting.clear();
    this.#wake();
  }

  /** Takes watchers of streams that take output again out of parking. */
  #resume(): void {
    let moves = 0;
    for (const stream of this.#resuming) {
      for (const [watcher, range] of stream.parked) {
        if (moves >= TURN_MOVES_MAX || !stream.receiver.writable) break;
        moves += 1;
        stream.parked.delete(watcher);
        this.#catchUp.add(watcher, range);
      }
      if (moves >= TURN_MOVES_MAX) return;
      // Either all are out, or the stream will say again when it takes more.
      this.#resuming.delete(stream);
    }
  }

  /** Lets go of watchers of closed streams. */
  #release(): void {
    for (let moves = 0; this.#closing.length > 0 && moves < TURN_MOVES_MAX; moves += 1) {
      const next = this.#closing[this.#closing.length - 1]!.next();
      if (next.done === true) this.#closing.pop();
      else this.remove(next.value);
    }
  }

  // For WatchStream.

  add(watcher: Watcher, range: WatchedRange): void {
    this.#size += 1;
    this.#store.events = this;
    if (watcher.from > this.currentRevision) return this.#synced.add(watcher, range);
    this.#catchUp.add(watcher, range);
    this.#wake();
  }

  remove(watcher: Watcher): void {
    if (watcher.group !== undefined) watcher.group.home.remove(watcher);
    else watcher.stream.parked.delete(watcher);
    this.#size -= 1;
    if (this.#size === 0) this.#store.events = undefined;
  }

  resume(stream: WatchStream): void {
    this.#resuming.add(stream);
    this.#wake();
  }

  closeStream(stream: WatchStream, watchers: Iterator<Watcher>): void {
    this.#streams -= 1;
    this.#resuming.delete(stream);
    this.#closing.push(watchers);
    this.#wake();
  }

  isSynced(watcher: Watcher): boolean {
    return watcher.group?.home === this.#synced;
  }

  // HistorySource

  get backend(): Backend {
    return this.#store.backend;
  }

  get currentRevision(): number {
    return this.#store.currentRevision;
  }

  get compactRevision(): number {
    return this.#store.compactRevision;
  }

  readonly readKeyValue = (key: Uint8Array, revision: number): Uint8Array | undefined =>
    this.#store.get(key, revision);

  park(watcher: Watcher, main: number): void {
    const group = watcher.group;
    assert(group !== undefined, "A watcher that is in no group falls behind");
    group.home.remove(watcher);
    watcher.from = main;
    watcher.stream.parked.set(watcher, group);
  }

  expire(watcher: Watcher, compactRevision: number): void {
    const { stream } = watcher;
    if (stream.isClosed) return;
    stream.cancel(watcher.id);
    stream.receiver.onCompacted(watcher, compactRevision);
  }
}
