import { assert } from "../../base/assert.ts";
import { ByteWriter } from "../../base/byte_writer.ts";
import type { HeaderField } from "../api.ts";
import { encodeField, encodeIndexed, encodeInsertion } from "./encoder.ts";
import { ENTRY_OVERHEAD_BYTES, staticTable, TABLE_BYTES_DEFAULT } from "./table.ts";

/** The state of a peer's table that holds none of the repeated fields yet. */
export const TABLE_EMPTY = 0;
/** The state of a peer's table that is not used: its owner has made it smaller than it is by default. */
export const TABLE_UNUSED = -1;

/** What a block looks like for a table in one state, and the state it leaves behind. */
interface BlockForm {
  readonly bytes: Uint8Array;
  readonly state: number;
}

/** A header block that recurs: on a connection's second use it is an octet or two for each field. */
export class RepeatedBlock {
  readonly #plain: BlockForm;
  /** By the state of the table. */
  readonly #forms: readonly BlockForm[];

  /** For `RepeatedFields.block`. */
  constructor(plain: Uint8Array, forms: readonly BlockForm[]) {
    this.#plain = { bytes: plain, state: TABLE_UNUSED };
    this.#forms = forms;
  }

  formFor(state: number): BlockForm {
    return state === TABLE_UNUSED ? this.#plain : this.#forms[state]!;
  }
}

/**
 * The fields that every answer of a server repeats, in the one order in which they enter a peer's dynamic table.
 * Nothing else ever does, so that a table is known by how many of them it holds, and a block is encoded once for
 * each such state and not for each connection.
 *
 * Example: of [a, b], a block of b alone is a literal while the table is empty, since a comes first; a block of a
 * inserts it. With a in the table (state 1) that block is index 62, and b's inserts b; from then on (state 2) they
 * are the indices 63 and 62.
 */
export class RepeatedFields {
  readonly #fields: readonly HeaderField[];

  constructor(fields: readonly HeaderField[]) {
    let bytes = 0;
    for (const [name, value] of fields) bytes += name.length + value.length + ENTRY_OVERHEAD_BYTES;
    assert(bytes <= TABLE_BYTES_DEFAULT, "Repeated fields of % octets would evict each other", bytes);
    this.#fields = fields;
  }

  /** A block of some of the fields, and of others that are written out each time. */
  block(fields: readonly HeaderField[]): RepeatedBlock {
    const plain = new ByteWriter();
    for (const field of fields) encodeField(plain, field);
    const forms = Array.from({ length: this.#fields.length + 1 }, (_, state) => this.#form(fields, state));
    return new RepeatedBlock(plain.toBytes(), forms);
  }

  #form(fields: readonly HeaderField[], before: number): BlockForm {
    const out = new ByteWriter();
    let state = before;
    for (const field of fields) {
      const at = this.#fields.findIndex(([name, value]) => name === field[0] && value === field[1]);
      if (at >= 0 && at < state) {
        // The newest entry has the first index after the static table.
        encodeIndexed(out, staticTable.length + state - at);
      } else if (at >= 0 && at === state) {
        encodeInsertion(out, field);
        state += 1;
      } else {
        encodeField(out, field);
      }
    }
    return { bytes: out.toBytes(), state };
  }
}
