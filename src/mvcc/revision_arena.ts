import { assert } from "../base/assert.ts";

/** A cell is three 32-bit words: two of payload and the number of the next cell of its chain, 0 at the end. */
const CELL_WORDS = 3;
const NEXT_WORD = 2;
const CHUNK_SHIFT = 15;
const CHUNK_CELLS = 1 << CHUNK_SHIFT;
const CHUNK_MASK = CHUNK_CELLS - 1;

/**
 * Cells of 12 bytes in chains. Cell numbers start at 1. A whole chain is freed in one step: freed chains
 * form a list through the first payload word of their first cells, and `push` takes cells from the first
 * chain one by one. So freeing costs the same for one cell as for a million.
 */
export class RevisionArena {
  readonly #chunks: Int32Array[] = [];
  #cellsEnd = 1;
  #freeChain = 0;

  /** Puts a cell in front of the chain `next` (0 for an empty one) and returns its number. */
  push(next: number, first: number, second: number): number {
    let cell = this.#freeChain;
    if (cell !== 0) this.#takeFree(cell);
    else {
      cell = this.#cellsEnd;
      assert(cell < 0x7fff_ffff, "Cannot store more than 2^31 - 1 revision cells");
      if (cell >>> CHUNK_SHIFT >= this.#chunks.length) {
        this.#chunks.push(new Int32Array(CHUNK_CELLS * CELL_WORDS));
      }
      this.#cellsEnd += 1;
    }
    const words = this.#chunks[cell >>> CHUNK_SHIFT]!;
    const base = (cell & CHUNK_MASK) * CELL_WORDS;
    words[base] = first;
    words[base + 1] = second;
    words[base + NEXT_WORD] = next;
    return cell;
  }

  first(cell: number): number {
    return this.#chunks[cell >>> CHUNK_SHIFT]![(cell & CHUNK_MASK) * CELL_WORDS]!;
  }

  second(cell: number): number {
    return this.#chunks[cell >>> CHUNK_SHIFT]![(cell & CHUNK_MASK) * CELL_WORDS + 1]!;
  }

  next(cell: number): number {
    return this.#chunks[cell >>> CHUNK_SHIFT]![(cell & CHUNK_MASK) * CELL_WORDS + NEXT_WORD]!;
  }

  /** Ends a chain at `cell` and frees what followed. */
  cutAfter(cell: number): void {
    const at = (cell & CHUNK_MASK) * CELL_WORDS + NEXT_WORD;
    const words = this.#chunks[cell >>> CHUNK_SHIFT]!;
    this.freeChain(words[at]!);
    words[at] = 0;
  }

  /** Frees a chain from its first cell (0 for an empty chain). */
  freeChain(cell: number): void {
    if (cell === 0) return;
    this.#chunks[cell >>> CHUNK_SHIFT]![(cell & CHUNK_MASK) * CELL_WORDS] = this.#freeChain;
    this.#freeChain = cell;
  }

  get memoryBytes(): number {
    return this.#chunks.length * CHUNK_CELLS * CELL_WORDS * 4;
  }

  /** Removes the first cell of the first free chain. */
  #takeFree(cell: number): void {
    const chainAfter = this.first(cell);
    const rest = this.next(cell);
    if (rest === 0) this.#freeChain = chainAfter;
    else {
      this.#chunks[rest >>> CHUNK_SHIFT]![(rest & CHUNK_MASK) * CELL_WORDS] = chainAfter;
      this.#freeChain = rest;
    }
  }
}
