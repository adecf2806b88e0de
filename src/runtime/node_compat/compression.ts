import { gunzipSync, gzipSync } from "node:zlib";
import type { Compression } from "../../ports/compression.ts";

export const compression: Compression = {
  gzip: (bytes) => gzipSync(bytes),
  gunzip(bytes, outputBytesMax) {
    try {
      // A limit of 0 would be refused; one byte more than the limit tells "too large" from "just fits".
      const output = gunzipSync(bytes, { maxOutputLength: outputBytesMax + 1 });
      return output.length > outputBytesMax ? "too large" : output;
    } catch (error) {
      return isOverrun(error) ? "too large" : "malformed";
    }
  },
};

function isOverrun(error: unknown): boolean {
  const code = (error as { code?: unknown }).code;
  return code === "ERR_BUFFER_TOO_LARGE" || error instanceof RangeError;
}
