import type { Runtime } from "../ports/runtime.ts";

/** Loads the adapter of the runtime that this is. No other place asks. */
export async function loadRuntime(): Promise<Runtime> {
  if ("Bun" in globalThis) return (await import("./bun/mod.ts")).runtime;
  if ("Deno" in globalThis) return (await import("./deno/mod.ts")).runtime;
  return (await import("./node/mod.ts")).runtime;
}
