/** gzip, as the outside supplies it. Sizes are small (a request), so the calls are synchronous. */
export interface Compression {
  gzip(bytes: Uint8Array): Uint8Array;
  /** Stops as soon as the output passes `outputBytesMax`. */
  gunzip(bytes: Uint8Array, outputBytesMax: number): Uint8Array | "too large" | "malformed";
}
