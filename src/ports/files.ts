/**
 * The disk. Paths are the platform's. Errors are `FileError`; a caller that cannot go on after a failed
 * write or sync must not retry on the same file: the kernel may have dropped the pages.
 */
export interface Files {
  /** Makes a directory and its parents; one that exists is fine. */
  makeDirectory(path: string, mode: number): void;
  /** Names in a directory, sorted; throws "not found" when it is missing. */
  list(path: string): string[];
  exists(path: string): boolean;
  /** Permission bits of a file or directory: 0o700. */
  permissions(path: string): number;
  /** Whole content of a file of at most `bytesMax` bytes. */
  read(path: string, bytesMax: number): Uint8Array;
  /** Opens an existing file for reading. */
  openRead(path: string): ReadableFile;
  /** Opens for writing; `create` makes a new file and fails when one exists. */
  openWrite(path: string, options: { readonly create: boolean; readonly mode?: number }): WritableFile;
  rename(from: string, to: string): void;
  /** Removes a file; a missing one is fine. */
  remove(path: string): void;
  /** The same off this thread: for the kernel to free a large file takes it 10 ms and more. */
  removeAside(path: string): Promise<void>;
  /** Makes creations, renames and removals in the directory durable. */
  syncDirectory(path: string): void;
  /** Bytes that this process may still write to the file system of an existing file or directory. */
  freeBytes(path: string): number;
  /** Takes an exclusive lock that dies with the process; throws "locked" when another process has it. */
  lock(path: string): FileLock;
}

export interface ReadableFile {
  readonly sizeBytes: number;
  /**
   * Reads up to `length` bytes; fewer only at the end of the file. They may be put into `memory`, if that has
   * room: new memory costs as much as the reading.
   */
  readAt(position: number, length: number, memory?: Uint8Array): Uint8Array;
  close(): void;
}

export interface WritableFile {
  /** Writes all of `bytes` at `position` before it resolves. The memory must stay unchanged until then. */
  writeAt(bytes: Uint8Array, position: number): Promise<void>;
  writeAtSync(bytes: Uint8Array, position: number): void;
  /** fdatasync: what was written before is durable when it resolves. */
  sync(): Promise<void>;
  syncNow(): void;
  truncate(sizeBytes: number): void;
  close(): void;
}

export interface FileLock {
  release(): void;
}

export type FileErrorKind =
  | "not found"
  | "exists"
  | "locked"
  | "no space"
  | "permission"
  /** What the file holds cannot be right. */
  | "damaged"
  | "io";

export class FileError extends Error {
  override readonly name = "FileError";
  readonly kind: FileErrorKind;
  readonly path: string;

  constructor(kind: FileErrorKind, path: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.path = path;
  }
}
