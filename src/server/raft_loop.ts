import { EtcdError } from "../base/errors.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import type { RawNode } from "../raft/raw_node.ts";
import type { Ready, SoftState } from "../raft/ready.ts";
import type { MemoryStorage } from "../raft/storage.ts";
import type { ConfChange, Entry, HardState, ReadState } from "../raft/types.ts";
import { type Proposal, ProposalQueue } from "./proposals.ts";

/** The log on disk. A rejected save has broken it: the process must end. */
export interface DurableLog {
  save(
    hardState: HardState | undefined,
    entries: readonly Entry[],
    options: { sync: boolean },
  ): Promise<void>;
}

export interface RaftLoopOptions {
  readonly node: RawNode;
  /** The log in memory that `node` reads. */
  readonly storage: MemoryStorage;
  readonly log: DurableLog;
  readonly clock: Clock;
  readonly tickMs: number;
  readonly requestTimeoutMs: number;
  /** Applies a committed entry to the end; `proposal` is set when it was proposed here. */
  readonly apply: (entry: Entry, proposal: Proposal | undefined) => void;
  /** Undefined while entries may be applied; otherwise they wait, and it resolves when to ask again. */
  readonly roomToApply: () => Promise<void> | undefined;
  /** Sends the answers given so far. */
  readonly flush: () => void;
  /** Runs after a batch was applied. */
  readonly onApplied: () => void;
  readonly onSoftState: (state: SoftState) => void;
  readonly onReadStates: (states: readonly ReadState[]) => void;
  /** The log could not be written, or an entry not be applied. Must not return to normal work. */
  readonly onFatal: (error: unknown) => void;
}

/** Ticks made up for after a stall: fewer than an election takes, so that a late turn starts none. */
const LATE_TICKS_MAX = 2;

/** Applying goes on in a later turn after this time; a turn ends at most one Ready later. */
const TURN_MS_MAX = 3;

/**
 * Enough for a save to begin in the middle of a turn, and for answers to leave in the middle of a batch. A thousand
 * requests are read, saved, applied and answered one stage after the other otherwise, and disk and clients wait for it.
 */
const REQUESTS_PER_STEP = 64;

/**
 * Drives raft: gathers the proposals of a turn, saves them with one write and one sync, and applies what
 * is committed while the next batch is being saved. At most one save is in flight; what is proposed
 * meanwhile makes the next batch.
 */
export class RaftLoop {
  readonly #options: RaftLoopOptions;
  readonly #inflight = new ProposalQueue();
  #saving: Promise<void> | undefined;
  /** Committed entries that wait for room; raft hands out no more until they are applied. */
  #held: readonly Entry[] | undefined;
  #refused = 0;
  /** Proposals that have come since the last save began. */
  #gathered = 0;
  #scheduled = false;
  /** "resting": what is left of a large batch goes on by itself when the sockets had their turn. */
  #state: "idle" | "running" | "resting" = "idle";
  #stopped = false;
  #ticker: Timer | undefined;
  #lastTickMs = 0;

  constructor(options: RaftLoopOptions) {
    this.#options = options;
  }

  start(): void {
    const { clock, tickMs } = this.#options;
    this.#lastTickMs = clock.monotonicMs();
    this.#ticker = clock.every(tickMs, () => this.#tick());
    this.wake();
  }

  /** Stops for good; resolves when the log is no longer being written. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#inflight.expire(Infinity, "stopped");
    await this.#saving;
  }

  /** Proposals that this member made in vain, since start. */
  get failedProposals(): number {
    return this.#refused + this.#inflight.failed;
  }

  get pendingProposals(): number {
    return this.#inflight.length;
  }

  /** Appends an entry for `proposal`, which is settled when the entry has been applied. */
  propose(data: Uint8Array, proposal: Proposal): void {
    if (this.#stopped) throw new EtcdError("stopped");
    const index = this.#options.node.propose(data);
    if (typeof index !== "number") {
      this.#refused += 1;
      throw new EtcdError(index === "no leader" ? "noLeader" : "tooManyRequests");
    }
    proposal.data = data;
    proposal.index = index;
    this.#inflight.push(proposal);
    this.#gathered += 1;
    const isDue = this.#gathered >= REQUESTS_PER_STEP && this.#saving === undefined;
    if (isDue && this.#state === "idle") this.#run();
    else this.wake();
  }

  proposeConfChange(change: ConfChange): void {
    this.#options.node.proposeConfChange(change);
    this.wake();
  }

  /** Asks for a round at the end of this turn, when all of its sockets had their say. */
  wake(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#options.clock.soon(this.#runSoon);
  }

  readonly #runSoon = (): void => {
    this.#scheduled = false;
    this.#run();
  };

  #tick(): void {
    const { clock, tickMs, node, requestTimeoutMs } = this.#options;
    const now = clock.monotonicMs();
    const due = Math.min(Math.floor((now - this.#lastTickMs) / tickMs), LATE_TICKS_MAX);
    this.#lastTickMs = now;
    for (let tick = 0; tick < Math.max(due, 1); tick += 1) node.tick();
    this.#inflight.expire(now - requestTimeoutMs, "timeout");
    this.wake();
  }

  #run(): void {
    // An entry that is applied may propose another.
    if (this.#state !== "idle") return;
    this.#state = "running";
    try {
      if (this.#runRounds()) this.#state = "idle";
      else this.#rest();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** False when the turn's time is up before everything is done. */
  #runRounds(): boolean {
    const { clock, node, onSoftState, onReadStates } = this.#options;
    const startedMs = clock.monotonicMs();
    for (let ready = node.ready(); ready !== undefined && !this.#stopped; ready = node.ready()) {
      if (ready.softState !== undefined) onSoftState(ready.softState);
      // What is committed is durable already: it is applied while this save is under way.
      if (ready.needsSave) this.#save(ready);
      if (ready.committed.length > 0) this.#apply(ready.committed);
      if (ready.readStates.length > 0) onReadStates(ready.readStates);
      if (clock.monotonicMs() - startedMs > TURN_MS_MAX) return false;
    }
    return true;
  }

  #rest(): void {
    this.#state = "resting";
    this.#options.clock.afterSockets(() => {
      this.#state = "idle";
      this.#run();
    });
  }

  #save(ready: Ready): void {
    const { log, node, storage } = this.#options;
    this.#gathered = 0;
    const saved = (): void => {
      this.#saving = undefined;
      if (this.#stopped) return;
      storage.append(ready.entries);
      if (ready.hardState !== undefined) storage.setHardState(ready.hardState);
      node.saved(ready);
      this.#run();
    };
    this.#saving = log.save(ready.hardState, ready.entries, { sync: ready.mustSync }).then(saved)
      .catch((error) => this.#fail(error));
  }

  #apply(entries: readonly Entry[]): void {
    const { apply, flush, node, onApplied, roomToApply } = this.#options;
    try {
      const room = roomToApply();
      if (room !== undefined) {
        this.#held = entries;
        void room.then(this.#applyHeld);
        return;
      }
      let answered = 0;
      for (const entry of entries) {
        apply(entry, this.#inflight.take(entry.index, entry.data));
        answered += 1;
        if (answered % REQUESTS_PER_STEP === 0) flush();
      }
      node.applied(entries.at(-1)!.index);
      onApplied();
      flush();
    } catch (error) {
      this.#fail(error);
    }
  }

  readonly #applyHeld = (): void => {
    const entries = this.#held!;
    this.#held = undefined;
    if (this.#stopped) return;
    this.#apply(entries);
    this.#run();
  };

  #fail(error: unknown): void {
    this.#stopped = true;
    this.#ticker?.cancel();
    this.#options.onFatal(error);
  }
}
