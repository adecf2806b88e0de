/** Most characters that one call of `String.fromCharCode` is given: engines limit argument counts. */
const CHARACTERS_PER_CALL = 4096;

/** A key as a string of one character per byte: a map key whose order is the order of the bytes. */
export function keyText(key: Uint8Array): string {
  if (key.length <= CHARACTERS_PER_CALL) return String.fromCharCode(...key);
  let text = "";
  for (let at = 0; at < key.length; at += CHARACTERS_PER_CALL) {
    text += String.fromCharCode(...key.subarray(at, at + CHARACTERS_PER_CALL));
  }
  return text;
}

/** The key that `keyText` was given. */
export function keyOfText(text: string): Uint8Array {
  const key = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) key[at] = text.charCodeAt(at);
  return key;
}
