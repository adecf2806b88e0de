import type { Files } from "../ports/files.ts";

/** Where the compacted copy of a data file grows. */
export function copyPath(path: string): string {
  return `${path}.defrag`;
}

/**
 * Makes a compacted, durable copy of a data file beside it and returns its path; `copy` does the copying
 * while the file stays in use for reads. Nothing is left behind when it fails.
 *
 * The whole of defragmentation, and what a crash finds after each step:
 *
 * 1. no more commits are started: entries wait in memory, the WAL has them;
 * 2. the copy is written and synced: the old file is the database, a piece of copy is removed at start;
 * 3. it is renamed over the old file: one or the other is the database, both with the same entries and the
 *    same consistent index, so the WAL is replayed from the same place, neither twice nor too late;
 * 4. the directory is synced before the first commit to the copy.
 */
export async function compactCopy(
  files: Files,
  path: string,
  copy: (to: string) => Promise<void>,
): Promise<string> {
  const target = copyPath(path);
  files.remove(target);
  try {
    await copy(target);
    const file = files.openWrite(target, { create: false });
    try {
      await file.sync();
    } finally {
      file.close();
    }
  } catch (error) {
    files.remove(target);
    throw error;
  }
  return target;
}
