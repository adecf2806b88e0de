import { EtcdError } from "../base/errors.ts";
import type { Timer } from "../ports/clock.ts";
import { PeriodicCompactor } from "./compactor/periodic.ts";
import { RevisionCompactor } from "./compactor/revision.ts";
import type { AutoCompaction } from "./config.ts";
import type { ServerPorts } from "./ports.ts";

/** What auto-compaction needs of the server. */
export interface Compactable {
  readonly store: { readonly currentRevision: number };
  /** Whether this member leads: the others leave it to the leader. */
  readonly canReadNow: boolean;
  compact(revision: number): PromiseLike<unknown>;
}

/** Runs the compactor that the flags chose. */
export class AutoCompactor {
  readonly #mode: string;
  readonly #compactor: PeriodicCompactor | RevisionCompactor;
  readonly #target: Compactable;
  readonly #ports: ServerPorts;
  #timer: Timer | undefined;

  constructor(options: Exclude<AutoCompaction, { mode: "off" }>, target: Compactable, ports: ServerPorts) {
    this.#mode = options.mode;
    this.#target = target;
    this.#ports = ports;
    this.#compactor = options.mode === "periodic"
      ? new PeriodicCompactor(options.retentionMs, ports.clock.monotonicMs())
      : new RevisionCompactor(options.retention);
  }

  start(): void {
    this.#compactor.note(this.#target.store.currentRevision);
    this.#timer = this.#ports.clock.every(this.#compactor.samplePeriodMs, () => void this.#tick());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  async #tick(): Promise<void> {
    const { clock, log } = this.#ports;
    const now = clock.monotonicMs();
    if (this.#compactor instanceof RevisionCompactor) {
      this.#compactor.note(this.#target.store.currentRevision);
    }
    const revision = this.#target.canReadNow ? this.#compactor.due(now) : undefined;
    if (revision !== undefined) {
      log.info(`starting auto ${this.#mode} compaction`, { revision });
      try {
        await this.#target.compact(revision);
      } catch (error) {
        if (!(error instanceof EtcdError && error.code === "compacted")) {
          log.warn(`failed auto ${this.#mode} compaction`, { revision, error: String(error) });
          return;
        }
      }
      this.#compactor.done(revision, clock.monotonicMs());
      log.info(`completed auto ${this.#mode} compaction`, {
        revision,
        took: `${(clock.monotonicMs() - now).toFixed(3)}ms`,
      });
    }
    if (this.#compactor instanceof PeriodicCompactor) {
      this.#compactor.note(this.#target.store.currentRevision);
    }
  }
}
