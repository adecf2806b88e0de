import { EMPTY_BYTES } from "../base/bytes.ts";
import { countEvents, type EventBatch, type ReadKeyValue } from "./event_batch.ts";
import { SHAPE_FLAGS, type Watcher, watcherFlag } from "./watcher.ts";
import type { WatcherGroup } from "./watcher_group.ts";

/** What may be sent before the event loop gets its turn: well below a millisecond, or two of code that is cold. */
const TURN_RESPONSES_MAX = 500;
const TURN_BYTES_MAX = 2 * 1024 * 1024;
const FILTER_FLAGS = watcherFlag.noPut | watcherFlag.noDelete;

/** What is left of a turn's share of work. */
export class TurnBudget {
  responses = TURN_RESPONSES_MAX;
  bytes = TURN_BYTES_MAX;

  spend(bytes: number): void {
    this.responses -= 1;
    this.bytes -= bytes;
  }

  get isSpent(): boolean {
    return this.responses <= 0 || this.bytes <= 0;
  }

  renew(): void {
    this.responses = TURN_RESPONSES_MAX;
    this.bytes = TURN_BYTES_MAX;
  }
}

/** What a fan-out needs of its surroundings. */
export interface FanoutHost {
  /** The revision that responses carry in their header. */
  readonly currentRevision: number;
  readonly readKeyValue: ReadKeyValue;
  /** Takes a watcher out of its group whose stream takes no more; `main` is the first revision it lacks. */
  park(watcher: Watcher, main: number): void;
}

/**
 * Sends a batch of events to the watchers of its groups, over as many turns as it takes. Watchers that leave
 * their group meanwhile get nothing more; those that come want nothing of the batch.
 */
export class Fanout {
  /** Events sent since start, for metrics; one that goes to two watchers counts twice. */
  sentEvents = 0;
  readonly #host: FanoutHost;
  #batch: EventBatch | undefined;
  #groups: Iterator<[WatcherGroup, number[]]> | undefined;
  #group: WatcherGroup | undefined;
  #events: readonly number[] = [];
  /** Encoded runs of all of `#events`, by the flags that decide their shape. */
  #runs: (Uint8Array | undefined)[] = [];

  constructor(host: FanoutHost) {
    this.#host = host;
  }

  get isActive(): boolean {
    return this.#batch !== undefined;
  }

  begin(batch: EventBatch): void {
    this.#batch = batch;
    this.#groups = batch.groups.entries();
  }

  /** Sends while the budget lasts; true when all is sent and the batch is free again. */
  run(budget: TurnBudget): boolean {
    const batch = this.#batch;
    if (batch === undefined) return true;
    do {
      const group = this.#group;
      for (let watcher = group?.visited; watcher !== undefined; watcher = group!.visited) {
        if (budget.isSpent) return false;
        group!.visited = watcher.next;
        this.#send(batch, watcher, budget);
      }
    } while (this.#nextGroup());
    this.#batch = this.#groups = this.#group = undefined;
    batch.clear();
    return true;
  }

  #nextGroup(): boolean {
    const next = this.#groups!.next();
    this.#runs.length = 0;
    if (next.done === true) return false;
    [this.#group, this.#events] = next.value;
    this.#group.visited = this.#group.first;
    return true;
  }

  #send(batch: EventBatch, watcher: Watcher, budget: TurnBudget): void {
    const { stream } = watcher;
    if (stream.isClosed) return;
    const events = this.#events;
    let start = 0;
    while (start < events.length && batch.mainOf(events[start]!) < watcher.from) start += 1;
    if (start === events.length) return;
    const run = this.#run(batch, start, watcher.flags & SHAPE_FLAGS);
    if (run.length === 0) return;
    if (!stream.receiver.writable) {
      budget.spend(0);
      this.#host.park(watcher, batch.mainOf(events[start]!));
      return;
    }
    budget.spend(run.length);
    const isFiltered = (watcher.flags & FILTER_FLAGS) !== 0;
    this.sentEvents += isFiltered ? countEvents(run) : events.length - start;
    stream.receiver.onEvents(watcher, this.#host.currentRevision, run, events.length - start);
  }

  #run(batch: EventBatch, start: number, flags: number): Uint8Array {
    const kept = start === 0 ? this.#runs[flags] : undefined;
    if (kept !== undefined) return kept;
    const run = batch.run(this.#events, start, flags, this.#host.readKeyValue);
    if (start === 0) this.#runs[flags] = run.length === 0 ? EMPTY_BYTES : run;
    return run;
  }
}
