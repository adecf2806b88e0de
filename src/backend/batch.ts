import { bytesFromText, textFromBytes } from "./byte_text.ts";
import { type BucketName, bucketNames, type BucketRecord } from "../mvcc/backend.ts";
import { REVISION_KEY_BYTES, TOMBSTONE_KEY_BYTES, writeRevisionKey } from "../mvcc/revision.ts";
import { type AddressOf, InstructionStream } from "./instruction_stream.ts";
import { type ChunkPool, RevisionRun } from "./revision_run.ts";
import { RevisionSet } from "./revision_set.ts";

/** LMDB's handle of each bucket's named database. */
export type BucketHandles = Readonly<Record<BucketName, number>>;

/** First character of a record's name in `Batch.records`, so that one map holds all small buckets. */
const bucketMarks = Object.fromEntries(
  bucketNames.map((name, at) => [name, String.fromCharCode(at)]),
) as Record<BucketName, string>;

/**
 * What is written in one LMDB transaction, twice: as instructions for the write thread, and as values that
 * answer reads until the transaction is durable. Whole entries only: the owner closes a batch between two.
 */
export class Batch {
  /** Records appended to bucket "key", without those deleted again in this batch. */
  readonly revisions: RevisionRun;
  /** Revisions of older batches, or of the database, that this batch deletes. */
  readonly deletedRevisions = new RevisionSet();
  /** Raft index of the last entry whose changes are here or before. */
  consistentIndex = 0;
  /** Last records of the small buckets by name; undefined is a delete. */
  readonly #records = new Map<string, Uint8Array | undefined>();
  readonly #instructions: InstructionStream;
  readonly #addressOf: AddressOf;
  readonly #handles: BucketHandles;
  readonly #revisionKey = new Uint8Array(REVISION_KEY_BYTES);
  readonly #tombstoneKey = new Uint8Array(TOMBSTONE_KEY_BYTES);
  /** Values that were overwritten or deleted in this batch: their instructions still point to them. */
  readonly #replacedValues: Uint8Array[] = [];
  #bytes = 0;

  constructor(handles: BucketHandles, addressOf: AddressOf, pool: ChunkPool) {
    this.revisions = new RevisionRun(pool);
    this.#instructions = new InstructionStream(addressOf);
    this.#addressOf = addressOf;
    this.#handles = handles;
  }

  /** Number of puts and deletes. */
  get count(): number {
    return this.#instructions.count;
  }

  /** Bytes of the values put. */
  get bytes(): number {
    return this.#bytes;
  }

  put(bucket: BucketName, key: Uint8Array, value: Uint8Array): void {
    const kept = value.slice();
    const address = kept.length === 0 ? 0 : this.#addressOf(kept.buffer);
    this.#instructions.put(this.#handles[bucket], key, address, kept.length);
    this.#setRecord(bucket, key, kept);
    this.#bytes += kept.length;
  }

  delete(bucket: BucketName, key: Uint8Array): void {
    this.#instructions.delete(this.#handles[bucket], key);
    this.#setRecord(bucket, key, undefined);
  }

  /** False when the batch says nothing about the record; then older batches or the database do. */
  has(bucket: BucketName, key: Uint8Array): boolean {
    return this.#records.size > 0 && this.#records.has(bucketMarks[bucket] + textFromBytes(key));
  }

  get(bucket: BucketName, key: Uint8Array): Uint8Array | undefined {
    return this.#records.get(bucketMarks[bucket] + textFromBytes(key))?.slice();
  }

  /**
   * Brings records of a bucket, by the text of their keys, up to what this batch says about those after `after`, up
   * to and including `last` (undefined: to the end).
   */
  applyTo(
    bucket: BucketName,
    records: Map<string, Uint8Array>,
    after: string,
    last: string | undefined,
  ): void {
    const from = bucketMarks[bucket] + after;
    const to = bucketMarks[bucket] + (last ?? "");
    for (const [name, value] of this.#records) {
      if (name <= from || (last === undefined ? !name.startsWith(to) : name > to)) continue;
      if (value === undefined) records.delete(name.slice(1));
      else records.set(name.slice(1), value);
    }
  }

  putRevision(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): void {
    const chunk = this.revisions.append(main, sub, tombstone, keyValue);
    if (chunk.arenaAddress === 0) chunk.arenaAddress = this.#addressOf(chunk.arena.buffer);
    const address = keyValue.length === 0 ? 0 : chunk.arenaAddress + chunk.arenaEnd - keyValue.length;
    this.#instructions.append(this.#handles.key, this.#keyOf(main, sub, tombstone), address, keyValue.length);
    this.#bytes += keyValue.length;
  }

  deleteRevision(main: number, sub: number, tombstone: boolean): void {
    this.#instructions.delete(this.#handles.key, this.#keyOf(main, sub, tombstone));
    if (!this.revisions.remove(main, sub, tombstone)) this.deletedRevisions.add(main, sub);
  }

  /** Ends the transaction; returns the address that the write thread starts from. */
  finish(): number {
    return this.#instructions.finish();
  }

  /** Makes an empty batch of one whose transaction is over. */
  clear(): void {
    this.revisions.release();
    this.deletedRevisions.clear();
    this.#records.clear();
    this.#replacedValues.length = 0;
    this.#instructions.clear();
    this.#bytes = 0;
  }

  #setRecord(bucket: BucketName, key: Uint8Array, value: Uint8Array | undefined): void {
    const name = bucketMarks[bucket] + textFromBytes(key);
    const before = this.#records.get(name);
    if (before !== undefined) this.#replacedValues.push(before);
    this.#records.set(name, value);
  }

  #keyOf(main: number, sub: number, tombstone: boolean): Uint8Array {
    const key = tombstone ? this.#tombstoneKey : this.#revisionKey;
    writeRevisionKey(key, main, sub, tombstone);
    return key;
  }
}

/** Records in byte order of their keys. */
export function sortedRecords(records: ReadonlyMap<string, Uint8Array>): BucketRecord[] {
  // Code units of these strings are bytes, so the default order is byte order.
  return [...records.keys()].sort().map((name) => ({
    key: bytesFromText(name),
    value: records.get(name)!.slice(),
  }));
}
