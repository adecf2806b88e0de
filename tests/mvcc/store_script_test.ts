import { test } from "node:test";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { runScript, scriptsUnder } from "../harness/datadriven.ts";
import { ModelKeyIndex } from "../harness/model_key_index.ts";
import { StoreScript } from "../harness/store_script.ts";

const indexes = {
  model: () => new ModelKeyIndex(),
  arena: () => new ArenaKeyIndex(new Uint8Array(8)),
};

for (const script of scriptsUnder("tests/mvcc/testdata")) {
  for (const [name, newIndex] of Object.entries(indexes)) {
    test(`mvcc script: ${script.name} (${name} index)`, () => {
      const store = new StoreScript(new MemoryBackend(), newIndex);
      runScript(script, (command) => store.run(command));
    });
  }
}
