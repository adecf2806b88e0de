import { EMPTY_BYTES } from "../base/bytes.ts";
import { BRANCH_PAGE, ELEMENT_BYTES, LEAF_PAGE, PAGE_HEADER_BYTES } from "./bolt_format.ts";

/** The page size of every platform that etcd supports. */
export const PAGE_BYTES = 4096;

/**
 * A leaf is closed when it is this full: bbolt lets any page run over the next ones, and reads it as one. Of pages of
 * 4 KiB a fifth would stay empty with values of 1 KiB; so it is 2 %, and less to hash and to send.
 */
export const LEAF_BYTES_MAX = 8 * PAGE_BYTES;

/**
 * A branch page has this many children before it is closed, however long the keys; it then runs over several
 * pages. bbolt cannot delete from below a branch with a single child.
 */
const CHILDREN_MIN = 3;

/**
 * Takes pages in the order of their numbers: the elements of a page one by one, then its end. Counts them or
 * writes them.
 */
export interface PageSink {
  /** Number of the page that the next element belongs to. */
  readonly nextPage: number;
  /** The bytes are copied. `key[0, keyLength)` is the key. */
  leafElement(flags: number, key: Uint8Array, keyLength: number, value: Uint8Array): void;
  branchElement(child: number, key: Uint8Array): void;
  endPage(flags: number): void;
}

/**
 * One tree of a bbolt file from records that come in the order of their keys. A page is closed as soon as it is
 * full (a leaf is several pages long), children before their parent, so that what is kept is one unfinished branch page per level, however
 * large the tree.
 *
 * Example: of leaves A, B, C, D, E and branches that hold three children, the pages come out in the order
 * A B C D [A B C] E, and at the end [D E] and the root above the two branches.
 */
export class BoltTree {
  readonly #sink: PageSink;
  readonly #leafBytesMax: number;
  readonly #branches: Branch[] = [];
  #leafBytes = PAGE_HEADER_BYTES;
  #leafKey: Uint8Array | undefined;

  /** A leaf of more than `leafBytesMax`, which is `LEAF_BYTES_MAX` at most, has a single record. */
  constructor(sink: PageSink, leafBytesMax: number) {
    this.#sink = sink;
    this.#leafBytesMax = leafBytesMax;
  }

  /** Adds a record past all before it. `key[0, keyLength)` is the key, which is not empty. */
  add(key: Uint8Array, keyLength: number, value: Uint8Array, flags = 0): void {
    const bytes = ELEMENT_BYTES + keyLength + value.length;
    if (this.#leafKey !== undefined && this.#leafBytes + bytes > this.#leafBytesMax) this.#closeLeaf();
    this.#leafKey ??= key.slice(0, keyLength);
    this.#leafBytes += bytes;
    this.#sink.leafElement(flags, key, keyLength, value);
  }

  /** Closes what is open; returns the page of the root. An empty tree is an empty leaf. */
  finish(): number {
    this.#closeLeaf();
    for (let level = 0;; level += 1) {
      const branch = this.#branches[level]!;
      // Only the top level can have a single child, and that child has no sibling then: it is the root.
      if (branch.pages.length === 1) return branch.pages[0]!;
      this.#closeBranch(level, branch.pages.length);
    }
  }

  #closeLeaf(): void {
    const page = this.#sink.nextPage;
    const key = this.#leafKey ?? EMPTY_BYTES;
    this.#sink.endPage(LEAF_PAGE);
    this.#leafKey = undefined;
    this.#leafBytes = PAGE_HEADER_BYTES;
    this.#addChild(0, key, page);
  }

  #addChild(level: number, key: Uint8Array, page: number): void {
    const branch = this.#branches[level] ??= new Branch();
    const bytes = ELEMENT_BYTES + key.length;
    const count = branch.pages.length;
    // The last child goes over to the next page: whatever follows, that one has two at least.
    if (branch.bytes + bytes > PAGE_BYTES && count >= CHILDREN_MIN) this.#closeBranch(level, count - 1);
    branch.keys.push(key);
    branch.pages.push(page);
    branch.bytes += bytes;
  }

  /** Ends a branch page with the first `count` children of those that wait. */
  #closeBranch(level: number, count: number): void {
    const branch = this.#branches[level]!;
    const keys = branch.keys.splice(0, count);
    const pages = branch.pages.splice(0, count);
    for (const [i, page] of pages.entries()) {
      branch.bytes -= ELEMENT_BYTES + keys[i]!.length;
      this.#sink.branchElement(page, keys[i]!);
    }
    const page = this.#sink.nextPage;
    this.#sink.endPage(BRANCH_PAGE);
    this.#addChild(level + 1, keys[0]!, page);
  }
}

/** Children that wait for their branch page to be full. */
class Branch {
  readonly keys: Uint8Array[] = [];
  readonly pages: number[] = [];
  bytes = PAGE_HEADER_BYTES;
}
