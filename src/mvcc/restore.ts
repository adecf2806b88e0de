import { EtcdError } from "../base/errors.ts";
import type { Backend } from "./backend.ts";
import type { KeyIndex } from "./key_index_api.ts";
import type { KeyLeases } from "./key_leases.ts";
import { KeyValueReader } from "./key_value.ts";

/** Rebuilds the index and the leases' keys from the backend, slice by slice, at start-up. */
export class Restorer {
  readonly #backend: Backend;
  readonly #index: KeyIndex;
  readonly #leases: KeyLeases;
  readonly #reader = new KeyValueReader();
  readonly #next = { main: 0, sub: 0 };
  /** Keys whose newest put has a lease, by a text with one character per byte. */
  readonly #leased = new Map<string, { readonly key: Uint8Array; readonly lease: bigint }>();
  #lastMain = 0;
  #records = 0;

  constructor(backend: Backend, index: KeyIndex, leases: KeyLeases) {
    this.#backend = backend;
    this.#index = index;
    this.#leases = leases;
  }

  /** Records read so far. */
  get records(): number {
    return this.#records;
  }

  /** Main revision of the newest record, 0 when there is none. Complete only after the last slice. */
  get lastMain(): number {
    return this.#lastMain;
  }

  /** Reads at most `recordsMax` records; true when all are read. Throws `corrupt`. */
  slice(recordsMax: number): boolean {
    let visited = 0;
    this.#backend.scanRevisions(this.#next, recordsMax, (main, sub, tombstone, keyValue) => {
      visited += 1;
      this.#record(main, sub, tombstone, keyValue);
      return true;
    });
    this.#records += visited;
    if (visited === recordsMax) return false;
    for (const { key, lease } of this.#leased.values()) this.#leases.attach(lease, key);
    this.#leased.clear();
    return true;
  }

  #record(main: number, sub: number, tombstone: boolean, keyValue: Uint8Array): void {
    const reader = this.#reader.read(keyValue);
    const { key, lease } = reader;
    if (main < this.#lastMain) {
      throw new EtcdError("corrupt", `Revision ${main} is stored after revision ${this.#lastMain}`);
    }
    this.#lastMain = main;
    this.#next.main = main;
    this.#next.sub = sub + 1;
    if (tombstone) this.#index.restoreTombstone(key, main, sub);
    // Which sub revision created a key is not stored and nobody asks for it.
    else this.#index.restore(key, main, sub, reader.createMain, 0, reader.version, keyValue.length);
    if (lease !== 0n) this.#leased.set(keyText(key), { key: key.slice(), lease });
    else if (this.#leased.size > 0) this.#leased.delete(keyText(key));
  }
}

function keyText(key: Uint8Array): string {
  let text = "";
  for (let at = 0; at < key.length; at += 4096) text += String.fromCharCode(...key.subarray(at, at + 4096));
  return text;
}
