import { createHash } from "node:crypto";
import type { Digest } from "../../ports/digest.ts";

export const digest: Digest = {
  sha1: (bytes) => createHash("sha1").update(bytes).digest(),
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  sha256Stream() {
    const hash = createHash("sha256");
    return { update: (bytes) => void hash.update(bytes), finish: () => hash.digest() };
  },
};
