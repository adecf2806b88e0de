import nodeProcess from "node:process";
import type { DatabaseSync } from "node:sqlite";
import { FileError } from "../../ports/files.ts";
import type { FileLock } from "../../ports/files.ts";

/** Keeps held locks from the garbage collector, which would close, and so release, a forgotten one. */
const held = new Set<DatabaseLock>();

/**
 * Locks `path`, a file made for this purpose, against every other process and this one.
 *
 * No API common to the three runtimes takes a kernel lock on a file, save one: SQLite, which all of them
 * carry, takes `fcntl` locks at fixed offsets. So the lock file is an empty SQLite database, and the lock
 * an exclusive transaction that never writes. The kernel releases it when the process ends in whatever
 * way, there is no stale state that a rival must judge, and the runtimes exclude each other.
 *
 * An `fcntl` lock is lost when the process closes any descriptor of the file: nobody else may open it.
 */
export function lock(path: string): FileLock {
  // Loaded when first needed: a client never locks anything.
  const { DatabaseSync } = nodeProcess.getBuiltinModule("node:sqlite");
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    database.exec("PRAGMA busy_timeout = 0; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
    return new DatabaseLock(database);
  } catch (error) {
    database?.close();
    const { message } = error as Error;
    // Deno gives no error code, but all give SQLite's own text.
    const kind = message.includes("database is locked") ? "locked" : "io";
    throw new FileError(kind, path, `${path}: ${message}`, { cause: error });
  }
}

class DatabaseLock implements FileLock {
  #database: DatabaseSync | undefined;

  constructor(database: DatabaseSync) {
    this.#database = database;
    held.add(this);
  }

  release(): void {
    this.#database?.close();
    this.#database = undefined;
    held.delete(this);
  }
}
