import type { Files } from "../ports/files.ts";

/** Size to which segments are preallocated, and past which the next one begins: etcd's 64 MB. */
export const SEGMENT_BYTES = 64_000_000;

/** A segment file: `%016x-%016x.wal` of its number in the log and the index of its first entry. */
export interface Segment {
  readonly sequence: number;
  readonly firstIndex: number;
  readonly path: string;
}

const SEGMENT_NAME = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/;

export function segmentAt(dir: string, sequence: number, firstIndex: number): Segment {
  return { sequence, firstIndex, path: `${dir}/${hex16(sequence)}-${hex16(firstIndex)}.wal` };
}

/** The segments in a directory by number; other files are not the log's concern. */
export function listSegments(files: Files, dir: string): Segment[] {
  const segments: Segment[] = [];
  for (const name of files.list(dir)) {
    const match = SEGMENT_NAME.exec(name);
    if (match === null) continue;
    const sequence = parseInt(match[1]!, 16);
    const firstIndex = parseInt(match[2]!, 16);
    segments.push({ sequence, firstIndex, path: `${dir}/${name}` });
  }
  return segments.sort((a, b) => a.sequence - b.sequence);
}

/** Position of the last segment that begins at or before `index`, or -1: reading from there finds all after it. */
export function segmentFor(segments: readonly Segment[], index: number): number {
  return segments.findLastIndex((segment) => segment.firstIndex <= index);
}

/** Whether a directory holds a log. */
export function walExists(files: Files, dir: string): boolean {
  return files.exists(dir) && listSegments(files, dir).length > 0;
}

export function parentDirectory(path: string): string {
  const at = path.lastIndexOf("/");
  return at > 0 ? path.slice(0, at) : at === 0 ? "/" : ".";
}

function hex16(value: number): string {
  return value.toString(16).padStart(16, "0");
}
