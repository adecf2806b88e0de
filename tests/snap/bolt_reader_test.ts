import assert from "node:assert/strict";
import { test } from "node:test";
import { concatBytes, utf8 } from "../../src/base/bytes.ts";
import { Prng } from "../../src/base/prng.ts";
import { BRANCH_PAGE, BUCKET_ELEMENT, LEAF_PAGE } from "../../src/snap/bolt_format.ts";
import { PageWriter } from "../../src/snap/bolt_pages.ts";
import { BoltError, BoltReader } from "../../src/snap/bolt_reader.ts";
import { type Buckets, fileOf, readBolt, writeBolt } from "./support.ts";

const PAGE = 4096;
const FUZZ_ROUNDS = 3000;

/** A bucket with two levels of branches, one with values over several pages, a single leaf, and an empty one. */
const buckets: Buckets = new Map([
  ["a", Array.from({ length: 60 }, (_, i) => record(`${i + 10}${"k".repeat(500)}`, "value"))],
  ["b", Array.from({ length: 3 }, (_, i) => record(`${i}`, "v".repeat(10_000)))],
  ["c", [record("1", "one"), record("2", "two")]],
  ["d", []],
]);
const intact = writeBolt(buckets);
const rootPage = intact.length / PAGE - 1;

/** What is wrong with a file, how the intact one becomes it, and what the error says. */
const damages: readonly (readonly [name: string, damage: (file: Draft) => void, message: RegExp])[] = [
  ["an empty file", (file) => file.truncate(0), /^db: at byte 0: the file ends before its meta page does$/],
  [
    "a file that ends early",
    (file) => file.truncate(PAGE * rootPage),
    /^db: at byte 0: .* the file ends at byte/,
  ],
  ["no bbolt file", (file) => file.bytes.fill(7), /^db: at byte 0: no bbolt magic but 7070707$/],
  ["another version", (file) => {
    file.view.setUint32(16 + 4, 3, true);
    file.truncate(PAGE);
  }, /^db: at byte 0: version 3 of the format/],
  ["damaged meta pages", (file) => {
    for (const page of [0, 1]) file.view.setUint8(page * PAGE + 16 + 40, 0xff);
  }, /^db: at byte 0: wrong checksum of the meta page$/],
  ["a page with another's number", (file) => {
    file.view.setUint32(rootPage * PAGE, 4, true);
  }, /page \d+: the page says that it is page 4$/],
  ["a page number past 2^53", (file) => {
    file.view.setUint32(rootPage * PAGE + 4, 0xffffffff, true);
  }, /page \d+: the page says that it is page 184467440\d+$/],
  ["a page of a wrong kind", (file) => file.view.setUint16(rootPage * PAGE + 8, 0x10, true), /flags 16$/],
  [
    "more elements than fit",
    (file) => file.view.setUint16(rootPage * PAGE + 10, 300, true),
    /300 elements in 4096/,
  ],
  ["a page that runs over the end", (file) => {
    file.view.setUint32(rootPage * PAGE + 12, 1, true);
  }, /the page runs over 1 more, past the last one$/],
  [
    "a record outside of all buckets",
    (file) => file.view.setUint32(rootPage * PAGE + 16, 0, true),
    /outside of all/,
  ],
  ["a bucket without its header", (file) => {
    file.view.setUint32(rootPage * PAGE + 16 + 12, 15, true);
  }, /a bucket of 15 bytes$/],
  ["an element outside of its page", (file) => {
    file.view.setUint32(rootPage * PAGE + 16 + 4, 5000, true);
  }, /element 0 is not inside of its page$/],
  ["an element in the header of its page", (file) => {
    file.view.setUint32(rootPage * PAGE + 16 + 4, 16, true);
  }, /element 0 is not inside of its page$/],
  [
    "an empty key",
    (file) => file.view.setUint32(rootPage * PAGE + 16 + 8, 0, true),
    /element 0 has an empty key$/,
  ],
  ["a root that does not exist", (file) => {
    file.view.setUint32(rootPage * PAGE + 16 + 4 * 16 + 1, 1000, true);
  }, /page \d+: it leads to page 1000 of \d+$/],
  ["a root that is a meta page", (file) => {
    file.view.setUint32(rootPage * PAGE + 16 + 4 * 16 + 1, 1, true);
  }, /page \d+: it leads to page 1 of \d+$/],
  ["two buckets of the same pages", (file) => {
    const rootOfA = file.view.getUint32(rootPage * PAGE + 16 + 4 * 16 + 1, true);
    file.view.setUint32(rootPage * PAGE + 16 + 4 * 16 + 1 + 17, rootOfA, true);
  }, /the page is in two buckets$/],
  ["a branch that leads to itself", (file) => {
    const branch = file.pagesOfKind(1)[0]!;
    file.view.setUint32(branch * PAGE + 16 + 8, branch, true);
  }, /the page is in the tree twice$/],
  ["a branch without children", (file) => {
    file.view.setUint16(file.pagesOfKind(1)[0]! * PAGE + 10, 0, true);
  }, /a branch without children$/],
  ["children in a wrong order", (file) => {
    const at = file.pagesOfKind(1)[0]! * PAGE + 16 + 8;
    const [first, second] = [file.view.getUint32(at, true), file.view.getUint32(at + 16, true)];
    file.view.setUint32(at, second, true);
    file.view.setUint32(at + 16, first, true);
  }, /element 1 is not past what is to the left of it$/],
  ["a page whose records begin before its key", (file) => {
    const at = file.pagesOfKind(1)[0]! * PAGE + 16;
    file.bytes[at + file.view.getUint32(at, true) + 1] = 0x35; // The key "10k…" becomes "15k…".
  }, /page 3: element 0 is before the key of page \d+ for it$/],
  ["a page whose records begin before those of the page before", (file) => {
    file.bytes[4 * PAGE + 16 + 7 * 16 + 1] = 0x30; // "17k…" becomes "10k…".
  }, /page 4: element 0 is not past the one before it$/],
  ["records in a wrong order", (file) => {
    file.bytes[3 * PAGE + 16 + 7 * 16] = 0x39;
  }, /element 1 is not past the one before it$/],
  ["a bucket in a bucket", (file) => {
    file.view.setUint32(3 * PAGE + 16, BUCKET_ELEMENT, true);
  }, /flags 1 of a record of bucket "a"$/],
];

for (const [name, damage, message] of damages) {
  test(`BoltReader refuses ${name}`, () => {
    const draft = new Draft(intact);
    damage(draft);
    assert.throws(() => readBolt(draft.bytes), (error) => {
      assert.ok(error instanceof BoltError, String(error));
      assert.match(error.message, message);
      return true;
    });
  });
}

test("BoltReader goes by the meta page that is whole, and by the later one of two", () => {
  const content = readBolt(intact);
  for (const page of [0, 1]) {
    const draft = new Draft(intact);
    draft.view.setUint8(page * PAGE + 16 + 60, draft.view.getUint8(page * PAGE + 16 + 60) ^ 1);
    assert.deepEqual(readBolt(draft.bytes), content);
    assert.equal(new BoltReader(fileOf(draft.bytes), "db").meta.transaction, page === 0 ? 1 : 2);
  }
  assert.equal(new BoltReader(fileOf(intact), "db").meta.transaction, 2);
  const pages = new PageWriter(0);
  const meta = { pageBytes: PAGE, rootPage: 3, freelistPage: 2, pageCount: 4 };
  for (const transaction of [8, 9]) pages.metaPage({ ...meta, transaction });
  pages.freelistPage();
  pages.endPage(LEAF_PAGE);
  assert.equal(new BoltReader(fileOf(pages.out.toBytes()), "db").meta.transaction, 9);
});

test("BoltReader refuses a tree that is too deep", () => {
  for (const branches of [64, 65]) {
    const pages = new PageWriter(0);
    const meta = { pageBytes: PAGE, rootPage: 3 + branches, freelistPage: 2, pageCount: 4 + branches };
    for (const transaction of [2, 1]) pages.metaPage({ ...meta, transaction });
    pages.freelistPage();
    pages.leafElement(BUCKET_ELEMENT, utf8("in"), 2, inlineBucket((page) => page));
    pages.endPage(LEAF_PAGE);
    for (let child = 3; child < meta.rootPage; child += 1) {
      pages.branchElement(child, utf8("in"));
      pages.endPage(BRANCH_PAGE);
    }
    if (branches === 64) assert.equal(readBolt(pages.out.toBytes()).get("in")!.length, 2);
    else assert.throws(() => readBolt(pages.out.toBytes()), /page 4: more than 64 levels of pages$/);
  }
});

test("BoltReader refuses more than 1000 buckets", () => {
  const names = Array.from({ length: 1001 }, (_, i) => `${1000 + i}`);
  const file = writeBolt(new Map(names.map((name) => [name, []])));
  assert.throws(() => readBolt(file), /more than 1000 buckets$/);
  assert.equal(readBolt(writeBolt(new Map(names.slice(1).map((name) => [name, []])))).size, 1000);
});

test("BoltReader leaves what follows the database alone", () => {
  const file = concatBytes([intact, new Uint8Array(32)]);
  assert.deepEqual(readBolt(file), readBolt(intact));
  assert.equal(new BoltReader(fileOf(file), "db").sizeBytes, intact.length);
});

test("BoltReader has no records of a bucket that is not there", () => {
  const reader = new BoltReader(fileOf(intact), "db");
  assert.deepEqual(reader.bucketNames, ["a", "b", "c", "d"]);
  assert.deepEqual([...reader.records("e")], []);
  assert.deepEqual([...reader.records("d")], []);
});

test("BoltReader reads a bucket again, and two at a time", () => {
  const reader = new BoltReader(fileOf(intact), "db");
  const [first, second, other] = [reader.records("a"), reader.records("a"), reader.records("b")];
  for (const expected of buckets.get("a")!) {
    assert.deepEqual(first.next().value, expected);
    other.next();
    assert.deepEqual(second.next().value, expected);
  }
});

test("BoltReader reads inline buckets", () => {
  const file = fileWithInlineBucket((page) => page);
  assert.deepEqual(readBolt(file), new Map([["in", [record("k1", "v1"), record("k2", "")]]]));
});

test("BoltReader refuses damaged inline buckets", () => {
  const cases: readonly (readonly [(page: Uint8Array) => Uint8Array, RegExp])[] = [
    [(page) => page.subarray(0, 15), /an inline bucket of 15 bytes$/],
    [(page) => page.subarray(0, 40), /2 elements in 40 bytes$/],
    [(page) => page.subarray(0, 52), /element 1 is not inside of its page$/],
    [(page) => page.map((byte, i) => i === 8 ? 1 : byte), /an inline bucket that is no leaf$/],
  ];
  for (const [damage, message] of cases) assert.throws(() => readBolt(fileWithInlineBucket(damage)), message);
});

test("BoltReader comes to an end, or to a BoltError, whatever the bytes", () => {
  let refused = 0;
  for (let seed = 1; seed <= FUZZ_ROUNDS; seed += 1) {
    const bytes = damaged(new Prng(seed));
    try {
      readBolt(bytes);
    } catch (error) {
      assert.ok(error instanceof BoltError, `seed ${seed}: ${(error as Error).stack}`);
      assert.ok(error.offset >= 0 && error.offset <= intact.length, `seed ${seed}: ${error.message}`);
      refused += 1;
    }
  }
  assert.ok(refused > FUZZ_ROUNDS / 4, `only ${refused} files were refused`);
});

/** A copy of a file to be damaged. */
class Draft {
  bytes: Uint8Array;
  readonly view: DataView;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes.slice();
    this.view = new DataView(this.bytes.buffer);
  }

  truncate(sizeBytes: number): void {
    this.bytes = this.bytes.subarray(0, sizeBytes);
  }

  /** Numbers of the pages with these flags. */
  pagesOfKind(flags: number): number[] {
    const pages: number[] = [];
    for (let page = 0; page < this.bytes.length / PAGE;) {
      if (this.view.getUint16(page * PAGE + 8, true) === flags) pages.push(page);
      page += 1 + this.view.getUint32(page * PAGE + 12, true);
    }
    return pages;
  }
}

function record(key: string, value: string): { readonly key: Uint8Array; readonly value: Uint8Array } {
  return { key: utf8(key), value: utf8(value) };
}

/** The value of a bucket that has its only page, as `change` makes it, inside. */
function inlineBucket(change: (page: Uint8Array) => Uint8Array): Uint8Array {
  const inline = new PageWriter(0);
  inline.leafElement(0, utf8("k1"), 2, utf8("v1"));
  inline.leafElement(0, utf8("k2"), 2, new Uint8Array(0));
  inline.endPage(LEAF_PAGE);
  return concatBytes([new Uint8Array(16), change(inline.out.bytes.slice(0, 16 + 2 * 16 + 6))]);
}

/** A file whose bucket "in" has its only page, as `change` makes it, within the tree of buckets. */
function fileWithInlineBucket(change: (page: Uint8Array) => Uint8Array): Uint8Array {
  const pages = new PageWriter(0);
  const meta = { pageBytes: PAGE, rootPage: 3, freelistPage: 2, pageCount: 4 };
  pages.metaPage({ ...meta, transaction: 2 });
  pages.metaPage({ ...meta, transaction: 1 });
  pages.freelistPage();
  pages.leafElement(BUCKET_ELEMENT, utf8("in"), 2, inlineBucket(change));
  pages.endPage(LEAF_PAGE);
  return pages.out.toBytes();
}

/** The intact file with a few bytes, numbers or pages that are wrong. */
function damaged(prng: Prng): Uint8Array {
  const draft = new Draft(intact);
  const pages = intact.length / PAGE;
  for (let left = 1 + prng.below(3); left > 0; left -= 1) {
    // Mostly in headers, elements and the first keys: elsewhere it would only change a value.
    const at = PAGE * (2 + prng.below(pages - 2)) + (prng.chance(0.9) ? prng.below(200) : prng.below(PAGE));
    switch (prng.below(5)) {
      case 0:
        draft.bytes[at] = prng.below(256);
        break;
      case 1:
        draft.bytes[at]! ^= 1 << prng.below(8);
        break;
      case 2:
        draft.view.setUint32(
          at - at % 4,
          [0, 1, 0xffff, 0x7fffffff, 0xffffffff, prng.below(100)][prng.below(6)]!,
          true,
        );
        break;
      case 3:
        draft.bytes.copyWithin(
          PAGE * (2 + prng.below(pages - 2)),
          PAGE * prng.below(pages),
          PAGE * prng.below(pages),
        );
        break;
      case 4:
        draft.bytes.fill(prng.below(256), at, at + prng.below(100));
        break;
    }
  }
  if (prng.chance(0.02)) draft.truncate(prng.below(intact.length));
  return draft.bytes;
}
