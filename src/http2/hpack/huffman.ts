import type { ByteWriter } from "../../base/byte_writer.ts";

/** The string's padding is not the most significant bits of EOS, or EOS itself occurs. A COMPRESSION_ERROR. */
export const HUFFMAN_MALFORMED = -1;

const EOS = 256;
const SYMBOLS = 257;
const PADDING_BITS_MAX = 7;

/**
 * Length in bits of each symbol's code, RFC 7541 appendix B, the last one being EOS. The code is canonical
 * (shorter codes first, equal lengths in the order of the symbols), so the lengths define it.
 */
const codeBits: readonly number[] = [
  // deno-fmt-ignore
  ...[13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28],
  // deno-fmt-ignore
  ...[28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15],
  // deno-fmt-ignore
  ...[6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6],
  // deno-fmt-ignore
  ...[15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20],
  // deno-fmt-ignore
  ...[20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23],
  // deno-fmt-ignore
  ...[24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22],
  // deno-fmt-ignore
  ...[22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27],
  // deno-fmt-ignore
  ...[24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26],
  // deno-fmt-ignore
  ...[26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30],
];

const codes = canonicalCodes();

function canonicalCodes(): Uint32Array {
  const symbols = Array.from({ length: SYMBOLS }, (_, symbol) => symbol);
  symbols.sort((a, b) => codeBits[a]! - codeBits[b]! || a - b);
  const table = new Uint32Array(SYMBOLS);
  let code = 0;
  let bits = codeBits[symbols[0]!]!;
  for (const symbol of symbols) {
    const length = codeBits[symbol]!;
    code <<= length - bits;
    bits = length;
    table[symbol] = code;
    code += 1;
  }
  return table;
}

/**
 * The decoder is an automaton that eats four bits a step. A state is an inner node of the code tree (the root
 * is 0); a transition holds the next state in its low 16 bits, and above them `EMITS` with the symbol, or `FAILS`.
 */
const EMITS = 1 << 24;
const FAILS = 1 << 25;
const transitions = new Uint32Array(256 * 16);
/** 1 for the states in which a string may end: what is left over is at most seven bits, all ones. */
const accepting = new Uint8Array(256);
buildAutomaton();

function buildAutomaton(): void {
  // Children of inner node n are at 2n and 2n + 1: an inner node's number, or ~symbol for a leaf.
  const children: number[] = [0, 0];
  for (let symbol = 0; symbol < SYMBOLS; symbol += 1) {
    let node = 0;
    for (let bit = codeBits[symbol]! - 1; bit > 0; bit -= 1) {
      const slot = node * 2 + ((codes[symbol]! >>> bit) & 1);
      if (children[slot] === 0) {
        children[slot] = children.length / 2;
        children.push(0, 0);
      }
      node = children[slot]!;
    }
    children[node * 2 + (codes[symbol]! & 1)] = ~symbol;
  }
  for (let node = 0; node < children.length / 2; node += 1) {
    for (let nibble = 0; nibble < 16; nibble += 1) {
      transitions[node * 16 + nibble] = step(children, node, nibble);
    }
  }
  let node = 0;
  for (let ones = 0; ones <= PADDING_BITS_MAX; ones += 1) {
    accepting[node] = 1;
    node = children[node * 2 + 1]!;
  }
}

function step(children: readonly number[], from: number, nibble: number): number {
  let node = from;
  let emitted = 0;
  for (let bit = 3; bit >= 0; bit -= 1) {
    const child = children[node * 2 + ((nibble >>> bit) & 1)]!;
    if (child >= 0) {
      node = child;
    } else if (~child === EOS) {
      return FAILS;
    } else {
      // The shortest code has five bits, so four bits complete at most one symbol.
      emitted = EMITS | (~child << 16);
      node = 0;
    }
  }
  return emitted | node;
}

/** Most bytes that `count` encoded ones can stand for: the shortest code has five bits. */
export function huffmanDecodedMax(count: number): number {
  return Math.floor(count * 8 / 5);
}

/**
 * Decodes `source[start, end)` to the front of `target`, which has room for `huffmanDecodedMax` bytes. Returns
 * the number of bytes, or `HUFFMAN_MALFORMED`.
 */
export function decodeHuffman(source: Uint8Array, start: number, end: number, target: Uint8Array): number {
  let state = 0;
  let length = 0;
  for (let at = start; at < end; at += 1) {
    const byte = source[at]!;
    const high = transitions[state * 16 + (byte >>> 4)]!;
    if ((high & EMITS) !== 0) target[length++] = high >>> 16;
    const low = transitions[(high & 0xffff) * 16 + (byte & 15)]!;
    if ((low & EMITS) !== 0) target[length++] = low >>> 16;
    if (((high | low) & FAILS) !== 0) return HUFFMAN_MALFORMED;
    state = low & 0xffff;
  }
  return accepting[state] === 1 ? length : HUFFMAN_MALFORMED;
}

/** Bytes that a latin-1 string takes when encoded. */
export function huffmanEncodedLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i += 1) bits += codeBits[text.charCodeAt(i) & 0xff]!;
  return Math.ceil(bits / 8);
}

/** Appends the code of a latin-1 string, padded with ones to a whole byte. */
export function encodeHuffman(out: ByteWriter, text: string): void {
  let pending = 0;
  let pendingBits = 0;
  for (let i = 0; i < text.length; i += 1) {
    const symbol = text.charCodeAt(i) & 0xff;
    // At most 7 bits are pending, and a code has at most 28: bits above the 32nd are gone already.
    let left = codeBits[symbol]!;
    while (left > 0) {
      const take = Math.min(left, 8 - pendingBits);
      left -= take;
      pending = (pending << take) | ((codes[symbol]! >>> left) & ((1 << take) - 1));
      pendingBits += take;
      if (pendingBits === 8) {
        out.byte(pending);
        pending = 0;
        pendingBits = 0;
      }
    }
  }
  if (pendingBits > 0) out.byte((pending << (8 - pendingBits)) | ((1 << (8 - pendingBits)) - 1));
}
