import { spawn } from "node:child_process";
import { join } from "node:path";

/** A driver that takes longer is ended, and the run fails. */
const DRIVER_MS_MAX = 300_000;
/** All drivers run on the same runtime, whatever they measure. */
const DRIVER_RUNTIME = join("node_modules", ".bin", "bun");

/**
 * Runs a load driver of `driver/` in a process of its own, to its end; gives what it printed, which is
 * JSON. Throws when it failed: drivers check the replies that they get.
 */
export function runDriver<T>(script: string, args: readonly (string | number)[]): Promise<T> {
  const child = spawn(DRIVER_RUNTIME, [join(import.meta.dirname, "driver", script), ...args.map(String)], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: DRIVER_MS_MAX,
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => output += text);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status, signal) => {
      if (status === 0) resolve(JSON.parse(output) as T);
      else reject(new Error(`${script} ${args.join(" ")} ended with ${signal ?? `exit status ${status}`}`));
    });
  });
}
