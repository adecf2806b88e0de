/** Programs that a test runs to their end. */
import type { ChildProcess } from "node:child_process";
import { WAIT_MS_MAX, within } from "./deadline.ts";

export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
}

/**
 * Resolves when a program has ended and all that it printed has come. One that goes on is killed, and the wait
 * fails with what `printed` tells. To be called before the first wait for anything else.
 */
export async function endOf(
  child: ChildProcess,
  what: string,
  printed: () => string,
  timeoutMs = WAIT_MS_MAX,
): Promise<Ended> {
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
  try {
    return await within(`the end of ${what}`, ended, printed, timeoutMs);
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}
