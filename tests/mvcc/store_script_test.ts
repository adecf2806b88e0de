import { test } from "node:test";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { runScript, scriptsUnder } from "../harness/datadriven.ts";
import { ModelKeyIndex } from "../harness/model_key_index.ts";
import { StoreScript } from "../harness/store_script.ts";

for (const script of scriptsUnder("tests/mvcc/testdata")) {
  test(`mvcc script: ${script.name}`, () => {
    const store = new StoreScript(new MemoryBackend(), () => new ModelKeyIndex());
    runScript(script, (command) => store.run(command));
  });
}
