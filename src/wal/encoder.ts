import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { crc32c } from "../base/crc32c.ts";
import type { ConfState, Entry, HardState } from "../raft/types.ts";
import {
  CRC_TAG,
  DATA_TAG,
  FRAME_HEADER_BYTES,
  paddingAfter,
  RECORD_HEAD_BYTES_MAX,
  RecordType,
  SAVE_TAG,
  type SnapshotRecord,
  TYPE_TAG,
} from "./record.ts";

/**
 * Appends frames to one buffer and carries the CRC from record to record. Messages are written by hand,
 * byte for byte as Go writes them: the numbers of an entry and of a hard state stand there even when 0.
 */
export class RecordEncoder {
  /** Frames since the last `clear`; the memory is reused. */
  readonly frames: ByteWriter;
  /** Checksum of the data of all records up to here. */
  crc: number;
  /** The message at hand, up to the data of an entry: its checksum precedes it in the record. */
  readonly #message = new ByteWriter(64);
  #beginsSave = false;

  constructor(crc: number, capacity: number) {
    this.crc = crc;
    this.frames = new ByteWriter(capacity);
  }

  /** Marks the next record as the first of a save. */
  beginSave(): void {
    this.#beginsSave = true;
  }

  entry(entry: Entry): void {
    const message = this.#message;
    message.length = 0;
    message.byte(0x08);
    message.byte(entry.type);
    message.byte(0x10);
    message.varint(entry.term);
    message.byte(0x18);
    message.varint(entry.index);
    if (entry.data.length > 0) {
      message.byte(0x22);
      message.varint(entry.data.length);
    }
    this.#frame(RecordType.entry, entry.data);
  }

  hardState(state: HardState): void {
    const message = this.#message;
    message.length = 0;
    message.byte(0x08);
    message.varint(state.term);
    message.byte(0x10);
    message.varint64(state.vote);
    message.byte(0x18);
    message.varint(state.commit);
    this.#frame(RecordType.state, EMPTY_BYTES);
  }

  snapshot(snapshot: SnapshotRecord): void {
    const message = this.#message;
    message.length = 0;
    message.byte(0x08);
    message.varint(snapshot.index);
    message.byte(0x10);
    message.varint(snapshot.term);
    if (snapshot.confState !== undefined) {
      const confState = new ByteWriter(64);
      writeConfState(confState, snapshot.confState);
      message.byte(0x1a);
      message.varint(confState.length);
      message.write(confState.bytes.subarray(0, confState.length));
    }
    this.#frame(RecordType.snapshot, EMPTY_BYTES);
  }

  metadata(metadata: Uint8Array): void {
    this.#message.length = 0;
    this.#frame(RecordType.metadata, metadata);
  }

  /** The record that opens a segment: the checksum that the segment before it ended with. */
  previousCrc(): void {
    this.#message.length = 0;
    this.#frame(RecordType.crc, EMPTY_BYTES);
  }

  /** Frames a record whose data is what `#message` holds followed by `rest`. */
  #frame(type: RecordType, rest: Uint8Array): void {
    const message = this.#message;
    const dataLength = message.length + rest.length;
    let crc = crc32c(message.bytes, 0, message.length, this.crc);
    crc = crc32c(rest, 0, rest.length, crc);
    this.crc = crc;

    const frames = this.frames;
    frames.reserve(FRAME_HEADER_BYTES + RECORD_HEAD_BYTES_MAX + dataLength + 7);
    const start = frames.length;
    frames.length += FRAME_HEADER_BYTES;
    frames.byte(TYPE_TAG);
    frames.byte(type);
    frames.byte(CRC_TAG);
    frames.varint(crc);
    if (this.#beginsSave) {
      frames.byte(SAVE_TAG);
      frames.byte(1);
      this.#beginsSave = false;
    }
    if (dataLength > 0) {
      frames.byte(DATA_TAG);
      frames.varint(dataLength);
      for (let i = 0; i < message.length; i += 1) frames.bytes[frames.length++] = message.bytes[i]!;
      frames.write(rest);
    }
    const bytes = frames.bytes;
    const length = frames.length - start - FRAME_HEADER_BYTES;
    const padding = paddingAfter(length);
    for (let i = 0; i < padding; i += 1) frames.bytes[frames.length++] = 0;
    bytes[start] = length;
    bytes[start + 1] = length >>> 8;
    bytes[start + 2] = length >>> 16;
    bytes[start + 3] = length >>> 24;
    bytes[start + 4] = Math.floor(length / 0x1_0000_0000);
    bytes[start + 5] = 0;
    bytes[start + 6] = 0;
    bytes[start + 7] = padding === 0 ? 0 : 0x80 | padding;
  }
}

function writeConfState(writer: ByteWriter, confState: ConfState): void {
  const idsByField = [
    confState.voters,
    confState.learners,
    confState.votersOutgoing,
    confState.learnersNext,
  ];
  idsByField.forEach((ids, field) => {
    for (const id of ids) {
      writer.byte((field + 1) << 3);
      writer.varint64(id);
    }
  });
  writer.byte(0x28);
  writer.byte(confState.autoLeave ? 1 : 0);
}
