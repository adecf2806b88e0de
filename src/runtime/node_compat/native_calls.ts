import type { LinkNative } from "../../ports/native_calls.ts";

/** V8 calls through Node-API without garbage, so nothing is to be gained. */
export const linkNative: LinkNative = () => undefined;
