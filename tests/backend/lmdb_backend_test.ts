import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { LmdbBackend } from "../../src/backend/lmdb_backend.ts";
import { clock } from "../../src/runtime/node_compat/clock.ts";
import { files } from "../../src/runtime/node_compat/files.ts";
import { backendSuite } from "./backend_suite.ts";

backendSuite("LmdbBackend", () => {
  const directory = mkdtempSync(`${tmpdir()}/backend-`);
  const backend = new LmdbBackend({
    directory,
    files,
    clock,
    onFatal: (error) => {
      throw error;
    },
  });
  return Promise.resolve({
    backend,
    close: async () => {
      await backend.close();
      rmSync(directory, { recursive: true });
    },
  });
});
