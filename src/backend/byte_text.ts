/** Most characters that one call of `String.fromCharCode` is given: engines limit argument counts. */
const CHARACTERS_PER_CALL = 4096;

/** A string with one code unit per byte: a map key whose order is the byte order. */
export function textFromBytes(bytes: Uint8Array): string {
  if (bytes.length <= CHARACTERS_PER_CALL) return String.fromCharCode(...bytes);
  let text = "";
  for (let at = 0; at < bytes.length; at += CHARACTERS_PER_CALL) {
    text += String.fromCharCode(...bytes.subarray(at, at + CHARACTERS_PER_CALL));
  }
  return text;
}

/** The bytes that `textFromBytes` was given. */
export function bytesFromText(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  return bytes;
}
