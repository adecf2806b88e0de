import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import { crc32c } from "../../src/base/crc32c.ts";
import { Prng } from "../../src/base/prng.ts";
import type { RaftIndex, Term } from "../../src/base/units.ts";
import { WalError } from "../../src/wal/decoder.ts";
import { RecordEncoder } from "../../src/wal/encoder.ts";
import { newestSnapshot } from "../../src/wal/replay.ts";
import { listSegments } from "../../src/wal/segment.ts";
import { createWal, type OpenedWal, openWal, type WalOptions } from "../../src/wal/wal.ts";
import { CrashFiles } from "../harness/crash_files.ts";
import {
  applySave,
  BEGINNING,
  CONF_STATE,
  describe,
  DIR,
  EMPTY_LOG,
  entry,
  type LogContent,
  MEMBER,
  METADATA,
  PARENT,
  state,
} from "./scenario.ts";

const OPTIONS: WalOptions = { segmentBytes: 2048 };
const FIRST = `${DIR}/0000000000000000-0000000000000000.wal`;

/** Opens a copy of the disk in which the file holds these bytes. */
function openPlanted(files: CrashFiles, path: string, bytes: Uint8Array, options = OPTIONS): OpenedWal {
  const planted = files.afterExit();
  planted.plant(path, bytes);
  return openWal(planted, DIR, BEGINNING, options);
}

/** The content, or the error's kind; anything but a `WalError` that names the place is a fault of ours. */
function outcome(open: () => OpenedWal, path: string): string {
  try {
    return describe(open());
  } catch (error) {
    assert.ok(error instanceof WalError, String(error));
    assert.ok(error.file.startsWith(DIR) && error.offset >= 0 && error.message.includes(error.file), path);
    return error.kind;
  }
}

/** A log of several saves, all acknowledged. */
async function smallLog(files: CrashFiles, saves: number): Promise<LogContent> {
  files.makeDirectory(PARENT);
  const wal = createWal(files, DIR, METADATA, OPTIONS);
  let content = EMPTY_LOG;
  for (let i = 1; i <= saves; i += 1) {
    const last = content.entries.length;
    const entries = [
      entry(last + 1, i < 4 ? 2 : 3, "ab".repeat(i * 7), i === 2 ? 1 : 0),
      entry(last + 2, 3, ""),
    ];
    const save = { entries, hardState: i % 3 === 2 ? undefined : state(3, last, i === 4 ? 0n : MEMBER) };
    await wal.save(save.hardState, save.entries, { sync: true });
    content = applySave(content, save);
    if (i === 3) await wal.saveSnapshot({ index: 2 as RaftIndex, term: 2 as Term, confState: CONF_STATE });
  }
  await wal.close();
  return content;
}

test("openWal gives the right log or refuses it when any one bit is flipped", async () => {
  const files = new CrashFiles();
  const content = await smallLog(files, 16);
  const expected = describe(content);
  const segments = listSegments(files, DIR);
  assert.equal(segments.length, 2);
  let refused = 0;
  for (const { path } of segments) {
    const bytes = files.read(path, 1 << 20);
    // Bytes in the preallocated rest are all alike.
    const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
    for (let bit = 0; bit < Math.min(bytes.length, used + 600) * 8; bit += 1) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const found = outcome(() => openPlanted(files, path, damaged), path);
      if (found !== expected) {
        assert.ok(!found.includes("\n"), `bit ${bit} of ${path} gives another log:\n${found}`);
        refused += 1;
      }
    }
  }
  assert.ok(refused > 10_000, `${refused} flips were noticed`);
});

test("openWal never gives another log when bytes are damaged at random", async () => {
  const files = new CrashFiles();
  const content = await smallLog(files, 14);
  const [, ...expected] = describe(content).split("\n");
  const prng = new Prng(7);
  for (let round = 0; round < 20_000; round += 1) {
    const { path } = listSegments(files, DIR)[prng.below(2)]!;
    const bytes = files.read(path, 1 << 20);
    const used = bytes.findLastIndex((byte) => byte !== 0) + 1;
    let damaged = bytes.slice();
    const at = prng.below(used);
    const length = Math.min(1 + prng.below(prng.chance(0.5) ? 16 : 700), damaged.length - at);
    switch (prng.below(5)) {
      case 0:
        damaged.fill(0, at, at + length);
        break;
      case 1:
        for (let i = at; i < at + length; i += 1) damaged[i] = prng.below(256);
        break;
      case 2:
        damaged = damaged.slice(0, at);
        break;
      case 3:
        damaged.copyWithin(at, prng.below(used), used);
        break;
      default:
        damaged.fill(0xff, at, at + length);
    }
    const found = outcome(() => openPlanted(files, path, damaged), path);
    if (!found.includes("\n")) continue;
    const [head, ...rest] = found.split("\n");
    // A zeroed end looks like a save cut short, so the log may lose its end, but nothing else.
    assert.deepEqual(rest, expected.slice(0, rest.length), `round ${round}`);
    const commit = Number(head!.split("/")[2] ?? 0);
    assert.ok(rest.length >= commit, `round ${round} lost committed entries`);
  }
});

test("openWal cuts a torn save, keeps what was there beside it and goes on", async () => {
  const files = new CrashFiles();
  const content = await smallLog(files, 4);
  const { wal } = openWal(files, DIR, BEGINNING, OPTIONS);
  const before = files.read(FIRST, 1 << 20);
  await wal.save(undefined, [entry(9, 3, "torn".repeat(300))], { sync: true });
  await wal.close();
  const bytes = files.read(FIRST, 1 << 20);
  // The second sector of the record was never written.
  const end = before.findLastIndex((byte) => byte !== 0);
  const sector = Math.ceil(end / 512) * 512;
  bytes.fill(0, sector, sector + 512);
  files.plant(FIRST, bytes);

  const lines: string[] = [];
  const log = {
    enabled: () => true,
    debug() {},
    error() {},
    info() {},
    warn: (line: string) => void lines.push(line),
  };
  const opened = openWal(files, DIR, BEGINNING, { ...OPTIONS, log });
  assert.equal(describe(opened), describe(content));
  assert.deepEqual(lines, ["found a torn record at the end of the WAL"]);
  assert.deepEqual(files.read(`${FIRST}.broken`, 1 << 20), bytes);
  assert.deepEqual(files.read(FIRST, 1 << 20).subarray(0, 2048), before.subarray(0, 2048));
  await opened.wal.save(undefined, [entry(9, 3, "again")], { sync: true });
  await opened.wal.close();
  const again = openWal(files, DIR, BEGINNING, OPTIONS);
  assert.equal(
    describe(again),
    describe(applySave(content, { hardState: undefined, entries: [entry(9, 3, "again")] })),
  );
});

test("openWal refuses what looks torn when a later save or the commit index shows that it was durable", async () => {
  const files = new CrashFiles();
  await smallLog(files, 4);
  const { wal } = openWal(files, DIR, BEGINNING, { segmentBytes: 8192 });
  await wal.save(undefined, [entry(9, 3, "v".repeat(1500))], { sync: true });
  const withoutLater = files.read(FIRST, 1 << 20);
  await wal.save(state(3, 9), [], { sync: true });
  await wal.close();
  const bytes = files.read(FIRST, 1 << 20);
  const zeroed = (source: Uint8Array): Uint8Array => source.slice().fill(0, 1024, 1536);
  assert.ok(
    openPlanted(files, FIRST, zeroed(withoutLater)).entries.length === 8,
    "the last save may be torn",
  );
  assert.throws(() => openPlanted(files, FIRST, zeroed(bytes)), { kind: "crc mismatch", file: FIRST });

  // The same with the state gone that followed, but an earlier one that has the entry committed.
  const encoder = new RecordEncoder(0, 64);
  encoder.previousCrc();
  encoder.metadata(METADATA);
  encoder.snapshot({ ...BEGINNING, confState: undefined });
  encoder.entry(entry(1, 1));
  encoder.hardState(state(1, 2));
  const early = segment(encoder);
  assert.throws(() => openPlanted(files, FIRST, early), { kind: "entries missing" });
});

function segment(encoder: RecordEncoder, sizeBytes = 4096): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  bytes.set(encoder.frames.toBytes());
  return bytes;
}

function headOf(metadata = METADATA): RecordEncoder {
  const encoder = new RecordEncoder(0, 256);
  encoder.previousCrc();
  encoder.metadata(metadata);
  encoder.snapshot({ ...BEGINNING, confState: undefined });
  return encoder;
}

test("openWal names the kind, file and offset of what it refuses", () => {
  const cases: {
    readonly name: string;
    readonly kind: string;
    readonly build: () => [Uint8Array, number];
  }[] = [
    {
      name: "a length of 2^56 - 8",
      kind: "corrupt",
      build: () => {
        const encoder = headOf();
        const at = encoder.frames.length;
        encoder.frames.write(Uint8Array.of(0xf8, 255, 255, 255, 255, 255, 255, 0, 8, 2, 16, 1, 26, 1, 7, 7));
        return [segment(encoder), at];
      },
    },
    {
      name: "a length past the file, with the record's own length agreeing",
      kind: "corrupt",
      build: () => {
        const encoder = headOf();
        encoder.entry(entry(1, 1));
        const at = encoder.frames.length;
        encoder.frames.write(Uint8Array.of(0x00, 0, 0, 0, 1, 0, 0, 0));
        encoder.frames.write(Uint8Array.of(8, 2, 16, 1, 0x1a, 0xf6, 0xff, 0xff, 0xff, 0x0f));
        encoder.beginSave();
        const filler = encoder.frames;
        while (filler.length % 8 !== 0) filler.byte(7);
        encoder.entry(entry(2, 1));
        return [segment(encoder), at];
      },
    },
    {
      name: "an unknown record type",
      kind: "unknown record",
      build: () => {
        const encoder = headOf();
        const at = encoder.frames.length;
        encoder.entry(entry(1, 1));
        encoder.frames.bytes[at + 9] = 6;
        return [segment(encoder), at];
      },
    },
    {
      name: "an index jump",
      kind: "entries missing",
      build: () => {
        const encoder = headOf();
        encoder.entry(entry(1, 1));
        const at = encoder.frames.length;
        encoder.entry(entry(3, 1));
        return [segment(encoder), at];
      },
    },
    {
      name: "an entry that replaces a committed one",
      kind: "corrupt",
      build: () => {
        const encoder = headOf();
        encoder.entry(entry(1, 1));
        encoder.hardState(state(1, 1));
        const at = encoder.frames.length;
        encoder.entry(entry(1, 2));
        return [segment(encoder), at];
      },
    },
    {
      name: "a term that goes back",
      kind: "corrupt",
      build: () => {
        const encoder = headOf();
        encoder.hardState(state(2, 0));
        const at = encoder.frames.length;
        encoder.hardState(state(1, 0));
        return [segment(encoder), at];
      },
    },
    {
      name: "a hard state of term 0, as an entry looks when its type is damaged",
      kind: "corrupt",
      build: () => {
        const encoder = headOf();
        const at = encoder.frames.length;
        encoder.hardState(state(0, 0, 5n));
        return [segment(encoder), at];
      },
    },
    {
      name: "an entry of term 0, as a hard state looks when its type is damaged",
      kind: "corrupt",
      build: () => {
        const encoder = headOf();
        const at = encoder.frames.length;
        encoder.entry(entry(1, 0));
        return [segment(encoder), at];
      },
    },
    {
      name: "metadata of another member",
      kind: "metadata conflict",
      build: () => {
        const encoder = headOf();
        const at = encoder.frames.length;
        encoder.metadata(new TextEncoder().encode("another member"));
        return [segment(encoder), at];
      },
    },
    {
      name: "an entry whose message ends inside a field, with the right checksum",
      kind: "corrupt",
      build: () => {
        const encoder = headOf();
        const at = encoder.frames.length;
        const message = Uint8Array.of(0x08, 0, 0x10, 1, 0x18, 1, 0x22, 100, 1);
        const crc = crc32c(message, 0, message.length, encoder.crc);
        const record = new ByteWriter();
        record.write(Uint8Array.of(8, 2, 16));
        record.varint(crc);
        record.write(Uint8Array.of(26, message.length));
        record.write(message);
        const padding = (8 - (record.length % 8)) % 8;
        encoder.frames.write(
          Uint8Array.of(record.length, 0, 0, 0, 0, 0, 0, padding === 0 ? 0 : 0x80 | padding),
        );
        encoder.frames.write(record.toBytes());
        encoder.frames.write(new Uint8Array(padding));
        return [segment(encoder), at];
      },
    },
    {
      name: "a head that does not begin with a checksum",
      kind: "corrupt",
      build: () => {
        const encoder = new RecordEncoder(0, 64);
        encoder.metadata(METADATA);
        return [segment(encoder), 0];
      },
    },
    { name: "nothing but zeros", kind: "corrupt", build: () => [new Uint8Array(4096), 0] },
    { name: "an empty file", kind: "corrupt", build: () => [new Uint8Array(0), 0] },
  ];
  const files = new CrashFiles();
  files.makeDirectory(DIR);
  for (const { name, kind, build } of cases) {
    const [bytes, offset] = build();
    const before = bytes.slice();
    const planted = files.afterExit();
    planted.plant(FIRST, bytes);
    assert.throws(
      () => openWal(planted, DIR, BEGINNING),
      { name: "WalError", kind, file: FIRST, offset },
      name,
    );
    assert.deepEqual(planted.read(FIRST, 1 << 20), before, `${name}: the file is as it was`);
    assert.deepEqual(planted.list(DIR).length, 1, name);
  }
});

test("openWal refuses a segment that is missing or does not continue the one before it", async () => {
  const files = new CrashFiles();
  await smallLog(files, 30);
  const [first, second, third] = listSegments(files, DIR);
  const without = files.afterExit();
  without.remove(second!.path);
  assert.throws(() => openWal(without, DIR, BEGINNING), { kind: "not found", file: third!.path });

  const shorter = files.afterExit();
  const bytes = files.read(first!.path, 1 << 20);
  shorter.plant(first!.path, bytes.subarray(0, lastFrameOf(bytes)));
  assert.throws(() => openWal(shorter, DIR, BEGINNING), {
    kind: "crc mismatch",
    file: second!.path,
    offset: 0,
  });
});

/** Offset of the last frame in a segment that is full. */
function lastFrameOf(bytes: Uint8Array): number {
  let at = 0;
  for (let next = 0; next < bytes.length;) {
    at = next;
    next = at + 8 + Math.ceil((bytes[at]! | (bytes[at + 1]! << 8)) / 8) * 8;
  }
  return at;
}

test("openWal reads logs that etcd 3.7.1 wrote, and the encoder writes the same bytes", () => {
  const member = fixture("etcd_member");
  const opened = openWal(member, DIR, BEGINNING, OPTIONS);
  assert.equal(opened.hardState?.commit, 10);
  assert.deepEqual(opened.entries.map((e) => `${e.index}/${e.term}/${e.type}/${e.data.length}`).slice(0, 2), [
    "1/1/1/92",
    "2/2/0/0",
  ]);
  const text = opened.entries.map((e) => new TextDecoder().decode(e.data)).join();
  for (const word of ["http://127.0.0.1:23981", "key1", "value5"]) assert.ok(text.includes(word), word);

  const segments = fixture("etcd_segments");
  const names = listSegments(segments, DIR);
  assert.equal(names.length, 4);
  const all = openWal(segments.afterExit(), DIR, BEGINNING, OPTIONS);
  assert.deepEqual(all.hardState, state(2, 19, 0x1234567890abcdefn));
  assert.deepEqual(all.entries.map((e) => e.index), Array.from({ length: 20 }, (_, i) => i + 1));
  assert.deepEqual(
    all.entries.slice(11, 14).map((e) => [e.term, new TextDecoder().decode(e.data).slice(0, 16)]),
    [
      [1, "entry 12, term 1"],
      [2, "entry 13, term 2"],
      [2, "entry 14, term 2"],
    ],
  );
  const taken = newestSnapshot(segments, DIR, 10);
  assert.deepEqual(taken, {
    index: 10 as RaftIndex,
    term: 1 as Term,
    confState: { voters: [1n, 2n, 3n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
  });
  const later = openWal(segments.afterExit(), DIR, taken!, OPTIONS);
  assert.deepEqual(later.entries, all.entries.slice(10));

  const encoder = new RecordEncoder(0, 256);
  encoder.previousCrc();
  encoder.metadata(all.metadata);
  encoder.snapshot({ ...BEGINNING, confState: undefined });
  for (const e of all.entries.slice(0, 7)) {
    encoder.entry(e);
    encoder.hardState(state(1, e.index - 1, 0x1234567890abcdefn));
  }
  assert.deepEqual(encoder.frames.toBytes(), segments.read(names[0]!.path, 1 << 20));
});

test("openWal gives the log of etcd or refuses it when any one byte is damaged", () => {
  const files = fixture("etcd_segments");
  const expected = describe(openWal(files.afterExit(), DIR, BEGINNING, OPTIONS));
  for (const { path } of listSegments(files, DIR)) {
    const bytes = files.read(path, 1 << 20);
    for (let at = 0; at < bytes.findLastIndex((byte) => byte !== 0); at += 1) {
      const damaged = bytes.slice();
      damaged[at]! ^= 0xff;
      const found = outcome(() => openPlanted(files, path, damaged), path);
      assert.ok(
        found === expected || !found.includes("\n"),
        `byte ${at} of ${path} gives another log:\n${found}`,
      );
    }
  }
});

/** A log from the testdata on a disk in memory. */
function fixture(name: string): CrashFiles {
  const files = new CrashFiles();
  files.makeDirectory(DIR);
  const source = new URL(`testdata/${name}/`, import.meta.url);
  for (const file of readdirSync(source)) {
    if (file.endsWith(".wal")) {
      files.plant(`${DIR}/${file}`, new Uint8Array(readFileSync(new URL(file, source))));
    }
  }
  return files;
}
