import nodeProcess from "node:process";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Process } from "../../ports/process.ts";
import { createProcess } from "../node_compat/process.ts";

export const process: Process = {
  ...createProcess("node"),
  exit(code) {
    collectGarbage();
    return nodeProcess.exit(code);
  },
};

/**
 * BEFORE the process exits. V8 compiles on threads of its own, and one that finds the heap at its limit waits
 * for the main thread to collect; exit() joins those threads and collects nothing, so that a process that is
 * still compiling, as each is that has just started, may wait for ever (issue 54918 of nodejs/node). A full
 * collection serves those that wait, and makes room for the others.
 */
function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}
