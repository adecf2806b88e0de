import { randomFillSync } from "node:crypto";
import type { Entropy } from "../../ports/entropy.ts";

/** The kernel's generator, through the runtime's TLS library. */
export const entropy: Entropy = {
  fill(bytes) {
    randomFillSync(bytes);
  },
};
