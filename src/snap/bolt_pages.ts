import { ByteWriter } from "../base/byte_writer.ts";
import {
  type BoltMeta,
  ELEMENT_BYTES,
  FREELIST_PAGE,
  LEAF_PAGE,
  META_BYTES,
  META_PAGE,
  PAGE_HEADER_BYTES,
  writeMeta,
  writePageHeader,
  writeUint64,
} from "./bolt_format.ts";
import { LEAF_BYTES_MAX, PAGE_BYTES, type PageSink } from "./bolt_tree.ts";

/** Room for a slice of records to become pages. */
const OUT_BYTES = 256 * 1024;

/** Counts the pages that `PageWriter` would write. */
export class PageCounter implements PageSink {
  nextPage: number;
  #bytes = PAGE_HEADER_BYTES;

  constructor(firstPage: number) {
    this.nextPage = firstPage;
  }

  leafElement(_flags: number, _key: Uint8Array, keyLength: number, value: Uint8Array): void {
    this.#bytes += ELEMENT_BYTES + keyLength + value.length;
  }

  branchElement(_child: number, key: Uint8Array): void {
    this.#bytes += ELEMENT_BYTES + key.length;
  }

  endPage(_flags: number): void {
    this.nextPage += Math.ceil(this.#bytes / PAGE_BYTES);
    this.#bytes = PAGE_HEADER_BYTES;
  }
}

/** Appends finished pages to `out`, whose bytes the owner takes away. */
export class PageWriter implements PageSink {
  readonly out = new ByteWriter(OUT_BYTES);
  nextPage: number;
  /** Elements of the page that is being filled; their offsets count from where its keys and values begin. */
  readonly #elements = new Uint8Array(LEAF_BYTES_MAX);
  readonly #elementsView = new DataView(this.#elements.buffer);
  #elementsBytes = 0;
  /** Its keys and values. */
  readonly #data = new ByteWriter(LEAF_BYTES_MAX);
  /** Of the bytes of `out`, which move when it grows. */
  #outView = new DataView(this.out.bytes.buffer);

  constructor(firstPage: number) {
    this.nextPage = firstPage;
  }

  leafElement(flags: number, key: Uint8Array, keyLength: number, value: Uint8Array): void {
    const view = this.#elementsView;
    const at = this.#elementsBytes;
    const data = this.#data;
    view.setUint32(at, flags, true);
    view.setUint32(at + 4, data.length, true);
    view.setUint32(at + 8, keyLength, true);
    view.setUint32(at + 12, value.length, true);
    this.#elementsBytes += ELEMENT_BYTES;
    data.reserve(keyLength + value.length);
    const bytes = data.bytes;
    let to = data.length;
    for (let i = 0; i < keyLength; i += 1) bytes[to++] = key[i]!;
    bytes.set(value, to);
    data.length = to + value.length;
  }

  branchElement(child: number, key: Uint8Array): void {
    const view = this.#elementsView;
    const at = this.#elementsBytes;
    view.setUint32(at, this.#data.length, true);
    view.setUint32(at + 4, key.length, true);
    writeUint64(view, at + 8, child);
    this.#elementsBytes += ELEMENT_BYTES;
    this.#data.write(key);
  }

  endPage(flags: number): void {
    const elementsBytes = this.#elementsBytes;
    const view = this.#elementsView;
    const offsetAt = flags === LEAF_PAGE ? 4 : 0;
    for (let at = 0; at < elementsBytes; at += ELEMENT_BYTES) {
      view.setUint32(at + offsetAt, view.getUint32(at + offsetAt, true) + elementsBytes - at, true);
    }
    const bytes = PAGE_HEADER_BYTES + elementsBytes + this.#data.length;
    const overflow = Math.ceil(bytes / PAGE_BYTES) - 1;
    this.#beginPage({ flags, count: elementsBytes / ELEMENT_BYTES, overflow });
    this.out.write(this.#elements.subarray(0, elementsBytes));
    this.out.write(this.#data.bytes.subarray(0, this.#data.length));
    this.#fillPage();
    this.#elementsBytes = 0;
    this.#data.clear();
  }

  metaPage(meta: BoltMeta): void {
    this.#beginPage({ flags: META_PAGE, count: 0, overflow: 0 });
    writeMeta(this.#outView, this.out.length, meta);
    this.out.length += META_BYTES;
    this.#fillPage();
  }

  /** The list of free pages: there are none. */
  freelistPage(): void {
    this.#beginPage({ flags: FREELIST_PAGE, count: 0, overflow: 0 });
    this.#fillPage();
  }

  #beginPage({ flags, count, overflow }: { flags: number; count: number; overflow: number }): void {
    const { out } = this;
    out.reserve((1 + overflow) * PAGE_BYTES);
    if (out.bytes.buffer !== this.#outView.buffer) this.#outView = new DataView(out.bytes.buffer);
    writePageHeader(this.#outView, out.length, { page: this.nextPage, flags, count, overflow });
    out.length += PAGE_HEADER_BYTES;
    this.nextPage += 1 + overflow;
  }

  /** Zeros up to the end of the page. Invariant: whole pages are taken from `out`, so that it has their borders. */
  #fillPage(): void {
    const { out } = this;
    const end = Math.ceil(out.length / PAGE_BYTES) * PAGE_BYTES;
    out.bytes.fill(0, out.length, end);
    out.length = end;
  }
}
