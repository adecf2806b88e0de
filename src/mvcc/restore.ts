import { EtcdError } from "../base/errors.ts";
import type { Backend, StoredRevisions, StoredVisit } from "./backend.ts";
import type { KeyIndex } from "./key_index_api.ts";
import type { KeyLeases } from "./key_leases.ts";
import { KeyValueReader } from "./key_value.ts";

/** Rebuilds the index and the leases' keys from the backend, slice by slice, at start-up. */
export class Restorer {
  readonly #stored: StoredRevisions;
  readonly #index: KeyIndex;
  readonly #leases: KeyLeases;
  readonly #reader = new KeyValueReader();
  /** Keys whose newest put has a lease, by a text with one character per byte. */
  readonly #leased = new Map<string, { readonly key: Uint8Array; readonly lease: bigint }>();
  readonly #visit: StoredVisit;
  #lastMain = 0;
  #records = 0;
  #areAllRead = false;

  constructor(backend: Backend, index: KeyIndex, leases: KeyLeases) {
    this.#stored = backend.storedRevisions();
    this.#index = index;
    this.#leases = leases;
    this.#visit = (main, sub, tombstone, bytes, start, end) => {
      this.#record(main, sub, tombstone, this.#reader.read(bytes, start, end));
    };
  }

  /** Records read so far. */
  get records(): number {
    return this.#records;
  }

  /** Main revision of the newest record, 0 when there is none. Complete only after the last slice. */
  get lastMain(): number {
    return this.#lastMain;
  }

  /** Reads, or puts in order, about `recordsMax` records; true when all is done. Throws `corrupt`. */
  slice(recordsMax: number): boolean {
    if (!this.#areAllRead) {
      this.#areAllRead = !this.#stored.next(recordsMax, this.#visit);
      return false;
    }
    if (!this.#index.restoredSlice(recordsMax)) return false;
    for (const { key, lease } of this.#leased.values()) this.#leases.attach(lease, key);
    this.#leased.clear();
    return true;
  }

  #record(main: number, sub: number, tombstone: boolean, keyValue: KeyValueReader): void {
    if (main < this.#lastMain) {
      throw new EtcdError("corrupt", `Revision ${main} is stored after revision ${this.#lastMain}`);
    }
    this.#lastMain = main;
    this.#records += 1;
    if (tombstone) this.#index.restoreTombstone(keyValue, main, sub);
    else this.#index.restore(keyValue, main, sub);
    if (keyValue.lease !== 0n) {
      const key = keyValue.key.slice();
      this.#leased.set(keyText(key), { key, lease: keyValue.lease });
    } else if (this.#leased.size > 0) this.#leased.delete(keyText(keyValue.key));
  }
}

function keyText(key: Uint8Array): string {
  let text = "";
  for (let at = 0; at < key.length; at += 4096) text += String.fromCharCode(...key.subarray(at, at + 4096));
  return text;
}
