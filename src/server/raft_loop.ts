import { EtcdError } from "../base/errors.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { RawNode } from "../raft/raw_node.ts";
import type { Ready } from "../raft/ready.ts";
import type { Entry, HardState } from "../raft/types.ts";
import { type Proposal, ProposalQueue } from "./proposals.ts";

/** The log on disk. A rejected save has broken it: the process must end. */
export interface DurableLog {
  save(hardState: HardState | undefined, entries: readonly Entry[], options: { sync: boolean }): Promise<void>;
}

export interface RaftLoopOptions {
  readonly node: RawNode;
  readonly log: DurableLog;
  readonly clock: Clock;
  readonly heartbeatMs: number;
  readonly requestTimeoutMs: number;
  /** Applies committed entries, in order, to the end. */
  readonly apply: (entries: readonly Entry[]) => void;
  /** Runs after entries were applied, once per batch: replies leave here. */
  readonly onApplied: () => void;
  /** The log could not be written. Must not return to normal work. */
  readonly onFatal: (error: unknown) => void;
}

/** Ticks made up for after a stall: fewer than an election takes, so that a late turn starts none. */
const LATE_TICKS_MAX = 2;

/**
 * Drives raft: gathers the proposals of a turn, saves them with one write and one sync, and applies what
 * is committed while the next batch is being saved. At most one save is in flight; what is proposed
 * meanwhile makes the next batch.
 */
export class RaftLoop {
  readonly #options: RaftLoopOptions;
  readonly #inflight = new ProposalQueue();
  #saving = false;
  #scheduled = false;
  #stopped = false;
  #ticker: Timer | undefined;
  #lastTickMs = 0;

  constructor(options: RaftLoopOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, heartbeatMs } = this.#options;
    this.#lastTickMs = clock.monotonicMs();
    this.#ticker = clock.every(heartbeatMs, () => this.#tick());
    this.wake();
  }

  /** Stops for good; the caller waits for `idle` before it closes the log. */
  stop(): void {
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#inflight.failAll(new EtcdError("stopped"));
  }

  get idle(): boolean {
    return !this.#saving;
  }

  get pendingProposals(): number {
    return this.#inflight.length;
  }

  /** Appends an entry for `proposal`, which is settled when the entry has been applied. */
  propose(data: Uint8Array, proposal: Proposal): void {
    if (this.#stopped) throw new EtcdError("stopped");
    if (!this.#options.node.propose(data, proposal)) throw new EtcdError("noLeader");
    this.#inflight.push(proposal);
    this.wake();
  }

  /** Asks for a round at the end of this turn, when all of its sockets had their say. */
  wake(): void {
    if (this.#scheduled || this.#saving || this.#stopped) return;
    this.#scheduled = true;
    this.#options.clock.soon(() => {
      this.#scheduled = false;
      this.#run();
    });
  }

  #tick(): void {
    const { clock, heartbeatMs, node, requestTimeoutMs } = this.#options;
    const now = clock.monotonicMs();
    const due = Math.min(Math.floor((now - this.#lastTickMs) / heartbeatMs), LATE_TICKS_MAX);
    this.#lastTickMs = now;
    for (let tick = 0; tick < Math.max(due, 1); tick += 1) node.tick();
    this.#inflight.expire(now - requestTimeoutMs, new EtcdError("timeout"));
    this.wake();
  }

  #run(): void {
    if (this.#saving || this.#stopped) return;
    const { node } = this.#options;
    for (let ready = node.ready(); ready !== undefined; ready = node.ready()) {
      const unsaved = ready.entries.length > 0 || ready.hardState !== undefined;
      if (unsaved) this.#save(ready);
      // Committed entries are durable already, so applying them need not wait for this save.
      if (ready.committed.length > 0) this.#apply(ready.committed);
      if (unsaved) return;
      node.advance(ready);
    }
  }

  #save(ready: Ready): void {
    const { log, node } = this.#options;
    this.#saving = true;
    log.save(ready.hardState, ready.entries, { sync: ready.mustSync }).then(
      () => {
        this.#saving = false;
        if (this.#stopped) return;
        node.advance(ready);
        this.#run();
      },
      (error) => {
        this.#stopped = true;
        this.#options.onFatal(error);
      },
    );
  }

  #apply(entries: readonly Entry[]): void {
    this.#options.apply(entries);
    this.#options.onApplied();
  }
}
