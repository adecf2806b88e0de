/** Bytes that one call of `fromCharCode` takes as arguments, well below what any engine allows. */
const CHUNK_BYTES = 4096;

/**
 * Bytes as a string of the characters U+0000 to U+00FF, one per byte: for maps keyed by bytes. Such strings
 * compare (`<`, `===`) as the bytes do, and engines store them in one byte per character.
 */
export function binaryString(bytes: Uint8Array): string {
  if (bytes.length <= CHUNK_BYTES) return characters(bytes);
  let text = "";
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
    text += characters(bytes.subarray(at, at + CHUNK_BYTES));
  }
  return text;
}

function characters(bytes: Uint8Array): string {
  return String.fromCharCode.apply(null, bytes as unknown as number[]);
}

/** The bytes that `binaryString` was given. */
export function bytesOfBinaryString(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}
