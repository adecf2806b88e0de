import { CopiedBucket } from "../../src/backend/frozen_bucket.ts";
import { concatBytes, utf8 } from "../../src/base/bytes.ts";
import type { ReadableFile } from "../../src/ports/files.ts";
import { RecordBucket } from "../../src/snap/backend_buckets.ts";
import { BoltReader, type BoltRecord } from "../../src/snap/bolt_reader.ts";
import { PAGE_BYTES } from "../../src/snap/bolt_tree.ts";
import { BoltWriter } from "../../src/snap/bolt_writer.ts";

/** Records by the name of their bucket. */
export type Buckets = ReadonlyMap<string, readonly BoltRecord[]>;

/** A file in memory. */
export function fileOf(bytes: Uint8Array): ReadableFile {
  return {
    sizeBytes: bytes.length,
    readAt: (position, length) => bytes.slice(position, position + length),
    close() {},
  };
}

/** The file of these buckets, taken in pieces of `pieceBytes`. Leaves are a page long if nothing else is said. */
export function writeBolt(
  buckets: Buckets,
  pieceBytes = 32 * 1024,
  leafBytesMax: number = PAGE_BYTES,
): Uint8Array {
  const writer = writerOf(buckets, leafBytesMax);
  while (!writer.measure());
  const pieces: Uint8Array[] = [];
  for (let piece = writer.take(pieceBytes); piece !== undefined; piece = writer.take(pieceBytes)) {
    pieces.push(piece.slice());
  }
  return concatBytes(pieces);
}

export function writerOf(buckets: Buckets, leafBytesMax: number): BoltWriter {
  const names = [...buckets.keys()].sort();
  return new BoltWriter(
    names.map((name) => new RecordBucket(utf8(name), new CopiedBucket(buckets.get(name)!))),
    leafBytesMax,
  );
}

export function readBolt(bytes: Uint8Array): Map<string, BoltRecord[]> {
  const reader = new BoltReader(fileOf(bytes), "db");
  return new Map(reader.bucketNames.map((name) => [name, [...reader.records(name)]]));
}
