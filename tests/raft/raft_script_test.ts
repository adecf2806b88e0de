import { test } from "node:test";
import { runScript, scriptsUnder } from "../harness/datadriven.ts";
import { ScriptedCluster } from "../harness/scripted_cluster.ts";

for (const script of scriptsUnder("tests/raft/testdata")) {
  test(`raft script: ${script.name}`, () => {
    const cluster = new ScriptedCluster();
    runScript(script, (command) => cluster.run(command));
  });
}
