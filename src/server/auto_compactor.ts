import { EtcdError } from "../base/errors.ts";
import { formatGoDuration } from "../base/go_duration.ts";
import type { Timer } from "../ports/clock.ts";
import type { LogFields } from "../ports/log.ts";
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
  /** What is kept, under the name that etcd logs it by. */
  readonly #kept: LogFields;
  readonly #compactor: PeriodicCompactor | RevisionCompactor;
  readonly #target: Compactable;
  readonly #ports: ServerPorts;
  #timer: Timer | undefined;

  constructor(options: Exclude<AutoCompaction, { mode: "off" }>, target: Compactable, ports: ServerPorts) {
    this.#mode = options.mode;
    this.#kept = options.mode === "periodic"
      ? { "compact-period": formatGoDuration(options.retentionMs) }
      : { "revision-compaction-retention": options.retention };
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
      log.info(`starting auto ${this.#mode} compaction`, { revision, ...this.#kept });
      try {
        await this.#target.compact(revision);
      } catch (error) {
        if (!(error instanceof EtcdError && error.code === "compacted")) {
          log.warn(`failed auto ${this.#mode} compaction`, { revision, ...this.#kept, error: String(error) });
          return;
        }
      }
      this.#compactor.done(revision, clock.monotonicMs());
      log.info(`completed auto ${this.#mode} compaction`, {
        revision,
        ...this.#kept,
        took: formatGoDuration(clock.monotonicMs() - now),
      });
    }
    if (this.#compactor instanceof PeriodicCompactor) {
      this.#compactor.note(this.#target.store.currentRevision);
    }
  }
}
