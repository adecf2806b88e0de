import { textOf, utf8 } from "../../base/bytes.ts";
import type { Backend } from "../../mvcc/backend.ts";
import { readConsistentIndex } from "./meta_table.ts";

/** Release whose schema the backend has, as "3.7.0"; bucket "meta", stored since 3.6. */
const STORAGE_VERSION_KEY = utf8("storageVersion");

export interface SchemaVersion {
  readonly major: number;
  readonly minor: number;
}

/** The schema of this release; it is the newest one known. */
export const CURRENT_SCHEMA: SchemaVersion = { major: 3, minor: 7 };
/** The oldest schema that can be brought up to date: it stores the term. */
const OLDEST_SCHEMA: SchemaVersion = { major: 3, minor: 5 };
/** The first schema that stores its version. */
const FIRST_STORED_MINOR = 6;

/** A backend that this release cannot open or bring to the wanted schema; the text is etcd's. */
export class SchemaError extends Error {
  override readonly name = "SchemaError";
}

/** Undefined when none is stored (before 3.6) or what is stored is no version. */
export function readStorageVersion(backend: Backend): SchemaVersion | undefined {
  const bytes = backend.get("meta", STORAGE_VERSION_KEY);
  return bytes === undefined ? undefined : parseVersion(textOf(bytes));
}

/** The schema of a backend; a 3.5 one is known by its term. Undefined when it cannot be told, or is empty. */
export function detectSchema(backend: Backend): SchemaVersion | undefined {
  const stored = readStorageVersion(backend);
  if (stored !== undefined) return stored;
  return readConsistentIndex(backend).term === 0 ? undefined : OLDEST_SCHEMA;
}

/**
 * Throws `SchemaError` when the backend was written by a release that is too new or too old. One whose
 * schema cannot be told is accepted, as in etcd: it is given a version with the next snapshot.
 */
export function checkSchema(backend: Backend): void {
  const current = detectSchema(backend);
  if (current !== undefined) checkPath(current, CURRENT_SCHEMA);
}

/**
 * Brings the backend to the schema of `target`. `walMinimum` is the oldest release that understands every
 * entry in the log: a downgrade below it is refused. Throws `SchemaError`.
 */
export function migrateSchema(backend: Backend, target: SchemaVersion, walMinimum?: SchemaVersion): void {
  const current = detectSchema(backend);
  if (current === undefined) {
    throw new SchemaError("cannot detect storage schema version: missing term information");
  }
  try {
    checkPath(current, target);
  } catch (cause) {
    throw new SchemaError(`cannot create migration plan: ${(cause as Error).message}`, { cause });
  }
  if (isBefore(target, current) && walMinimum !== undefined && isBefore(target, walMinimum)) {
    throw new SchemaError(
      `cannot downgrade storage, WAL contains newer entries, as the target version (${
        printVersion(target)
      }) ` +
        `is lower than the version (${printVersion(walMinimum)}) detected from WAL logs`,
    );
  }
  // The stored version is the only thing that ever changed between these schemas.
  if (target.minor >= FIRST_STORED_MINOR) {
    backend.put("meta", STORAGE_VERSION_KEY, utf8(printVersion(target)));
  } else backend.delete("meta", STORAGE_VERSION_KEY);
}

/** "major.minor.patch" in full; undefined when the text is something else. */
export function parseVersion(text: string): SchemaVersion | undefined {
  const match = /^(\d{1,9})\.(\d{1,9})\.\d{1,9}$/.exec(text);
  return match === null ? undefined : { major: Number(match[1]), minor: Number(match[2]) };
}

/** Throws when a step between the two schemas is not known. */
function checkPath(current: SchemaVersion, target: SchemaVersion): void {
  if (current.major !== target.major) {
    throw new SchemaError("changing major storage version is not supported");
  }
  for (const version of [current, target]) {
    const isKnown = !isBefore(version, OLDEST_SCHEMA) && !isBefore(CURRENT_SCHEMA, version);
    if (!isKnown) throw new SchemaError(`version "${printVersion(version)}" is not supported`);
  }
}

function isBefore(a: SchemaVersion, b: SchemaVersion): boolean {
  return a.major < b.major || (a.major === b.major && a.minor < b.minor);
}

function printVersion(version: SchemaVersion): string {
  return `${version.major}.${version.minor}.0`;
}
