import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { ConfChangeError } from "./conf_change.ts";
import {
  type ConfChange,
  type ConfChangeSingle,
  ConfChangeTransition,
  ConfChangeType,
  type ConfChangeV2,
  type Entry,
  EntryType,
} from "./types.ts";

// raftpb's messages, by field number. They are proto2, where a field that was set is written even when it
// holds its default, so that the type of a change is always there and an id of 0 is not.
//   ConfChange        1 id        2 type     3 node_id  4 context
//   ConfChangeSingle  1 type      2 node_id
//   ConfChangeV2      1 transition  2 changes  3 context
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;
/** More changes in one entry than any cluster has members. */
const CHANGES_MAX = 1024;

/** raftpb.ConfChange. */
export function encodeConfChange(change: ConfChange): Uint8Array {
  const out = new ByteWriter(32 + change.context.length);
  if (change.id !== 0n) writeVarint(out, 1, change.id);
  writeVarint(out, 2, BigInt(change.type));
  writeVarint(out, 3, change.nodeId);
  if (change.context.length > 0) writeBytes(out, 4, change.context);
  return out.toBytes();
}

/** raftpb.ConfChangeV2. The change that only leaves a joint configuration has no bytes. */
export function encodeConfChangeV2(change: ConfChangeV2): Uint8Array {
  const out = new ByteWriter(32 + change.context.length);
  if (change.transition !== ConfChangeTransition.auto) writeVarint(out, 1, BigInt(change.transition));
  for (const single of change.changes) {
    const inner = new ByteWriter(16);
    writeVarint(inner, 1, BigInt(single.type));
    writeVarint(inner, 2, single.nodeId);
    writeBytes(out, 2, inner.toBytes());
  }
  if (change.context.length > 0) writeBytes(out, 3, change.context);
  return out.toBytes();
}

/** Throws `ConfChangeError` when the bytes are not a raftpb.ConfChange. */
export function decodeConfChange(bytes: Uint8Array): ConfChange {
  let id = 0n;
  let type: ConfChangeType = ConfChangeType.addVoter;
  let nodeId = 0n;
  let context = EMPTY_BYTES;
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) id = numberIn(field);
    else if (field.number === 2) type = changeTypeIn(field);
    else if (field.number === 3) nodeId = numberIn(field);
    else if (field.number === 4) context = bytesIn(field);
  }
  return { id, type, nodeId, context };
}

/** Throws `ConfChangeError` when the bytes are not a raftpb.ConfChangeV2. */
export function decodeConfChangeV2(bytes: Uint8Array): ConfChangeV2 {
  let transition: ConfChangeTransition = ConfChangeTransition.auto;
  const changes: ConfChangeSingle[] = [];
  let context = EMPTY_BYTES;
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) transition = transitionIn(field);
    else if (field.number === 2) changes.push(decodeSingle(bytesIn(field)));
    else if (field.number === 3) context = bytesIn(field);
    if (changes.length > CHANGES_MAX) throw new ConfChangeError(`more than ${CHANGES_MAX} changes`);
  }
  return { transition, changes, context };
}

/** The change that an entry of either kind carries, in the general form. */
export function confChangeOf(entry: Pick<Entry, "type" | "data">): ConfChangeV2 {
  if (entry.type === EntryType.confChangeV2) return decodeConfChangeV2(entry.data);
  return asV2(decodeConfChange(entry.data));
}

/** The same change in the general form. */
export function asV2(change: ConfChange): ConfChangeV2 {
  return {
    transition: ConfChangeTransition.auto,
    changes: [{ type: change.type, nodeId: change.nodeId }],
    context: change.context,
  };
}

function decodeSingle(bytes: Uint8Array): ConfChangeSingle {
  let type: ConfChangeType = ConfChangeType.addVoter;
  let nodeId = 0n;
  for (const field of fieldsOf(bytes)) {
    if (field.number === 1) type = changeTypeIn(field);
    else if (field.number === 2) nodeId = numberIn(field);
  }
  return { type, nodeId };
}

function writeVarint(out: ByteWriter, number: number, value: bigint): void {
  out.varint((number << 3) | VARINT);
  out.varint64(value);
}

function writeBytes(out: ByteWriter, number: number, value: Uint8Array): void {
  out.varint((number << 3) | BYTES);
  out.varint(value.length);
  out.write(value);
}

interface Field {
  readonly number: number;
  readonly value: bigint | Uint8Array;
}

function numberIn(field: Field): bigint {
  if (typeof field.value === "bigint") return field.value;
  throw new ConfChangeError(`field ${field.number} is not a number`);
}

function bytesIn(field: Field): Uint8Array {
  if (typeof field.value !== "bigint") return field.value;
  throw new ConfChangeError(`field ${field.number} is not bytes`);
}

function changeTypeIn(field: Field): ConfChangeType {
  const value = Number(numberIn(field));
  for (const type of Object.values(ConfChangeType)) {
    if (type === value) return type;
  }
  throw new ConfChangeError(`unexpected conf type ${value}`);
}

function transitionIn(field: Field): ConfChangeTransition {
  const value = Number(numberIn(field));
  for (const transition of Object.values(ConfChangeTransition)) {
    if (transition === value) return transition;
  }
  throw new ConfChangeError(`unexpected transition ${value}`);
}

/** Splits a protobuf message into its varint and bytes fields; skips those of other kinds. */
function fieldsOf(bytes: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new ConfChangeError("unexpected end of a conf change");
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return BigInt.asUintN(64, value);
    }
    throw new ConfChangeError("a number of more than 10 bytes in a conf change");
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const number = Math.floor(tag / 8);
    const kind = tag % 8;
    if (number === 0) throw new ConfChangeError("field number 0 in a conf change");
    if (kind === VARINT) {
      fields.push({ number, value: varint() });
    } else if (kind === BYTES) {
      const length = Number(varint());
      if (length > bytes.length - at) throw new ConfChangeError("unexpected end of a conf change");
      fields.push({ number, value: bytes.subarray(at, at + length) });
      at += length;
    } else if (kind === FIXED64 || kind === FIXED32) {
      at += kind === FIXED64 ? 8 : 4;
      if (at > bytes.length) throw new ConfChangeError("unexpected end of a conf change");
    } else {
      throw new ConfChangeError(`wire type ${kind} in a conf change`);
    }
  }
  return fields;
}
