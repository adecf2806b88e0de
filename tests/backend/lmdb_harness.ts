import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { LmdbBackend, type LmdbBackendOptions } from "../../src/backend/lmdb_backend.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";

const { files, clock, linkNative } = await loadRuntime();

export function throwFatal(error: Error): never {
  throw error;
}

export function openLmdb(directory: string, options: Partial<LmdbBackendOptions> = {}): LmdbBackend {
  return new LmdbBackend({ directory, files, clock, linkNative, onFatal: throwFatal, ...options });
}

/** Runs a test body with a directory of its own. */
export async function inDirectory(body: (directory: string) => Promise<void> | void): Promise<void> {
  const directory = mkdtempSync(`${tmpdir()}/backend-`);
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The command line that runs a script on the runtime of the tests. */
export function runtimeCommand(script: string): [command: string, ...args: string[]] {
  const isDeno = "Deno" in globalThis;
  return isDeno ? [process.execPath, "run", "-A", "--no-check", script] : [process.execPath, script];
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
