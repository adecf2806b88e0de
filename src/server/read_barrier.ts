import { EtcdError } from "../base/errors.ts";
import { Pending } from "../base/pending.ts";
import type { RaftIndex } from "../base/units.ts";
import type { Clock } from "../ports/clock.ts";
import type { RawNode } from "../raft/raw_node.ts";
import type { ReadState } from "../raft/types.ts";

/** Reads asked for again when raft did not answer: leadership may have changed. */
const RETRY_MS = 500;

/** Counts of what went wrong with reads, for metrics. */
export interface ReadIndexCounts {
  slowReadIndexes: number;
  failedReadIndexes: number;
}

/** One question to raft, and the reads of all turns until it was asked. */
interface Round {
  readonly id: number;
  readonly reads: Pending<void>[];
  /** When its first read came in. */
  readonly sinceMs: number;
  readonly askedMs: number;
  /** Set when raft has answered: the index that must be applied. */
  index: RaftIndex | undefined;
}

/**
 * Makes reads linearizable (ReadIndex, Raft thesis section 6.4): a read waits until this member has applied
 * what was committed when the read came in. One question serves every read of the turn; each retry asks under
 * a new id, so that an answer to an older question cannot be taken for it.
 */
export class ReadBarrier {
  readonly #node: RawNode;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #counts: ReadIndexCounts;
  /** Reads that came in this turn. */
  #gathering: Pending<void>[] = [];
  #gatheredMs = 0;
  #rounds: Round[] = [];
  #lastId = 0;

  constructor(node: RawNode, clock: Clock, timeoutMs: number, counts: ReadIndexCounts) {
    this.#node = node;
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    this.#counts = counts;
  }

  /** Resolves when the read may be served; fails with `timeout`. The caller wakes the raft loop. */
  wait(): Pending<void> {
    if (this.#gathering.length === 0) {
      this.#gatheredMs = this.#clock.monotonicMs();
      this.#clock.soon(() => this.#ask());
    }
    const read = new Pending<void>();
    this.#gathering.push(read);
    return read;
  }

  #ask(): void {
    const reads = this.#gathering;
    this.#gathering = [];
    this.#start(reads, this.#gatheredMs);
  }

  #start(reads: Pending<void>[], sinceMs: number): void {
    const askedMs = this.#clock.monotonicMs();
    const round: Round = { id: ++this.#lastId, reads, sinceMs, askedMs, index: undefined };
    this.#rounds.push(round);
    this.#node.readIndex(contextOf(round.id)); // A refusal is retried like an answer that never comes.
  }

  onReadStates(states: readonly ReadState[], applied: RaftIndex): void {
    for (const state of states) {
      const round = this.#rounds.find((each) => each.id === idOf(state.context));
      if (round !== undefined) round.index = state.index;
    }
    this.onApplied(applied);
  }

  onApplied(applied: RaftIndex): void {
    if (this.#rounds.length === 0) return;
    const served = this.#rounds.filter(({ index }) => index !== undefined && index <= applied);
    if (served.length === 0) return;
    this.#rounds = this.#rounds.filter((round) => !served.includes(round));
    for (const { reads } of served) for (const read of reads) read.resolve();
  }

  /** To be called now and then: asks again, and fails reads that have waited too long. */
  onTick(): void {
    const now = this.#clock.monotonicMs();
    const unanswered = this.#rounds.filter(({ index, askedMs }) =>
      index === undefined && now - askedMs >= RETRY_MS
    );
    if (unanswered.length === 0) return;
    this.#rounds = this.#rounds.filter((round) => !unanswered.includes(round));
    for (const round of unanswered) {
      this.#counts.slowReadIndexes += 1;
      if (now - round.sinceMs < this.#timeoutMs) {
        this.#start(round.reads, round.sinceMs);
        continue;
      }
      this.#counts.failedReadIndexes += 1;
      for (const read of round.reads) read.reject(new EtcdError("timeout"));
    }
  }

  failAll(error: EtcdError): void {
    const rounds = this.#rounds;
    this.#rounds = [];
    for (const { reads } of rounds) for (const read of reads) read.reject(error);
  }
}

function contextOf(id: number): Uint8Array {
  const context = new Uint8Array(8);
  new DataView(context.buffer).setFloat64(0, id);
  return context;
}

function idOf(context: Uint8Array): number {
  if (context.length !== 8) return 0;
  return new DataView(context.buffer, context.byteOffset).getFloat64(0);
}
