const HOUR_MS = 3_600_000;
const SAMPLES_PER_INTERVAL = 10;

/**
 * Chooses the revision to compact at so that what is younger than the retention stays. It notes the
 * revision ten times per interval (the retention, an hour at most) and compacts at the note that is one
 * retention old, once per interval; the first time after a whole retention. Pure: it is told the time.
 *
 *     retention 10 h: notes every 6 min; at 10 h compacts at the revision of 0 h, at 11 h of 1 h, …
 */
export class PeriodicCompactor {
  readonly samplePeriodMs: number;
  readonly #retentionMs: number;
  readonly #notesMax: number;
  readonly #notes: number[] = [];
  #lastRevision = 0;
  #lastSuccessMs: number;
  #compactedOnce = false;

  constructor(retentionMs: number, nowMs: number) {
    this.#retentionMs = retentionMs;
    this.samplePeriodMs = Math.min(retentionMs, HOUR_MS) / SAMPLES_PER_INTERVAL;
    this.#notesMax = Math.floor(retentionMs / this.samplePeriodMs) + 1;
    this.#lastSuccessMs = nowMs;
  }

  /** Notes the current revision; to be called once per `samplePeriodMs`, the first time at the start. */
  note(revision: number): void {
    this.#notes.push(revision);
    if (this.#notes.length > this.#notesMax) this.#notes.shift();
  }

  /** The revision to compact at now, or undefined. */
  due(nowMs: number): number | undefined {
    const revision = this.#notes[0];
    const waitMs = this.#compactedOnce ? Math.min(this.#retentionMs, HOUR_MS) : this.#retentionMs;
    if (revision === undefined || revision === this.#lastRevision) return undefined;
    return nowMs - this.#lastSuccessMs < waitMs ? undefined : revision;
  }

  /** The compaction at `revision` has been done (or somebody had done it before). */
  done(revision: number, nowMs: number): void {
    this.#lastRevision = revision;
    this.#lastSuccessMs = nowMs;
    this.#compactedOnce = true;
  }
}
