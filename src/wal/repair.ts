import type { Files, ReadableFile } from "../ports/files.ts";
import type { Log } from "../ports/log.ts";
import {
  FRAME_HEADER_BYTES,
  paddingAfter,
  RECORD_HEAD_BYTES_MAX,
  RecordHead,
  recordLengthAt,
} from "./record.ts";

/**
 * Tells a save that a crash cut short, which may be cut off since nobody was told that it is durable, from
 * damage to records that were acknowledged, where only a refusal is right.
 *
 * A crash leaves each sector of the last save either as it was before, zero from where the save began, or
 * as the save wrote it. So a fault at `offset` is a cut save only when
 * - no record that begins a save stands behind it: that save began after the faulty bytes were durable;
 * - the record at fault lacks a sector: that of its header is zero from there on, or one of those it
 *   reaches into is zero as a whole. All sectors being there, a wrong checksum is damage; and
 * - where the header is there, it agrees with the second length that the record carries.
 *
 * etcd asks only for one zero sector within the record, and takes every zero header for the end of the log.
 */
const SECTOR_BYTES = 512;
const SCAN_BYTES = 1 << 18;

/** Whether a save cut short is what makes the record at `offset` faulty. `file` is the last segment. */
export function isTornSave(file: ReadableFile, offset: number): boolean {
  return lacksSector(file, offset) && !savesBehind(file, offset);
}

/** Offset of the first byte at or behind `from` that is not zero; the file's size when there is none. */
export function firstNonZero(file: ReadableFile, from: number): number {
  const memory = new Uint8Array(SCAN_BYTES);
  for (let at = from; at < file.sizeBytes; at += SCAN_BYTES) {
    const bytes = file.readAt(at, SCAN_BYTES, memory);
    const found = nonZeroIn(bytes);
    if (found >= 0) return at + found;
  }
  return file.sizeBytes;
}

/**
 * Cuts the log at `offset`, durably: all behind it becomes zero and the file keeps its size. What the file
 * held stays beside it as `<name>.broken`, as etcd's repair leaves it.
 */
export function cutTail(files: Files, path: string, offset: number, log: Log): void {
  log.info("repairing", { path, offset });
  const source = files.openRead(path);
  const size = source.sizeBytes;
  try {
    const brokenPath = `${path}.broken`;
    files.remove(brokenPath);
    const copy = files.openWrite(brokenPath, { create: true });
    try {
      for (let at = 0; at < size; at += SCAN_BYTES) {
        const bytes = source.readAt(at, SCAN_BYTES);
        // Preallocated zeros become a hole.
        if (nonZeroIn(bytes) >= 0) copy.writeAtSync(bytes, at);
      }
      copy.truncate(size);
      copy.syncNow();
    } finally {
      copy.close();
    }
  } finally {
    source.close();
  }
  const file = files.openWrite(path, { create: false });
  try {
    file.truncate(offset);
    file.truncate(size);
    file.syncNow();
  } finally {
    file.close();
  }
  log.info("repaired", { path, offset });
}

function lacksSector(file: ReadableFile, offset: number): boolean {
  const sector = offset - (offset % SECTOR_BYTES);
  if (isZero(file, offset, sector + SECTOR_BYTES)) return true;
  // The sector of the header was written, so the header is what the writer put there.
  const lead = file.readAt(offset, FRAME_HEADER_BYTES + RECORD_HEAD_BYTES_MAX);
  if (lead.length < FRAME_HEADER_BYTES) return false;
  const length = recordLengthAt(lead, 0);
  if (length <= 0) return false;
  const recordStart = offset + FRAME_HEADER_BYTES;
  const headSector = sector + SECTOR_BYTES;
  const headSpans = headSector < Math.min(recordStart + RECORD_HEAD_BYTES_MAX, recordStart + length);
  if (headSpans && isZero(file, headSector, headSector + SECTOR_BYTES)) return true;
  if (!new RecordHead().parse(lead, FRAME_HEADER_BYTES, lead.length, length)) return false;
  const end = recordStart + length + paddingAfter(length);
  for (let at = headSector; at < Math.min(end, file.sizeBytes); at += SECTOR_BYTES) {
    if (isZero(file, at, at + SECTOR_BYTES)) return true;
  }
  return end > file.sizeBytes;
}

/** Looks for a record that begins a save, at each place behind `offset` where a frame may stand. */
function savesBehind(file: ReadableFile, offset: number): boolean {
  const head = new RecordHead();
  const leadBytes = FRAME_HEADER_BYTES + RECORD_HEAD_BYTES_MAX;
  for (let from = offset + 8; from < file.sizeBytes; from += SCAN_BYTES) {
    const bytes = file.readAt(from, SCAN_BYTES + leadBytes);
    if (nonZeroIn(bytes) < 0) continue;
    for (let at = 0; at < SCAN_BYTES && at + FRAME_HEADER_BYTES <= bytes.length; at += 8) {
      const length = recordLengthAt(bytes, at);
      if (length <= 0 || length > file.sizeBytes - from - at - FRAME_HEADER_BYTES) continue;
      const headStart = at + FRAME_HEADER_BYTES;
      const headEnd = Math.min(bytes.length, headStart + RECORD_HEAD_BYTES_MAX);
      if (head.parse(bytes, headStart, headEnd, length) && head.beginsSave) return true;
    }
  }
  return false;
}

/** Bytes past the end of the file count as zero. */
function isZero(file: ReadableFile, start: number, end: number): boolean {
  return nonZeroIn(file.readAt(start, end - start)) < 0;
}

function nonZeroIn(bytes: Uint8Array): number {
  let at = 0;
  if ((bytes.byteOffset & 3) === 0) {
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
    let word = 0;
    while (word < words.length && words[word] === 0) word += 1;
    at = word * 4;
  }
  while (at < bytes.length && bytes[at] === 0) at += 1;
  return at === bytes.length ? -1 : at;
}
