import { assert } from "../../src/base/assert.ts";
import type { KeyIndex, StoredKeyValue } from "../../src/mvcc/key_index_api.ts";

interface ModelRevision {
  readonly main: number;
  readonly sub: number;
  bytes?: number;
}

/** A run of puts; `tombstone` is the delete that ended it. `versionFirst` is the version of `puts[0]`. */
interface Generation {
  readonly createMain: number;
  versionFirst: number;
  readonly puts: ModelRevision[];
  tombstone: ModelRevision | undefined;
}

interface ModelKey {
  readonly slot: number;
  readonly text: string;
  readonly bytes: Uint8Array;
  readonly generations: Generation[];
}

/**
 * A key index to test against: an object per key, a sorted array for order, every answer by walking. It
 * says what `KeyIndex` means in the plainest way and is far too slow for a server.
 */
export class ModelKeyIndex implements KeyIndex {
  hitMain = 0;
  hitSub = 0;
  hitCreateMain = 0;
  hitVersion = 0;
  hitBytes = 0;
  resumeSlot = -1;

  readonly #keys = new Map<string, ModelKey>();
  readonly #slots = new Map<number, ModelKey>();
  /** Texts of all keys in order. A text has one character per byte, so its order is byte order. */
  readonly #sorted: string[] = [];
  #nextSlot = 0;
  #visits = 0;
  #compactMain = -1;
  #compactQueue: ModelKey[] | undefined;

  find(key: Uint8Array): number {
    return this.#keys.get(keyText(key))?.slot ?? -1;
  }

  put(key: Uint8Array, main: number, sub: number): number {
    assert(this.#visits === 0, "Cannot change a key index during a visit");
    const known = this.#keys.get(keyText(key)) ?? this.#add(key);
    const generation = known.generations.at(-1);
    if (generation !== undefined && generation.tombstone === undefined) generation.puts.push({ main, sub });
    else {
      known.generations.push({
        createMain: main,
        versionFirst: 1,
        puts: [{ main, sub }],
        tombstone: undefined,
      });
    }
    return known.slot;
  }

  setBytes(slot: number, bytes: number): void {
    this.#generation(slot).puts.at(-1)!.bytes = bytes;
  }

  tombstone(key: Uint8Array, main: number, sub: number): boolean {
    assert(this.#visits === 0, "Cannot change a key index during a visit");
    const generation = this.#keys.get(keyText(key))?.generations.at(-1);
    if (generation === undefined || generation.tombstone !== undefined) return false;
    generation.tombstone = { main, sub };
    return true;
  }

  tombstoneRange(
    start: Uint8Array,
    end: Uint8Array | undefined,
    main: number,
    sub: number,
    visit: (slot: number) => void,
  ): number {
    const slots: number[] = [];
    this.visit(start, end, Infinity, (slot) => slots.push(slot) > 0);
    for (const [i, slot] of slots.entries()) {
      visit(slot);
      this.tombstone(this.#slots.get(slot)!.bytes, main, sub + i);
    }
    return slots.length;
  }

  restore(put: StoredKeyValue, main: number, sub: number): void {
    const { createMain, version, length: bytes } = put;
    const key = keyOf(put);
    const known = this.#keys.get(keyText(key)) ?? this.#add(key);
    const generation = known.generations.at(-1);
    if (
      generation !== undefined && generation.tombstone === undefined &&
      generation.createMain === createMain && generation.versionFirst + generation.puts.length === version
    ) generation.puts.push({ main, sub, bytes });
    else {
      known.generations.push({
        createMain,
        versionFirst: version,
        puts: [{ main, sub, bytes }],
        tombstone: undefined,
      });
    }
  }

  restoreTombstone(tombstone: StoredKeyValue, main: number, sub: number): void {
    const key = keyOf(tombstone);
    if (this.tombstone(key, main, sub)) return;
    const known = this.#keys.get(keyText(key)) ?? this.#add(key);
    known.generations.push({ createMain: 0, versionFirst: 1, puts: [], tombstone: { main, sub } });
  }

  restoredSlice(_keysMax: number): boolean {
    return true;
  }

  seek(key: Uint8Array, atMain: number): boolean {
    const known = this.#keys.get(keyText(key));
    return known !== undefined && this.#seekKey(known, atMain);
  }

  count(start: Uint8Array, end: Uint8Array | undefined, atMain: number, looksMax = Infinity): number {
    let count = 0;
    this.visit(start, end, atMain, () => {
      count += 1;
      return true;
    }, looksMax);
    return count;
  }

  visit(
    start: Uint8Array,
    end: Uint8Array | undefined,
    atMain: number,
    visit: (slot: number) => boolean,
    looksMax = Infinity,
  ): void {
    const startText = keyText(start);
    const endText = end === undefined ? undefined : keyText(end);
    let stoppedAt = -1;
    let looksLeft = looksMax;
    this.#visits += 1;
    try {
      for (let i = this.#lowerBound(startText); i < this.#sorted.length; i += 1) {
        const text = this.#sorted[i]!;
        if (endText !== undefined && text >= endText) return;
        const known = this.#keys.get(text)!;
        if (looksLeft <= 0) {
          stoppedAt = known.slot;
          return;
        }
        looksLeft -= 1;
        if (this.#seekKey(known, atMain) && !visit(known.slot)) return;
      }
    } finally {
      this.resumeSlot = stoppedAt;
      this.#visits -= 1;
    }
  }

  keyBytes(slot: number): Uint8Array {
    return this.#key(slot).bytes.slice();
  }

  createMain(slot: number): number {
    return this.#generation(slot).createMain;
  }

  version(slot: number): number {
    const generation = this.#generation(slot);
    return generation.versionFirst + generation.puts.length - 1;
  }

  modMain(slot: number): number {
    return this.#generation(slot).puts.at(-1)!.main;
  }

  modSub(slot: number): number {
    return this.#generation(slot).puts.at(-1)!.sub;
  }

  isLive(slot: number): boolean {
    return this.#generation(slot).tombstone === undefined;
  }

  compactSlice(atMain: number, keysMax: number, keep: (main: number, sub: number) => void): boolean {
    assert(this.#visits === 0, "Cannot change a key index during a visit");
    if (this.#compactQueue === undefined || this.#compactMain !== atMain) {
      this.#compactMain = atMain;
      this.#compactQueue = [...this.#keys.values()];
    }
    for (let i = 0; i < keysMax; i += 1) {
      const known = this.#compactQueue.pop();
      if (known === undefined) break;
      this.#compactKey(known, atMain, keep);
    }
    if (this.#compactQueue.length > 0) return false;
    this.#compactQueue = undefined;
    return true;
  }

  keepAt(atMain: number, keep: (main: number, sub: number) => void): void {
    for (const known of this.#keys.values()) {
      if (this.#seekKey(known, atMain)) keep(this.hitMain, this.hitSub);
    }
  }

  get keyCount(): number {
    return this.#keys.size;
  }

  get liveCount(): number {
    let count = 0;
    for (const known of this.#keys.values()) {
      if (known.generations.at(-1)!.tombstone === undefined) count += 1;
    }
    return count;
  }

  /** A rough figure: the model does not manage its memory. */
  get memoryBytes(): number {
    return this.#keys.size * 1000;
  }

  #key(slot: number): ModelKey {
    const known = this.#slots.get(slot);
    assert(known !== undefined, `No key has slot ${slot}`);
    return known;
  }

  #generation(slot: number): Generation {
    return this.#key(slot).generations.at(-1)!;
  }

  #add(key: Uint8Array): ModelKey {
    const known: ModelKey = {
      slot: this.#nextSlot++,
      text: keyText(key),
      bytes: Uint8Array.from(key),
      generations: [],
    };
    this.#keys.set(known.text, known);
    this.#slots.set(known.slot, known);
    this.#sorted.splice(this.#lowerBound(known.text), 0, known.text);
    return known;
  }

  #remove(known: ModelKey): void {
    this.#keys.delete(known.text);
    this.#slots.delete(known.slot);
    this.#sorted.splice(this.#lowerBound(known.text), 1);
  }

  #seekKey(known: ModelKey, atMain: number): boolean {
    for (const generation of known.generations.toReversed()) {
      if (generation.tombstone !== undefined && generation.tombstone.main <= atMain) return false;
      for (let i = generation.puts.length - 1; i >= 0; i -= 1) {
        const put = generation.puts[i]!;
        if (put.main > atMain) continue;
        this.hitMain = put.main;
        this.hitSub = put.sub;
        this.hitCreateMain = generation.createMain;
        this.hitVersion = generation.versionFirst + i;
        const isNewest = generation === known.generations.at(-1) && generation.tombstone === undefined &&
          i === generation.puts.length - 1;
        this.hitBytes = isNewest ? put.bytes ?? 0 : 0;
        return true;
      }
    }
    return false;
  }

  #compactKey(known: ModelKey, atMain: number, keep: (main: number, sub: number) => void): void {
    const generations = known.generations;
    // Generations that ended before atMain go, and so does one that ended at atMain when the key was
    // created again at atMain.
    while (generations.length > 0) {
      const end = generations[0]!.tombstone;
      if (end === undefined || end.main > atMain) break;
      const next = generations[1];
      const first = next === undefined ? undefined : next.puts[0] ?? next.tombstone;
      if (end.main === atMain && (first === undefined || first.main > atMain)) break;
      generations.shift();
    }
    const oldest = generations[0];
    if (oldest === undefined) return this.#remove(known);
    if (oldest.tombstone !== undefined && oldest.tombstone.main <= atMain) {
      oldest.versionFirst += oldest.puts.length;
      oldest.puts.length = 0;
      keep(oldest.tombstone.main, oldest.tombstone.sub);
      return;
    }
    let newest = -1;
    while (newest + 1 < oldest.puts.length && oldest.puts[newest + 1]!.main <= atMain) newest += 1;
    if (newest < 0) return;
    oldest.versionFirst += newest;
    oldest.puts.splice(0, newest);
    keep(oldest.puts[0]!.main, oldest.puts[0]!.sub);
  }

  #lowerBound(text: string): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle]! < text) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function keyOf({ bytes, keyStart, keyEnd }: StoredKeyValue): Uint8Array {
  return bytes.slice(keyStart, keyEnd);
}

function keyText(key: Uint8Array): string {
  let text = "";
  for (let at = 0; at < key.length; at += 8192) {
    text += String.fromCharCode(...key.subarray(at, at + 8192));
  }
  return text;
}
