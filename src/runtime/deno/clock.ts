import { setImmediate } from "node:timers";
import type { Clock } from "../../ports/clock.ts";
import { createClock } from "../node_compat/clock.ts";

/**
 * While there is a turn to take at once, tokio, on which Deno runs, looks at the sockets after every 61 of them only
 * (`event_interval` of its runtime). The others are for what it found to be read and answered. An empty turn takes
 * one or two microseconds; a timer would take over a millisecond, and a round trip to the thread pool is not always
 * long enough for tokio to look.
 */
const TURNS = 80;

export const clock: Clock = createClock({ afterSockets });

function afterSockets(run: () => void): void {
  let turnsLeft = TURNS;
  const turn = (): void => {
    turnsLeft -= 1;
    if (turnsLeft === 0) run();
    else setImmediate(turn);
  };
  setImmediate(turn);
}
