/** Bytes of a revision key in bucket "key": 8 of main, "_", 8 of sub, and a "t" more for a tombstone. */
export const REVISION_KEY_BYTES = 17;
export const TOMBSTONE_KEY_BYTES = 18;

const UNDERSCORE = 0x5f;
const TOMBSTONE_MARK = 0x74;
const TWO_POW_32 = 0x1_0000_0000;

/** Writes etcd's revision key (big endian, so that byte order is revision order); returns its length. */
export function writeRevisionKey(target: Uint8Array, main: number, sub: number, tombstone: boolean): number {
  writeUint64(target, 0, main);
  target[8] = UNDERSCORE;
  writeUint64(target, 9, sub);
  if (!tombstone) return REVISION_KEY_BYTES;
  target[17] = TOMBSTONE_MARK;
  return TOMBSTONE_KEY_BYTES;
}

export function revisionKey(main: number, sub: number, tombstone = false): Uint8Array {
  const key = new Uint8Array(tombstone ? TOMBSTONE_KEY_BYTES : REVISION_KEY_BYTES);
  writeRevisionKey(key, main, sub, tombstone);
  return key;
}

/** The main revision of a key that begins at `start`. */
export function revisionKeyMain(key: Uint8Array, start = 0): number {
  return readUint64(key, start);
}

export function revisionKeySub(key: Uint8Array, start = 0): number {
  return readUint64(key, start + 9);
}

export function isTombstoneKey(key: Uint8Array): boolean {
  return key.length === TOMBSTONE_KEY_BYTES;
}

function writeUint64(target: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / TWO_POW_32);
  const low = value >>> 0;
  target[at] = high >>> 24;
  target[at + 1] = high >>> 16;
  target[at + 2] = high >>> 8;
  target[at + 3] = high;
  target[at + 4] = low >>> 24;
  target[at + 5] = low >>> 16;
  target[at + 6] = low >>> 8;
  target[at + 7] = low;
}

function readUint64(source: Uint8Array, at: number): number {
  const high = ((source[at]! << 24) | (source[at + 1]! << 16) | (source[at + 2]! << 8) | source[at + 3]!) >>>
    0;
  const low =
    ((source[at + 4]! << 24) | (source[at + 5]! << 16) | (source[at + 6]! << 8) | source[at + 7]!) >>> 0;
  return high * TWO_POW_32 + low;
}
