/** Randomness, as the outside supplies it. */
export interface Entropy {
  /** Fills with bytes fit for secrets and ids. */
  fill(bytes: Uint8Array): void;
}
