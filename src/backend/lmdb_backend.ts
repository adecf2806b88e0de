import * as lmdb from "lmdb";
import { assert } from "../base/assert.ts";
import {
  type Backend,
  type BucketName,
  bucketNames,
  type BucketRecord,
  type FrozenBucket,
  type StoredRevisions,
} from "../mvcc/backend.ts";
import {
  REVISION_KEY_BYTES,
  revisionKey,
  revisionKeyMain,
  revisionKeySub,
  writeRevisionKey,
} from "../mvcc/revision.ts";
import type { Clock, Timer } from "../ports/clock.ts";
import { FileError, type Files } from "../ports/files.ts";
import type { Log } from "../ports/log.ts";
import type { LinkNative } from "../ports/native_calls.ts";
import { Batch, type BucketHandles, sortedRecords } from "./batch.ts";
import { ByteSlab } from "./byte_slab.ts";
import { bytesFromText, textFromBytes } from "./byte_text.ts";
import { compactCopy, copyPath } from "./defrag.ts";
import { FileRevisions } from "./file_revisions.ts";
import { type BucketSlice, ChangingBucket } from "./frozen_bucket.ts";
import { checkDataFile, type CheckedFile } from "./lmdb_file.ts";
import { LmdbReader, type NativeReads, type ReadTable } from "./lmdb_reader.ts";
import { ChunkPool, type RevisionVisit } from "./revision_run.ts";
import { ScannedRevisions } from "./scanned_revisions.ts";
import { CONSISTENT_INDEX_KEY, encodeUint64, readConsistentIndex, TERM_KEY } from "./schema/meta_table.ts";

export interface LmdbBackendOptions {
  /** Directory of the database; made when it is missing. It holds `data.mdb` and its lock file. */
  readonly directory: string;
  readonly files: Files;
  readonly clock: Clock;
  readonly log?: Log;
  /** Makes reads cheaper where the runtime can. */
  readonly linkNative?: LinkNative;
  /**
   * Called once, when a commit failed: the process must end. The kernel may have dropped the pages that it
   * could not write, so a later commit would only seem to succeed. Nothing is committed afterwards, and
   * `commit()` does not resolve any more. End it at once: when a page could not be written, lmdb-js 3.5.6
   * overruns the buffer of an error message, and sometimes the C library aborts the process before this call.
   */
  readonly onFatal: (error: Error) => void;
  /** Told of each durable commit: how long it took. */
  readonly onCommit?: (tookMs: number) => void;
  /** etcd's backend-batch-interval: the longest wait of a write for its commit to begin. */
  readonly batchIntervalMs?: number;
  /** etcd's backend-batch-limit: writes after which a commit begins at the next end of an entry. */
  readonly batchLimit?: number;
  /** Address space for the file; nothing is allocated. Beyond it lmdb-js maps the file anew, and slowly. */
  readonly mapSizeBytes?: number;
}

const BATCH_INTERVAL_MS = 100;
const BATCH_LIMIT = 10_000;
/** Large values close a batch early: 10,000 of 1.5 MiB would be 15 GiB in memory. */
const BATCH_BYTES_LIMIT = 32 * 1024 * 1024;
const MAP_SIZE_BYTES = 64 * 1024 ** 3;
/** Room that a new database takes, with some to spare. */
const ROOM_BYTES = 1024 * 1024;
const FILE_NAME = "data.mdb";
/** LMDB's, for the file beside the database. */
const LOCK_SUFFIX = "-lock";
const DIRECTORY_MODE = 0o700;
const FILE_MODE = 0o600;

/**
 * 8 KiB pages: against 4 KiB they store a million values of 1 KiB in 15 % less (three or seven to a page)
 * and keep keys of 4,026 bytes; 16 KiB would save another 7 % and double what an idle server's commit of one
 * key writes, since that is one page for each level of each tree.
 */
const PAGE_BYTES = 8192;
const META_PAGES = 2;
/** Sorts before every key. */
const FIRST_KEY = Uint8Array.of(0);

/** What of lmdb-js's native side is used beyond its typed surface; see `InstructionStream`. */
interface NativeAddon extends NativeReads {
  getAddress(buffer: ArrayBuffer): number;
}

interface NativeEnvironment {
  /** Runs a transaction on the thread pool: calls back with 0 when it is durable, or with an error code. */
  startWriting(address: number, done: (code: number) => void): void;
  info(): { readonly lastPageNumber: number; readonly lastTxnId: number };
  stat(): PageCounts;
  freeStat(): PageCounts;
}

interface PageCounts {
  readonly pageSize: number;
  readonly treeBranchPageCount: number;
  readonly treeLeafPageCount: number;
  readonly overflowPages: number;
}

type Table = Omit<lmdb.Database<Uint8Array, Uint8Array>, "getKeys"> & ReadTable & {
  readonly env: NativeEnvironment;
  readonly db: { readonly dbi: number; stat(): PageCounts };
  getKeys(options: lmdb.RangeOptions): Iterable<Uint8Array>;
};

interface Environment {
  readonly root: lmdb.RootDatabase<Uint8Array, Uint8Array> & Table;
  readonly tables: Readonly<Record<BucketName, Table>>;
}

const native = (lmdb as unknown as { readonly nativeAddon: NativeAddon }).nativeAddon;

function addressOf(buffer: ArrayBuffer): number {
  return native.getAddress(buffer);
}

/**
 * The backend in an LMDB environment: a named database per bucket, with etcd's own keys and values.
 *
 * Writes go to an open batch, which answers reads and is at the same time the instruction stream of one LMDB
 * transaction. Every 100 ms, or by size, the batch is closed and committed on the thread pool (data, sync,
 * meta page, sync) while the next one fills. There is one batch in flight at most:
 *
 *     reads:   open batch  ->  batch in flight  ->  LMDB
 *     writes:  open batch  ->  (closed)  ->  in flight  ->  durable: dropped from memory
 *
 * Since revisions only grow, what is in memory is the right end of bucket "key", and a read of an older
 * revision goes straight to LMDB. The read transaction of lmdb-js lasts for a turn of the event loop at most;
 * it is also reset when a batch becomes durable, before the batch leaves memory.
 */
export class LmdbBackend implements Backend {
  readonly #options: LmdbBackendOptions;
  readonly #path: string;
  readonly #batchIntervalMs: number;
  readonly #batchLimit: number;
  readonly #slab = new ByteSlab();
  readonly #reader: LmdbReader;
  readonly #lookupKey = new Uint8Array(REVISION_KEY_BYTES);
  /** What is known of the file, until it is written to. */
  #checked: CheckedFile | undefined;
  #environment: Environment;
  #open: Batch;
  #inFlight: Batch | undefined;
  /** Cleared, for the next turn of roles. */
  #spare: Batch | undefined;
  #timer: Timer | undefined;
  /** The open batch should go as soon as it can. */
  #isDue = false;
  /** While it is there no commit may start: the file is being copied. */
  #defragmentation: Promise<void> | undefined;
  #isClosed = false;
  #failure: Error | undefined;
  #waiters: { readonly batch: Batch; readonly resolve: () => void }[] = [];
  #idleWaiters: (() => void)[] = [];
  #newestMain = 0;
  #newestSub = 0;
  #consistentIndex: number;
  #term: number;
  #isIndexDirty = false;
  #durableIndex: number;
  #sizeBytes = 0;
  #inUseBytes: number | undefined;
  #saidNoSpace = false;
  readonly #frozen = new Map<BucketName, Set<ChangingBucket>>();

  /** Opens or makes the database. Throws when the file is damaged or of another format. */
  constructor(options: LmdbBackendOptions) {
    this.#options = options;
    this.#path = `${options.directory}/${FILE_NAME}`;
    this.#batchIntervalMs = options.batchIntervalMs ?? BATCH_INTERVAL_MS;
    this.#batchLimit = options.batchLimit ?? BATCH_LIMIT;
    options.files.makeDirectory(options.directory, DIRECTORY_MODE);
    // Left behind by a crash during defragmentation: the copy never became the database.
    options.files.remove(copyPath(this.#path));
    const isNew = !options.files.exists(this.#path);
    this.#reader = new LmdbReader(native, options.linkNative);
    this.#checkRoom();
    this.#checked = checkDataFile(options.files, this.#path);
    this.#environment = this.#openEnvironment();
    if (isNew) {
      options.files.syncDirectory(options.directory);
      options.files.syncDirectory(parentOf(options.directory));
    }
    this.#open = this.#newBatch(new ChunkPool());
    const stored = readConsistentIndex(this);
    this.#consistentIndex = stored.index;
    this.#term = stored.term;
    this.#durableIndex = stored.index;
    this.#readNewestRevision();
    this.#readSize();
  }

  put(bucket: BucketName, key: Uint8Array, value: Uint8Array): void {
    assert(bucket !== "key", 'Bucket "key" is reached through the revision calls only');
    this.#beforeWrite();
    this.#keepFrozen(bucket, key);
    this.#open.put(bucket, key, value);
  }

  delete(bucket: BucketName, key: Uint8Array): void {
    assert(bucket !== "key", 'Bucket "key" is reached through the revision calls only');
    this.#beforeWrite();
    this.#keepFrozen(bucket, key);
    this.#open.delete(bucket, key);
  }

  get(bucket: BucketName, key: Uint8Array): Uint8Array | undefined {
    assert(bucket !== "key", 'Bucket "key" is reached through the revision calls only');
    if (bucket === "meta") this.#writeIndex();
    if (this.#open.has(bucket, key)) return this.#open.get(bucket, key);
    if (this.#inFlight?.has(bucket, key)) return this.#inFlight.get(bucket, key);
    return this.#copy(this.#reader.get(this.#environment.tables[bucket], key));
  }

  list(bucket: BucketName): BucketRecord[] {
    assert(bucket !== "key", 'Bucket "key" is reached through the revision calls only');
    if (bucket === "meta") this.#writeIndex();
    return sortedRecords(this.#slice(bucket, "", Infinity).records);
  }

  freeze(bucket: BucketName): FrozenBucket {
    assert(bucket !== "key", 'Bucket "key" is reached through the revision calls only');
    if (bucket === "meta") this.#writeIndex();
    const frozen = this.#frozen.get(bucket) ?? new Set();
    this.#frozen.set(bucket, frozen);
    const bucketNow = new ChangingBucket(
      (after, recordsMax) => this.#slice(bucket, after, recordsMax),
      (closed) => frozen.delete(closed),
    );
    frozen.add(bucketNow);
    return bucketNow;
  }

  putRevision(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): void {
    // LMDB is told to append, so a revision out of order would be refused there, and too late.
    assert(
      main > this.#newestMain || (main === this.#newestMain && sub > this.#newestSub),
      "Revision %.% is not past the newest one, %.%",
      main,
      sub,
      this.#newestMain,
      this.#newestSub,
    );
    this.#newestMain = main;
    this.#newestSub = sub;
    this.#beforeWrite();
    this.#open.putRevision(main, sub, tombstone, keyValue);
  }

  getRevision(main: number, sub: number): Uint8Array | undefined {
    return this.#copy(this.viewRevision(main, sub));
  }

  viewRevision(main: number, sub: number): Uint8Array | undefined {
    const { revisions, deletedRevisions } = this.#open;
    if (revisions.startsAtOrBefore(main, sub)) return revisions.get(main, sub);
    if (!deletedRevisions.isEmpty && deletedRevisions.has(main, sub)) return undefined;
    const inFlight = this.#inFlight;
    if (inFlight !== undefined) {
      if (inFlight.revisions.startsAtOrBefore(main, sub)) return inFlight.revisions.get(main, sub);
      if (!inFlight.deletedRevisions.isEmpty && inFlight.deletedRevisions.has(main, sub)) return undefined;
    }
    writeRevisionKey(this.#lookupKey, main, sub, false);
    return this.#reader.get(this.#environment.tables.key, this.#lookupKey);
  }

  deleteRevision(main: number, sub: number, tombstone: boolean): void {
    this.#beforeWrite();
    this.#open.deleteRevision(main, sub, tombstone);
  }

  scanRevisions(
    from: { readonly main: number; readonly sub: number },
    recordsMax: number,
    visit: RevisionVisit,
  ): void {
    if (recordsMax <= 0) return;
    let left = recordsMax;
    let isStopped = false;
    const guarded: RevisionVisit = (main, sub, tombstone, keyValue) => {
      if (this.#isDeletedLater(main, sub)) return true;
      left -= 1;
      isStopped = !visit(main, sub, tombstone, keyValue) || left <= 0;
      return !isStopped;
    };
    this.#scanDurable(from.main, from.sub, guarded);
    if (!isStopped) this.#inFlight?.revisions.scan(from.main, from.sub, Infinity, guarded);
    if (!isStopped) this.#open.revisions.scan(from.main, from.sub, left, visit);
  }

  storedRevisions(): StoredRevisions {
    const checked = this.#checked;
    const { lastTxnId } = this.#environment.root.env.info();
    if (checked?.revisions === undefined || checked.transaction !== lastTxnId) {
      return new ScannedRevisions(this);
    }
    const { pageBytes, revisions } = checked;
    const isUnchanged = () => this.#checked === checked;
    return new FileRevisions(
      { files: this.#options.files, path: this.#path, pageBytes, isUnchanged },
      revisions,
    );
  }

  endEntry(consistentIndex: number, term: number): void {
    assert(
      consistentIndex >= this.#consistentIndex,
      "Consistent index goes back from % to %",
      this.#consistentIndex,
      consistentIndex,
    );
    this.#beforeWrite();
    this.#consistentIndex = consistentIndex;
    this.#term = term;
    this.#isIndexDirty = true;
    if (this.#open.count >= this.#batchLimit || this.#open.bytes >= BATCH_BYTES_LIMIT) this.#startCommit();
  }

  commit(): Promise<void> {
    return this.#durable(this.#isEmpty() ? this.#inFlight : this.#open);
  }

  /** Resolves when the transaction in flight is durable, or with none the open batch: fewer bytes wait then. */
  nextCommit(): Promise<void> {
    return this.#durable(this.#inFlight ?? (this.#isEmpty() ? undefined : this.#open));
  }

  get durableIndex(): number {
    return this.#durableIndex;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get inUseBytes(): number {
    this.#inUseBytes ??= this.#readInUse();
    return this.#inUseBytes;
  }

  /** Bytes of values that wait in memory for their commit. The caller that applies entries should stop at a limit. */
  get pendingBytes(): number {
    return this.#open.bytes + (this.#inFlight?.bytes ?? 0);
  }

  /**
   * Rewrites the file without its free pages. Reads and writes go on; what is written meanwhile waits in
   * memory, and `durableIndex` stands still. Rejects, with the old file in place, when the copy fails.
   */
  defragment(): Promise<void> {
    assert(
      this.#defragmentation === undefined && !this.#isClosed,
      "Defragmentation is under way, or the end",
    );
    const done = this.#defragment().finally(() => {
      this.#defragmentation = undefined;
      if (this.#isDue) this.#startCommit();
    });
    this.#defragmentation = done;
    return done;
  }

  /** Commits what is open and lets go of the file. After a failure it only lets go. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#defragmentation?.catch(() => {});
    this.#startCommit();
    await this.#whenIdle();
    this.#timer?.cancel();
    await this.#environment.root.close();
  }

  async #defragment(): Promise<void> {
    await this.#whenIdle();
    if (this.#failure !== undefined) throw this.#failure;
    const { files } = this.#options;
    const copy = await compactCopy(files, this.#path, (to) => this.#environment.root.backup(to, true));
    this.#checked = undefined;
    // From here to the end in one turn: nobody reads between the two environments.
    void this.#environment.root.close();
    try {
      files.rename(copy, this.#path);
    } catch (error) {
      this.#environment = this.#openEnvironment();
      throw error;
    }
    try {
      // Before the next commit: a rename that a power cut takes back would bring an old index with it.
      files.syncDirectory(this.#options.directory);
      this.#environment = this.#openEnvironment();
    } catch (error) {
      this.#fail(error);
      throw error;
    }
    this.#readSize();
  }

  #durable(batch: Batch | undefined): Promise<void> {
    if (batch === undefined) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.push({ batch, resolve });
    if (batch === this.#open) this.#startCommit();
    return promise;
  }

  /**
   * Opening writes to a lock file that is mapped into memory, and where that finds no space it is SIGBUS; and
   * lmdb-js 3.5.6 crashes when a new database cannot be written. Where both files are, nothing is needed.
   */
  #checkRoom(): void {
    const { files } = this.#options;
    if (files.exists(this.#path) && files.exists(`${this.#path}${LOCK_SUFFIX}`)) return;
    const freeBytes = this.#freeBytes();
    if (freeBytes >= ROOM_BYTES) return;
    const what = `Cannot open the database ${this.#path}: ${freeBytes} bytes are free on its disk`;
    throw new FileError("no space", this.#path, `${what}, and ${ROOM_BYTES} are needed: make space`);
  }

  /** A failed write may end the process without a word, as `onFatal` says: this one is said before. */
  #warnOfFullDisk(bytes: number): void {
    const freeBytes = this.#freeBytes();
    const isLow = freeBytes < ROOM_BYTES + 2 * bytes;
    if (isLow && !this.#saidNoSpace) {
      this.#options.log?.error("no space left for the database; a commit that fails will end the process", {
        path: this.#path,
        "free-bytes": freeBytes,
        "commit-bytes": bytes,
      });
    }
    this.#saidNoSpace = isLow;
  }

  #freeBytes(): number {
    return this.#options.files.freeBytes(this.#options.directory);
  }

  /** Records as they are now, after a name: `recordsMax` of the durable ones, and what is not durable yet among them. */
  #slice(bucket: BucketName, after: string, recordsMax: number): BucketSlice {
    const records = new Map<string, Uint8Array>();
    // A key and a zero byte: nothing is between the two.
    const start = after === "" ? {} : { start: bytesFromText(`${after}\0`) };
    const limit = recordsMax === Infinity ? {} : { limit: recordsMax };
    let last: string | undefined;
    for (const { key, value } of this.#environment.tables[bucket].getRange({ ...start, ...limit })) {
      last = textFromBytes(key);
      records.set(last, value);
    }
    if (records.size < recordsMax) last = undefined;
    this.#inFlight?.applyTo(bucket, records, after, last);
    this.#open.applyTo(bucket, records, after, last);
    return { records, last };
  }

  /** Before a record of a small bucket changes. */
  #keepFrozen(bucket: BucketName, key: Uint8Array): void {
    const frozen = this.#frozen.get(bucket);
    if (frozen === undefined || frozen.size === 0) return;
    const name = textFromBytes(key);
    for (const each of frozen) if (each.needs(name)) each.keep(name, this.get(bucket, key));
  }

  #isEmpty(): boolean {
    return this.#open.count === 0 && !this.#isIndexDirty;
  }

  /** Starts the clock of a batch with its first write. */
  #beforeWrite(): void {
    this.#checked = undefined;
    if (this.#timer !== undefined) return;
    assert(!this.#isClosed, "Write to a closed backend");
    this.#timer = this.#options.clock.after(this.#batchIntervalMs, () => this.#startCommit());
  }

  #newBatch(pool: ChunkPool): Batch {
    const handles = Object.fromEntries(
      bucketNames.map((name) => [name, this.#environment.tables[name].db.dbi]),
    ) as BucketHandles;
    return new Batch(handles, addressOf, pool);
  }

  /** Between two entries only: the open batch becomes a transaction, now or when the one in flight is over. */
  #startCommit(): void {
    this.#isDue = true;
    if (this.#inFlight !== undefined || this.#failure !== undefined) return;
    if (this.#defragmentation !== undefined) return;
    this.#isDue = false;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#isEmpty()) return;
    this.#writeIndex();
    const batch = this.#open;
    batch.consistentIndex = this.#consistentIndex;
    this.#inFlight = batch;
    this.#open = this.#spare ?? this.#newBatch(new ChunkPool());
    this.#spare = undefined;
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    this.#warnOfFullDisk(batch.bytes);
    this.#environment.root.env.startWriting(batch.finish(), (code) => {
      if (code === 0) this.#options.onCommit?.(clock.monotonicMs() - startedMs);
      this.#afterCommit(batch, code);
    });
  }

  #afterCommit(batch: Batch, code: number): void {
    if (code !== 0) return this.#fail(errorOf(code));
    // The next read renews its snapshot, so it sees what leaves memory here.
    this.#environment.root.resetReadTxn();
    this.#inFlight = undefined;
    this.#durableIndex = batch.consistentIndex;
    batch.clear();
    this.#spare = batch;
    this.#readSize();
    const waiters = this.#waiters;
    this.#waiters = waiters.filter((waiter) => waiter.batch !== batch);
    for (const waiter of waiters) if (waiter.batch === batch) waiter.resolve();
    if (this.#isDue || this.#open.count >= this.#batchLimit) this.#startCommit();
    if (this.#inFlight === undefined) this.#wakeIdleWaiters();
  }

  #fail(cause: unknown): void {
    const text = cause instanceof Error ? cause.message : String(cause);
    // LMDB takes a write that was cut short by a full disk for an I/O error.
    const room = this.#saidNoSpace ? `: ${this.#freeBytes()} bytes are free on its disk` : "";
    this.#failure = new Error(`Commit to ${this.#path} failed: ${text}${room}`, { cause });
    this.#inFlight = undefined;
    this.#timer?.cancel();
    this.#wakeIdleWaiters();
    this.#options.onFatal(this.#failure);
  }

  /** Resolves when no transaction is in flight and none is about to start. */
  #whenIdle(): Promise<void> {
    if (this.#inFlight === undefined) return Promise.resolve();
    return new Promise((resolve) => this.#idleWaiters.push(resolve));
  }

  #wakeIdleWaiters(): void {
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const resolve of waiters) resolve();
  }

  #openEnvironment(): Environment {
    const root = lmdb.open(
      {
        path: this.#path,
        noSubdir: true,
        keyEncoding: "binary",
        encoding: "binary",
        maxDbs: bucketNames.length,
        pageSize: PAGE_BYTES,
        permissionsMode: FILE_MODE,
        // Far more than is ever used, and mapped once: growing a map leaves the old one behind, and its pages
        // are counted twice as resident.
        mapSize: this.#options.mapSizeBytes ?? MAP_SIZE_BYTES,
        // A commit returns when data and meta page are synced, and a failed one is aborted and never visible.
        // With overlapping syncs it would be visible before, and a lost sync would go unnoticed.
        overlappingSync: false,
        // Never trust meta pages that were not synced, even when the kernel has not been restarted since.
        safeRestore: true,
        // Not set, on purpose: useWritemap (a full disk would be SIGBUS), noSync, noMetaSync (lost commits),
        // noMemInit (unused parts of pages would hold whatever the heap held, secrets too), noReadAhead (with
        // it a scan of what is not in memory reads one page at a time). maxReaders stays at 126: two are used,
        // by reads of this thread and by the copy of a defragmentation.
      } as lmdb.RootDatabaseOptionsWithPath & { readonly permissionsMode: number },
    ) as Environment["root"];
    const tables = Object.fromEntries(
      // Always in this order, so that handles in the open batch hold for a new environment as well.
      bucketNames.map((name) => [
        name,
        root.openDB(
          name,
          name === "key" ? this.#keyCodec() : { keyEncoding: "binary", encoding: "binary" },
        ),
      ]),
    ) as unknown as Environment["tables"];
    tables.key.getBinaryFast(FIRST_KEY); // For the reader to know the memory of keys.
    return { root, tables };
  }

  /** Puts the index of the last entry into the open batch. As in etcd, 0 is never stored. */
  #writeIndex(): void {
    if (!this.#isIndexDirty) return;
    this.#isIndexDirty = false;
    this.#keepFrozen("meta", CONSISTENT_INDEX_KEY);
    this.#keepFrozen("meta", TERM_KEY);
    if (this.#consistentIndex > 0) {
      this.#open.put("meta", CONSISTENT_INDEX_KEY, encodeUint64(this.#consistentIndex));
    }
    if (this.#term > 0) this.#open.put("meta", TERM_KEY, encodeUint64(this.#term));
  }

  #readNewestRevision(): void {
    for (const key of this.#environment.tables.key.getKeys({ reverse: true, end: FIRST_KEY, limit: 1 })) {
      this.#newestMain = revisionKeyMain(key);
      this.#newestSub = revisionKeySub(key);
    }
  }

  #copy(found: Uint8Array | undefined): Uint8Array | undefined {
    return found === undefined ? undefined : this.#slab.copy(found);
  }

  /** Keys as they are. Each one that is looked up shows where lmdb-js puts them: always in the same memory. */
  #keyCodec(): lmdb.DatabaseOptions {
    return {
      encoding: "binary",
      keyEncoder: {
        writeKey: (key: Uint8Array, target: Uint8Array, start: number): number => {
          if (start === 0) this.#reader.useKeyMemory(target);
          target.set(key, start);
          return start + key.length;
        },
        readKey: (target: Uint8Array, start: number, end: number) =>
          Uint8Array.prototype.slice.call(target, start, end),
      },
    } as unknown as lmdb.DatabaseOptions;
  }

  /** Visits records in LMDB up to the first one that is in memory as well. */
  #scanDurable(main: number, sub: number, visit: RevisionVisit): void {
    const run = this.#inFlight?.revisions;
    this.#reader.scan(
      this.#environment.tables.key,
      revisionKey(main, sub),
      (atMain, atSub, tombstone, value) => {
        // The write thread may be done with the batch in flight, whose revisions come from memory.
        if (run?.startsAtOrBefore(atMain, atSub)) return false;
        return visit(atMain, atSub, tombstone, value);
      },
    );
  }

  #isDeletedLater(main: number, sub: number): boolean {
    const open = this.#open.deletedRevisions;
    if (!open.isEmpty && open.has(main, sub)) return true;
    const inFlight = this.#inFlight?.deletedRevisions;
    return inFlight !== undefined && !inFlight.isEmpty && inFlight.has(main, sub);
  }

  #readSize(): void {
    this.#inUseBytes = undefined;
    this.#sizeBytes = (this.#environment.root.env.info().lastPageNumber + 1) * PAGE_BYTES;
  }

  #readInUse(): number {
    const { root, tables } = this.#environment;
    root.ensureReadTxn();
    const counts = [root.env.stat(), root.env.freeStat()];
    for (const name of bucketNames) counts.push(tables[name].db.stat());
    let pages = META_PAGES;
    for (const each of counts) {
      pages += each.treeBranchPageCount + each.treeLeafPageCount + each.overflowPages;
    }
    return pages * PAGE_BYTES;
  }
}

function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash + 1);
}

function errorOf(code: number): unknown {
  try {
    native.lmdbError(code);
  } catch (error) {
    return error;
  }
}
