/** Hashes that identify things, as the outside supplies them. */
export interface Digest {
  sha1(bytes: Uint8Array): Uint8Array;
  sha256(bytes: Uint8Array): Uint8Array;
  /** A hash fed in pieces; `finish` may be called once. */
  sha256Stream(): { update(bytes: Uint8Array): void; finish(): Uint8Array };
}
