import { readStorageVersion } from "../backend/schema/version.ts";
import { EtcdError } from "../base/errors.ts";
import type { CompactionHold } from "../mvcc/compaction_hold.ts";
import type { Store } from "../mvcc/store.ts";
import { type BackendBuckets, backendBuckets } from "../snap/backend_buckets.ts";
import { BoltWriter } from "../snap/bolt_writer.ts";

/**
 * The whole store as it is when this is made, at the border of two entries, as a bbolt file to be read front to
 * back; writes go on meanwhile. Compaction waits until it is closed, which its reader must not forget.
 */
export class DatabaseSnapshot {
  /** Schema of the database as "3.7.0"; empty when it is not known yet. */
  readonly version: string;
  readonly #source: BackendBuckets;
  readonly #writer: BoltWriter;
  readonly #hold: CompactionHold;
  readonly #isStopped: () => boolean;
  readonly #onClosed: () => void;

  /** Once `isStopped` says that the store is closing, nothing more is read: all calls throw `stopped`. */
  constructor(store: Store, isStopped: () => boolean, onClosed: () => void = () => {}) {
    this.#isStopped = isStopped;
    this.#onClosed = onClosed;
    this.#checkOpen();
    const schema = readStorageVersion(store.backend);
    this.version = schema === undefined ? "" : `${schema.major}.${schema.minor}.0`;
    this.#source = backendBuckets(store.backend, store.currentRevision);
    this.#writer = new BoltWriter(this.#source.buckets);
    this.#hold = store.holdCompaction();
  }

  /** One slice of finding out the size; true when it is known. */
  measure(): boolean {
    this.#checkOpen();
    return this.#writer.measure();
  }

  /** Of the file; known after `measure`. */
  get sizeBytes(): number {
    return this.#writer.sizeBytes;
  }

  /** The next `bytesMax` bytes, fewer at the end of the file, good until the next call; undefined after it. */
  take(bytesMax: number): Uint8Array | undefined {
    this.#checkOpen();
    return this.#writer.take(bytesMax);
  }

  close(): void {
    this.#hold.release();
    this.#source.close();
    this.#onClosed();
  }

  #checkOpen(): void {
    if (this.#isStopped()) throw new EtcdError("stopped");
  }
}
