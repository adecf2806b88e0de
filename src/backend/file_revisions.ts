import { assert } from "../base/assert.ts";
import type { StoredRevisions, StoredVisit } from "../mvcc/backend.ts";
import {
  REVISION_KEY_BYTES,
  revisionKeyMain,
  revisionKeySub,
  TOMBSTONE_KEY_BYTES,
} from "../mvcc/revision.ts";
import type { Files, ReadableFile } from "../ports/files.ts";
import { damaged } from "./lmdb_file.ts";
import { LeafReader, PAGE_HEADER_BYTES, PageReader } from "./lmdb_page.ts";
import type { NamedTree } from "./lmdb_tree.ts";

/** A data file that has been checked. */
export interface DataFile {
  readonly files: Files;
  readonly path: string;
  readonly pageBytes: number;
  /** Whether nothing has been written to it since. */
  readonly isUnchanged: () => boolean;
}

/**
 * The records of bucket "key" from the pages of a data file that nothing has been written to since it was
 * checked. Through lmdb-js a million of them take twice as long, and map the whole file into memory.
 */
export class FileRevisions implements StoredRevisions {
  readonly #file: DataFile;
  readonly #tree: NamedTree;
  readonly #leaf = new LeafReader();
  /** The next record: the place of its leaf among all, and its own in the leaf. */
  #leafAt = 0;
  #recordAt = 0;
  #read = 0;
  /** Where values that have pages of their own are read to. */
  #memory: Uint8Array = new Uint8Array(0);

  constructor(file: DataFile, tree: NamedTree) {
    this.#file = file;
    this.#tree = tree;
  }

  next(recordsMax: number, visit: StoredVisit): boolean {
    const { files, path, pageBytes } = this.#file;
    const { leaves } = this.#tree;
    assert(this.#file.isUnchanged(), "A store is written to while it is being restored");
    const file = files.openRead(path);
    try {
      const pages = new PageReader(file, pageBytes);
      for (let left = recordsMax; left > 0 && this.#leafAt < leaves.length;) {
        const { count } = this.#leaf.open(pages.read(leaves[this.#leafAt]!));
        const end = Math.min(count, this.#recordAt + left);
        left -= end - this.#recordAt;
        for (; this.#recordAt < end; this.#recordAt += 1) this.#visitRecord(file, visit);
        if (end < count) return true;
        this.#read += count;
        this.#leafAt += 1;
        this.#recordAt = 0;
      }
    } finally {
      file.close();
    }
    if (this.#leafAt < leaves.length) return true;
    const { records } = this.#tree;
    if (this.#read !== records) throw damaged(path, `it has ${this.#read} revisions, and says ${records}`);
    return false;
  }

  #visitRecord(file: ReadableFile, visit: StoredVisit): void {
    const leaf = this.#leaf.select(this.#recordAt);
    const { page, keyStart, dataStart, dataBytes } = leaf;
    const keyBytes = dataStart - keyStart;
    if (keyBytes !== REVISION_KEY_BYTES && keyBytes !== TOMBSTONE_KEY_BYTES) {
      const number = this.#tree.leaves[this.#leafAt];
      throw damaged(this.#file.path, `page ${number} has a revision of ${keyBytes} bytes`);
    }
    const main = revisionKeyMain(page, keyStart);
    const sub = revisionKeySub(page, keyStart);
    const tombstone = keyBytes === TOMBSTONE_KEY_BYTES;
    if (leaf.valuePage === undefined) {
      visit(main, sub, tombstone, page, dataStart, dataStart + dataBytes);
      return;
    }
    if (this.#memory.length < dataBytes) this.#memory = new Uint8Array(dataBytes);
    const position = leaf.valuePage * this.#file.pageBytes + PAGE_HEADER_BYTES;
    const value = file.readAt(position, dataBytes, this.#memory);
    visit(main, sub, tombstone, value, 0, value.length);
  }
}
