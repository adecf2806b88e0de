import {
  closeSync,
  constants,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rm,
  rmSync,
  statfsSync,
  statSync,
  write,
  writeSync,
} from "node:fs";
import { FileError } from "../../ports/files.ts";
import type { FileErrorKind, Files, ReadableFile, WritableFile } from "../../ports/files.ts";
import { lock } from "./file_lock.ts";

const FILE_MODE = 0o600;

/** The disk through `node:fs`, by descriptors; no streams. */
export const files: Files = {
  makeDirectory(path, mode) {
    attempt(path, () => mkdirSync(path, { recursive: true, mode }));
  },
  list: (path) => attempt(path, () => readdirSync(path).sort()),
  exists: (path) => existsSync(path),
  permissions: (path) => attempt(path, () => statSync(path).mode & 0o777),
  read(path, bytesMax) {
    const file = new DescriptorReader(path);
    try {
      const size = file.sizeBytes;
      if (size > bytesMax) {
        throw new FileError("io", path, `${path}: ${size} bytes, at most ${bytesMax} expected`);
      }
      return file.readAt(0, size);
    } finally {
      file.close();
    }
  },
  openRead: (path) => new DescriptorReader(path),
  openWrite: (path, options) => new DescriptorWriter(path, options.create, options.mode ?? FILE_MODE),
  rename(from, to) {
    attempt(from, () => renameSync(from, to));
  },
  remove(path) {
    attempt(path, () => rmSync(path, { force: true }));
  },
  removeAside(path) {
    return new Promise((resolve, reject) => {
      rm(path, { force: true }, (error) => {
        if (error === null || error === undefined) resolve();
        else reject(fileError(path, error));
      });
    });
  },
  syncDirectory(path) {
    attempt(path, () => {
      const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        fsyncSync(descriptor);
      } finally {
        closeSync(descriptor);
      }
    });
  },
  freeBytes(path) {
    const { bavail, bsize } = attempt(path, () => statfsSync(path));
    return bavail * bsize;
  },
  lock,
};

class DescriptorReader implements ReadableFile {
  readonly #path: string;
  readonly #descriptor: number;
  readonly sizeBytes: number;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = attempt(path, () => openSync(path, constants.O_RDONLY));
    this.sizeBytes = attempt(path, () => fstatSync(this.#descriptor).size);
  }

  readAt(position: number, length: number, memory?: Uint8Array): Uint8Array {
    const left = Math.max(0, Math.min(length, this.sizeBytes - position));
    const bytes = memory !== undefined && memory.length >= left
      ? memory.subarray(0, left)
      : new Uint8Array(left);
    let done = 0;
    while (done < left) {
      const count = attempt(
        this.#path,
        () => readSync(this.#descriptor, bytes, done, left - done, position + done),
      );
      if (count === 0) break; // The file has become shorter.
      done += count;
    }
    return done === left ? bytes : bytes.subarray(0, done);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

class DescriptorWriter implements WritableFile {
  readonly #path: string;
  /** -1 once closed: the number may belong to another file by then. */
  #descriptor: number;

  constructor(path: string, create: boolean, mode: number) {
    this.#path = path;
    const flags = create ? constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL : constants.O_WRONLY;
    this.#descriptor = attempt(path, () => openSync(path, flags, mode));
  }

  writeAt(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const descriptor = this.#open();
      let done = 0;
      const step = (error: Error | null, count: number): void => {
        if (error !== null) return reject(fileError(this.#path, error));
        done += count;
        if (done === bytes.length) return resolve();
        if (count === 0) return reject(new FileError("io", this.#path, `${this.#path}: nothing was written`));
        // The kernel may take less than was offered; the rest follows.
        write(descriptor, bytes, done, bytes.length - done, position + done, step);
      };
      write(descriptor, bytes, 0, bytes.length, position, step);
    });
  }

  writeAtSync(bytes: Uint8Array, position: number): void {
    let done = 0;
    while (done < bytes.length) {
      const count = attempt(
        this.#path,
        () => writeSync(this.#open(), bytes, done, bytes.length - done, position + done),
      );
      if (count === 0) throw new FileError("io", this.#path, `${this.#path}: nothing was written`);
      done += count;
    }
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fdatasync(this.#open(), (error) => {
        if (error === null || error === undefined) resolve();
        else reject(fileError(this.#path, error));
      });
    });
  }

  syncNow(): void {
    attempt(this.#path, () => fdatasyncSync(this.#open()));
  }

  truncate(sizeBytes: number): void {
    attempt(this.#path, () => ftruncateSync(this.#open(), sizeBytes));
  }

  close(): void {
    closeSync(this.#open());
    this.#descriptor = -1;
  }

  #open(): number {
    if (this.#descriptor === -1) throw new FileError("io", this.#path, `${this.#path}: file already closed`);
    return this.#descriptor;
  }
}

function attempt<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw fileError(path, error);
  }
}

const kindOfCode: Readonly<Record<string, FileErrorKind>> = {
  ENOENT: "not found",
  EEXIST: "exists",
  ENOSPC: "no space",
  EDQUOT: "no space",
  EACCES: "permission",
  EPERM: "permission",
};

function fileError(path: string, error: unknown): FileError {
  if (error instanceof FileError) return error;
  const { code, message } = error as { readonly code?: string; readonly message: string };
  return new FileError(kindOfCode[code ?? ""] ?? "io", path, `${path}: ${message}`, { cause: error });
}
