import type { LmdbBackendOptions } from "../../src/backend/lmdb_backend.ts";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import type { Prng } from "../../src/base/prng.ts";
import type { BucketName, BucketRecord, FrozenBucket, StoredRevisions } from "../../src/mvcc/backend.ts";
import type { Timer } from "../../src/ports/clock.ts";
import type { WritableFile } from "../../src/ports/files.ts";
import type { ServerBackend } from "../../src/server/ports.ts";

type Write = (backend: MemoryBackend) => void;

/** What a disk holds of a store: the writes of whole entries, in order. */
export class StoreImage {
  durable: readonly Write[] = [];
  durableIndex = 0;
  /** With a commit under way: what the disk holds if it got as far as its last sector. */
  committing: { readonly writes: readonly Write[]; readonly index: number } | undefined;

  /** Commits wait for this before they reach the disk. */
  gate: Promise<void> | undefined;

  /** The store as it may be found when the power is back. */
  afterPowerCut(prng: Prng): StoreImage {
    const image = new StoreImage();
    const { writes, index } = this.committing !== undefined && prng.chance(0.5)
      ? this.committing
      : { writes: this.durable, index: this.durableIndex };
    image.durable = writes;
    image.durableIndex = index;
    return image;
  }
}

/**
 * A backend that loses in a power cut what LMDB may lose: everything since its last commit, which takes its
 * time. A commit is one sync of `files`, so that a cut or an error may be told to come in it.
 */
export class CrashBackend implements ServerBackend {
  readonly #options: LmdbBackendOptions;
  readonly #image: StoreImage;
  readonly #memory = new MemoryBackend();
  readonly #writes: Write[];
  readonly #file: WritableFile;
  #entriesEnd: number;
  #index: number;
  #pendingBytes = 0;
  #timer: Timer | undefined;
  #commit: Promise<void> | undefined;
  #failed = false;

  constructor(options: LmdbBackendOptions, image: StoreImage) {
    this.#options = options;
    this.#image = image;
    this.#writes = [...image.durable];
    for (const write of this.#writes) write(this.#memory);
    this.#entriesEnd = this.#writes.length;
    this.#index = image.durableIndex;
    const { files, directory } = options;
    const path = `${directory}/commits`;
    files.makeDirectory(directory, 0o700);
    this.#file = files.openWrite(path, { create: !files.exists(path) });
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get durableIndex(): number {
    return this.#image.durableIndex;
  }

  get sizeBytes(): number {
    return this.#memory.sizeBytes;
  }

  get inUseBytes(): number {
    return this.#memory.inUseBytes;
  }

  put(bucket: BucketName, key: Uint8Array, value: Uint8Array): void {
    const [keptKey, keptValue] = [key.slice(), value.slice()];
    this.#write((backend) => backend.put(bucket, keptKey, keptValue));
  }

  delete(bucket: BucketName, key: Uint8Array): void {
    const kept = key.slice();
    this.#write((backend) => backend.delete(bucket, kept));
  }

  get(bucket: BucketName, key: Uint8Array): Uint8Array | undefined {
    return this.#memory.get(bucket, key);
  }

  list(bucket: BucketName): BucketRecord[] {
    return this.#memory.list(bucket);
  }

  freeze(bucket: BucketName): FrozenBucket {
    return this.#memory.freeze(bucket);
  }

  putRevision(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): void {
    const kept = keyValue.slice();
    this.#pendingBytes += kept.length;
    this.#write((backend) => backend.putRevision(main, sub, tombstone, kept));
  }

  viewRevision(main: number, sub: number): Uint8Array | undefined {
    return this.#memory.viewRevision(main, sub);
  }

  getRevision(main: number, sub: number): Uint8Array | undefined {
    return this.#memory.getRevision(main, sub);
  }

  deleteRevision(main: number, sub: number, tombstone: boolean): void {
    this.#write((backend) => backend.deleteRevision(main, sub, tombstone));
  }

  scanRevisions(...args: Parameters<MemoryBackend["scanRevisions"]>): void {
    this.#memory.scanRevisions(...args);
  }

  storedRevisions(): StoredRevisions {
    return this.#memory.storedRevisions();
  }

  endEntry(consistentIndex: number, term: number): void {
    this.#write((backend) => backend.endEntry(consistentIndex, term));
    this.#entriesEnd = this.#writes.length;
    this.#index = consistentIndex;
    const { clock, batchIntervalMs = 100 } = this.#options;
    this.#timer ??= clock.after(batchIntervalMs, () => void this.nextCommit());
  }

  async commit(): Promise<void> {
    while (this.#image.durableIndex < this.#index) await this.nextCommit();
  }

  nextCommit(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#commit ??= this.#runCommit();
    return this.#commit;
  }

  defragment(): Promise<void> {
    return Promise.resolve();
  }

  async close(): Promise<void> {
    if (!this.#failed) await this.commit();
    this.#timer?.cancel();
    this.#file.close();
  }

  /** Never resolves once it failed. */
  async #runCommit(): Promise<void> {
    const committing = { writes: this.#writes.slice(0, this.#entriesEnd), index: this.#index };
    const bytes = this.#pendingBytes;
    this.#image.committing = committing;
    try {
      await this.#image.gate;
      await this.#file.sync();
    } catch (error) {
      this.#failed = true;
      this.#options.onFatal(error as Error);
      return await new Promise(() => {});
    }
    this.#image.durable = committing.writes;
    this.#image.durableIndex = committing.index;
    this.#image.committing = undefined;
    this.#pendingBytes -= bytes;
    this.#commit = undefined;
  }

  #write(write: Write): void {
    this.#writes.push(write);
    write(this.#memory);
  }
}

/** What a server opens its store with on a disk that is simulated. */
export function openCrashBackend(image: StoreImage): (options: LmdbBackendOptions) => CrashBackend {
  return (options) => new CrashBackend(options, image);
}
