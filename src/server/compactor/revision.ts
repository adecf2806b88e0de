/** Chooses the revision to compact at so that the last `retention` revisions stay, every five minutes. */
export class RevisionCompactor {
  readonly samplePeriodMs = 300_000;
  readonly #retention: number;
  #lastRevision = 0;
  #current = 0;

  constructor(retention: number) {
    this.#retention = retention;
  }

  note(revision: number): void {
    this.#current = revision;
  }

  /** The revision to compact at now, or undefined. */
  due(): number | undefined {
    const revision = this.#current - this.#retention;
    return revision <= 0 || revision === this.#lastRevision ? undefined : revision;
  }

  done(revision: number): void {
    this.#lastRevision = revision;
  }
}
