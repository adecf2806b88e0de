import { utf8 } from "../base/bytes.ts";
import { FileError, type Files, type WritableFile } from "../ports/files.ts";
import type { LogSink } from "./logger.ts";

const FILE_MODE = 0o600;

export interface LogRotation {
  /** A file that would grow past this is set aside and a new one begun. */
  readonly bytesMax: number;
  /** How many files set aside are kept; 0 for all. */
  readonly backupsMax: number;
}

/**
 * A log file that is appended to. With rotation, a full "a.log" becomes "a-2026-01-02T03-04-05.678.log".
 * Opening throws `FileError`; a failed write later on is dropped, since a server must not end for its log.
 */
export class LogFile implements LogSink {
  readonly #path: string;
  readonly #files: Files;
  readonly #rotation: LogRotation | undefined;
  readonly #wallMs: () => number;
  #file: WritableFile;
  #sizeBytes: number;

  constructor(path: string, files: Files, wallMs: () => number, rotation?: LogRotation) {
    this.#path = path;
    this.#files = files;
    this.#rotation = rotation;
    this.#wallMs = wallMs;
    this.#sizeBytes = sizeOf(path, files);
    this.#file = files.openWrite(path, { create: !files.exists(path), mode: FILE_MODE });
  }

  write(line: string): void {
    const bytes = utf8(line);
    try {
      const { bytesMax } = this.#rotation ?? { bytesMax: Infinity };
      if (this.#sizeBytes > 0 && this.#sizeBytes + bytes.length > bytesMax) this.#rotate();
      this.#file.writeAtSync(bytes, this.#sizeBytes);
      this.#sizeBytes += bytes.length;
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
    }
  }

  #rotate(): void {
    const { stem, extension } = split(this.#path);
    const stamp = new Date(this.#wallMs()).toISOString().slice(0, -1).replaceAll(":", "-");
    this.#file.close();
    this.#files.rename(this.#path, `${stem}-${stamp}${extension}`);
    this.#file = this.#files.openWrite(this.#path, { create: true, mode: FILE_MODE });
    this.#sizeBytes = 0;
    this.#removeOldest();
  }

  #removeOldest(): void {
    const { backupsMax } = this.#rotation!;
    if (backupsMax === 0) return;
    const { stem, extension } = split(this.#path);
    const slash = stem.lastIndexOf("/");
    const directory = slash < 0 ? "." : stem.slice(0, slash + 1);
    const prefix = `${stem.slice(slash + 1)}-`;
    const backups = this.#files.list(directory)
      .filter((name) => name.startsWith(prefix) && name.endsWith(extension) && STAMP.test(name))
      .sort();
    for (const name of backups.slice(0, -backupsMax)) {
      this.#files.remove(slash < 0 ? name : `${directory}${name}`);
    }
  }
}

const STAMP = /-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}(?:\.[^.]*)?$/;

function split(path: string): { readonly stem: string; readonly extension: string } {
  const dot = path.lastIndexOf(".");
  if (dot <= path.lastIndexOf("/") + 1) return { stem: path, extension: "" };
  return { stem: path.slice(0, dot), extension: path.slice(dot) };
}

function sizeOf(path: string, files: Files): number {
  if (!files.exists(path)) return 0;
  const file = files.openRead(path);
  file.close();
  return file.sizeBytes;
}
