/**
 * The store's durable side, as mvcc, lease and auth need it: etcd's backend, bucket by bucket. Writes are
 * readable at once and become durable in order, a batch at a time; everything written between two
 * `endEntry()` calls lands in the same durable transaction, together with the consistent index.
 */
export interface Backend {
  put(bucket: BucketName, key: Uint8Array, value: Uint8Array): void;
  delete(bucket: BucketName, key: Uint8Array): void;
  get(bucket: BucketName, key: Uint8Array): Uint8Array | undefined;
  /** Records of a small bucket (everything but "key") in key order. */
  list(bucket: BucketName): BucketRecord[];
  /** The records of a small bucket as they are now, to be read in slices while writes go on. */
  freeze(bucket: BucketName): FrozenBucket;

  /** Appends a record to bucket "key". `main`.`sub` is past every record put before. Copies `keyValue`. */
  putRevision(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): void;
  /** The marshalled KeyValue of a revision that is not a tombstone; the caller may keep the bytes. */
  getRevision(main: number, sub: number): Uint8Array | undefined;
  /** The same without a copy: the bytes are valid until the next call. */
  viewRevision(main: number, sub: number): Uint8Array | undefined;
  deleteRevision(main: number, sub: number, tombstone: boolean): void;
  /**
   * Visits records of bucket "key" from `main`.`sub` on, in order, until `visit` returns false or
   * `recordsMax` were visited. The key-value bytes are valid only during the visit.
   */
  scanRevisions(
    from: { readonly main: number; readonly sub: number },
    recordsMax: number,
    visit: (main: number, sub: number, tombstone: boolean, keyValue: Uint8Array) => boolean,
  ): void;

  /** All records of bucket "key" for a store that starts: before anything is written. */
  storedRevisions(): StoredRevisions;

  /** Marks the border between two applied entries: a batch never splits an entry. */
  endEntry(consistentIndex: number, term: number): void;
  /** Resolves when everything put before is durable; rejects never: a failed commit ends the process. */
  commit(): Promise<void>;
  /** Consistent index that a *successful* durable commit covers: the WAL may be released up to here. */
  readonly durableIndex: number;
  readonly sizeBytes: number;
  readonly inUseBytes: number;
}

/** The records of bucket "key", read once from the first to the last. */
export interface StoredRevisions {
  /**
   * Visits the next records, `recordsMax` at most; false when none is left. The KeyValue is `bytes[start, end)`,
   * and is valid only during the visit.
   */
  next(recordsMax: number, visit: StoredVisit): boolean;
}

export type StoredVisit = (
  main: number,
  sub: number,
  tombstone: boolean,
  bytes: Uint8Array,
  start: number,
  end: number,
) => void;

export interface BucketRecord {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** What a bucket was at one moment. It may cost its backend memory until it is closed. */
export interface FrozenBucket {
  /** Back to the first record. */
  rewind(): void;
  /**
   * The next records in key order, `recordsMax` at most; none after the last one. Throws `tooManyRequests`
   * when more has changed meanwhile than the backend keeps.
   */
  next(recordsMax: number): readonly BucketRecord[];
  close(): void;
}

/** etcd's buckets, in the order of its own backend hash (bucket names sorted). */
export const bucketNames = [
  "alarm",
  "auth",
  "authRoles",
  "authUsers",
  "cluster",
  "key",
  "lease",
  "members",
  "members_removed",
  "meta",
] as const;

export type BucketName = (typeof bucketNames)[number];
