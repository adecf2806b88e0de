import { Prng } from "../../src/base/prng.ts";
import {
  FileError,
  type FileErrorKind,
  type FileLock,
  type Files,
  type ReadableFile,
  type WritableFile,
} from "../../src/ports/files.ts";

/** What a file has not made durable yet; holds copies, never the caller's memory. */
type FileChange =
  | { readonly kind: "write"; readonly position: number; readonly bytes: Uint8Array }
  | { readonly kind: "truncate"; readonly sizeBytes: number };

interface FileNode {
  readonly kind: "file";
  /** What programs see. */
  current: Uint8Array;
  /** What is on the disk for sure. */
  durable: Uint8Array;
  /** Changes since the last sync that succeeded, in order. */
  pending: FileChange[];
}

/** A name that was added (`node`), taken away (no `node`), or moved from `from`. */
interface NameChange {
  readonly name: string;
  readonly node: Node | undefined;
  readonly from: string | undefined;
}

interface DirectoryNode {
  readonly kind: "directory";
  readonly current: Map<string, Node>;
  durable: Map<string, Node>;
  pending: NameChange[];
}

type Node = FileNode | DirectoryNode;

export type Operation =
  | "list"
  | "open"
  | "read"
  | "create"
  | "write"
  | "sync"
  | "truncate"
  | "rename"
  | "remove"
  | "syncDirectory"
  | "makeDirectory";

export interface CrashFilesOptions {
  /** The power fails in the operation of this number, counted from 1 over `operations`. */
  readonly cutAt?: number;
  /** The operation of this number fails with `failWith`, once. */
  readonly failAt?: number;
  readonly failWith?: FileErrorKind;
  /** Operations that count; default: all that change the disk. */
  readonly operations?: ReadonlySet<Operation>;
}

/** All operations that change something. */
export const changingOperations: ReadonlySet<Operation> = new Set([
  "create",
  "write",
  "sync",
  "truncate",
  "rename",
  "remove",
  "syncDirectory",
  "makeDirectory",
]);

/** The power is off: every operation says so from then on. */
export class PowerCut extends Error {
  override readonly name = "PowerCut";
}

/**
 * A disk in memory that loses what a real one may lose. A file is its durable bytes and the changes since
 * the last sync; a directory likewise, its changes durable only after `syncDirectory`. A sync that fails
 * drops the changes and calls them clean, as kernels do: a later sync succeeds and saves nothing of them.
 */
export class CrashFiles implements Files {
  /** How many of the operations that count have been begun. */
  operationCount = 0;
  readonly #options: CrashFilesOptions;
  readonly #counted: ReadonlySet<Operation>;
  readonly #root: DirectoryNode;
  readonly #locks = new Set<string>();
  #off = false;

  constructor(options: CrashFilesOptions = {}, root: DirectoryNode = newDirectory()) {
    this.#options = options;
    this.#counted = options.operations ?? changingOperations;
    this.#root = root;
  }

  /** The disk as it may be found when the power is back; each call draws another one. */
  afterPowerCut(prng: Prng, options: CrashFilesOptions = {}): CrashFiles {
    return new CrashFiles(options, crashDirectory(this.#root, prng, new Map()));
  }

  /** The disk as a new process finds it when only this one died: all that was written is there, for now. */
  afterExit(options: CrashFilesOptions = {}): CrashFiles {
    return new CrashFiles(options, copyDirectory(this.#root, new Map()));
  }

  /** Replaces what a file holds, durably, behind everybody's back. */
  plant(path: string, bytes: Uint8Array): void {
    const { parent, name } = this.#parentOf(path);
    const node: FileNode = { kind: "file", current: bytes.slice(), durable: bytes.slice(), pending: [] };
    parent.current.set(name, node);
    parent.durable.set(name, node);
  }

  makeDirectory(path: string): void {
    if (this.#find(path) !== undefined) return;
    this.#begin("makeDirectory", path);
    const { parent, name } = this.#parentOf(path, true);
    addName(parent, name, newDirectory());
  }

  list(path: string): string[] {
    this.#begin("list", path);
    return [...this.#directory(path).current.keys()].sort();
  }

  exists(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  permissions(): number {
    return 0o700;
  }

  read(path: string, bytesMax: number): Uint8Array {
    const file = this.openRead(path);
    if (file.sizeBytes > bytesMax) throw new FileError("io", path, "file is too large");
    return file.readAt(0, file.sizeBytes);
  }

  openRead(path: string): ReadableFile {
    this.#begin("open", path);
    const node = this.#file(path);
    return {
      sizeBytes: node.current.length,
      readAt: (position, length) => {
        this.#begin("read", path);
        return node.current.slice(position, position + length);
      },
      close() {},
    };
  }

  openWrite(path: string, options: { readonly create: boolean }): WritableFile {
    if (!options.create) {
      this.#begin("open", path);
      return this.#writer(path, this.#file(path));
    }
    this.#begin("create", path);
    const { parent, name } = this.#parentOf(path);
    if (parent.current.has(name)) throw new FileError("exists", path, `${path} exists`);
    const node: FileNode = {
      kind: "file",
      current: new Uint8Array(0),
      durable: new Uint8Array(0),
      pending: [],
    };
    addName(parent, name, node);
    return this.#writer(path, node);
  }

  rename(from: string, to: string): void {
    const source = this.#parentOf(from);
    const target = this.#parentOf(to);
    if (source.parent !== target.parent) throw new Error("rename between directories is not modelled");
    const { parent } = source;
    const node = parent.current.get(source.name);
    if (node === undefined) throw new FileError("not found", from, `${from} not found`);
    parent.pending.push({ name: target.name, node, from: source.name });
    parent.current.delete(source.name);
    parent.current.set(target.name, node);
    // A cut finds the rename among what is not durable yet.
    this.#begin("rename", from, () => {
      parent.pending.pop();
      parent.current.delete(target.name);
      parent.current.set(source.name, node);
    });
  }

  remove(path: string): void {
    this.#begin("remove", path);
    const { parent, name } = this.#parentOf(path);
    if (parent.current.delete(name)) parent.pending.push({ name, node: undefined, from: undefined });
  }

  async removeAside(path: string): Promise<void> {
    await Promise.resolve();
    this.remove(path);
  }

  syncDirectory(path: string): void {
    this.#begin("syncDirectory", path);
    const directory = this.#directory(path);
    directory.durable = new Map(directory.current);
    directory.pending = [];
  }

  freeBytes(): number {
    return Infinity;
  }

  lock(path: string): FileLock {
    if (this.#locks.has(path)) throw new FileError("locked", path, `${path} is locked`);
    this.#locks.add(path);
    return { release: () => void this.#locks.delete(path) };
  }

  #writer(path: string, node: FileNode): WritableFile {
    const write = (bytes: Uint8Array, position: number): void => {
      // A cut or a failure in a write may leave any part of it.
      node.pending.push({ kind: "write", position, bytes: bytes.slice() });
      this.#begin("write", path);
      node.current = written(node.current, position, bytes);
    };
    const sync = (): void => {
      this.#begin("sync", path, () => node.pending = []);
      node.durable = node.current.slice();
      node.pending = [];
    };
    // A turn passes between call and effect, so that what runs beside it may come in between.
    return {
      writeAt: async (bytes, position) => {
        await Promise.resolve();
        write(bytes, position);
      },
      writeAtSync: write,
      sync: async () => {
        await Promise.resolve();
        sync();
      },
      syncNow: sync,
      truncate: (sizeBytes) => {
        this.#begin("truncate", path);
        node.current = truncated(node.current, sizeBytes);
        node.pending.push({ kind: "truncate", sizeBytes });
      },
      close() {},
    };
  }

  /** Counts an operation; `onFailure` undoes what must not be seen when it fails with an error. */
  #begin(operation: Operation, path: string, onFailure?: () => void): void {
    if (this.#off) throw new PowerCut(`${operation} ${path}: power is off`);
    if (!this.#counted.has(operation)) return;
    this.operationCount += 1;
    if (this.operationCount === this.#options.cutAt) {
      this.#off = true;
      throw new PowerCut(`${operation} ${path}: power cut at operation ${this.operationCount}`);
    }
    if (this.operationCount === this.#options.failAt) {
      onFailure?.();
      throw new FileError(this.#options.failWith ?? "io", path, `${operation} ${path}: injected failure`);
    }
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of namesOf(path)) {
      if (node?.kind !== "directory") return undefined;
      node = node.current.get(name);
    }
    return node;
  }

  #directory(path: string): DirectoryNode {
    const node = this.#find(path);
    if (node?.kind !== "directory") throw new FileError("not found", path, `${path} not found`);
    return node;
  }

  #file(path: string): FileNode {
    const node = this.#find(path);
    if (node?.kind !== "file") throw new FileError("not found", path, `${path} not found`);
    return node;
  }

  #parentOf(path: string, create = false): { readonly parent: DirectoryNode; readonly name: string } {
    const names = namesOf(path);
    const name = names.pop()!;
    let parent = this.#root;
    for (const step of names) {
      let child = parent.current.get(step);
      if (child === undefined && create) addName(parent, step, child = newDirectory());
      if (child?.kind !== "directory") throw new FileError("not found", path, `${path} not found`);
      parent = child;
    }
    return { parent, name };
  }
}

function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}

function newDirectory(): DirectoryNode {
  return { kind: "directory", current: new Map(), durable: new Map(), pending: [] };
}

function addName(parent: DirectoryNode, name: string, node: Node): void {
  parent.current.set(name, node);
  parent.pending.push({ name, node, from: undefined });
}

function written(file: Uint8Array, position: number, bytes: Uint8Array): Uint8Array {
  const end = position + bytes.length;
  const next = end > file.length ? truncated(file, end) : file;
  next.set(bytes, position);
  return next;
}

function truncated(file: Uint8Array, sizeBytes: number): Uint8Array {
  const next = new Uint8Array(sizeBytes);
  next.set(file.subarray(0, sizeBytes));
  return next;
}

/** Names whose change is not durable survive in order up to some point, or each by chance. */
function crashDirectory(directory: DirectoryNode, prng: Prng, seen: Map<Node, Node>): DirectoryNode {
  const names = new Map(directory.durable);
  const inOrder = prng.chance(0.5);
  const keep = prng.below(directory.pending.length + 1);
  directory.pending.forEach((change, i) => {
    if (!(inOrder ? i < keep : prng.chance(0.5))) return;
    if (change.node === undefined) return void names.delete(change.name);
    if (change.from !== undefined) names.delete(change.from);
    names.set(change.name, change.node);
  });
  const survived = newDirectory();
  for (const [name, node] of names) {
    let copy = seen.get(node);
    if (copy === undefined) {
      copy = node.kind === "file" ? crashFile(node, prng) : crashDirectory(node, prng, seen);
      seen.set(node, copy);
    }
    survived.current.set(name, copy);
    survived.durable.set(name, copy);
  }
  return survived;
}

/**
 * Changes that are not durable: none survives, all do, the first ones do and the next is torn, or each
 * sector of each by chance. A sector is 512 or 4,096 bytes; one that is lost holds what it held before.
 */
function crashFile(file: FileNode, prng: Prng): FileNode {
  const mode = prng.below(4);
  const sectorBytes = prng.chance(0.5) ? 512 : 4096;
  const whole = mode === 0 ? 0 : mode === 1 ? file.pending.length : prng.below(file.pending.length + 1);
  let bytes: Uint8Array = file.durable.slice();
  file.pending.forEach((change, i) => {
    if (mode !== 3 && i > whole) return;
    if (change.kind === "truncate") {
      if (mode === 3 ? prng.chance(0.5) : i < whole) bytes = truncated(bytes, change.sizeBytes);
      return;
    }
    const end = change.position + change.bytes.length;
    // Its size may survive without the data.
    if (mode === 3 && end > bytes.length && prng.chance(0.5)) bytes = truncated(bytes, end);
    const sectors = Math.ceil(end / sectorBytes) - Math.floor(change.position / sectorBytes);
    const tornAt = mode === 2 ? prng.below(sectors + 1) : 0;
    let sector = 0;
    for (let at = change.position; at < end; sector += 1) {
      const next = Math.min(end, at - (at % sectorBytes) + sectorBytes);
      const survives = mode === 3 ? prng.chance(0.5) : i < whole || (i === whole && sector < tornAt);
      if (survives) {
        bytes = written(bytes, at, change.bytes.subarray(at - change.position, next - change.position));
      }
      at = next;
    }
  });
  return { kind: "file", current: bytes, durable: bytes.slice(), pending: [] };
}

function copyDirectory(directory: DirectoryNode, seen: Map<Node, Node>): DirectoryNode {
  const copyOf = (node: Node): Node => {
    let copy = seen.get(node);
    if (copy === undefined) {
      copy = node.kind === "directory" ? copyDirectory(node, seen) : {
        kind: "file",
        current: node.current.slice(),
        durable: node.durable.slice(),
        pending: [...node.pending],
      };
      seen.set(node, copy);
    }
    return copy;
  };
  const copyNames = (names: ReadonlyMap<string, Node>): Map<string, Node> =>
    new Map([...names].map(([name, node]) => [name, copyOf(node)]));
  return {
    kind: "directory",
    current: copyNames(directory.current),
    durable: copyNames(directory.durable),
    pending: directory.pending.map((change) => ({
      ...change,
      node: change.node === undefined ? undefined : copyOf(change.node),
    })),
  };
}
