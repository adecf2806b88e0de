import type { PutResult } from "./driver/puts.ts";
import type { SnapshotResult } from "./driver/snapshot.ts";
import { runDriver } from "./run_driver.ts";
import { RunningSubject, sleep, type Subject, withDataDir } from "./subject.ts";
import type { Recorder } from "./suite.ts";
import { loadKeys } from "./workloads.ts";

const SNAPSHOT = "Snapshot of 1 GB under puts at half load, s";
const KEYS = 1_000_000;
const VALUE_BYTES = 1000;
const PUT_VALUE_BYTES = 256;
const MOST_SECONDS = 5;
const IDLE_SECONDS = 8;
/** Puts go on for this long after the snapshot has begun, and for as long as it takes in steps of this. */
const STEP_SECONDS = 4;
const SETTLE_MS = 3_000;
const MEMORY_POLL_MS = 20;

/**
 * Half of the puts per second that etcd in Go took with 100 in flight: all subjects are loaded alike. Without
 * it, half of what the first subject took.
 */
let halfLoad: number | undefined;

/** A snapshot while clients write: how long it takes, what it costs, what the clients notice. */
export async function measureSnapshot(subject: Subject, recorder: Recorder): Promise<void> {
  if (recorder.keys === 0 || !recorder.wants(SNAPSHOT)) return;
  await withDataDir(async (dataDir) => {
    const server = await RunningSubject.start(subject, dataDir);
    const puts = (...args: (string | number)[]): Promise<PutResult> =>
      runDriver<PutResult>("puts.ts", [server.port, ...args]);
    try {
      await loadKeys(server.port, "/bench/snapshot/", KEYS, VALUE_BYTES);
      const most = await puts("most", MOST_SECONDS, PUT_VALUE_BYTES);
      halfLoad ??= most.perSecond / 2;
      await sleep(SETTLE_MS);
      const idleMemory = watchMemory(server);
      const idle = await puts("paced", IDLE_SECONDS, PUT_VALUE_BYTES, halfLoad);
      const { peak: idlePeak } = idleMemory.stop();
      const memory = watchMemory(server);
      let isOver = false;
      const cpuBefore = server.cpuSeconds();
      const snapshot = runDriver<SnapshotResult>("snapshot.ts", [server.port]).finally(() => isOver = true);
      const worst = { p50: 0, p99: 0 };
      while (!isOver) {
        const { p50, p99 } = await puts("paced", STEP_SECONDS, PUT_VALUE_BYTES, halfLoad);
        worst.p50 = Math.max(worst.p50, p50);
        worst.p99 = Math.max(worst.p99, p99);
      }
      const { seconds, mib } = await snapshot;
      const { before, peak } = memory.stop();
      const cpuSeconds = server.cpuSeconds() - cpuBefore;
      recorder.record(SNAPSHOT, { value: seconds, cpuSeconds }, "≤ 1");
      recorder.record("Size of that snapshot, MiB", { value: mib }, "–");
      // The puts alone take and give back memory: how much of it is out when the snapshot begins is chance.
      recorder.record(
        "Memory growth during that snapshot, puts included, MiB",
        { value: peak - before },
        "–",
      );
      recorder.record(
        "Memory peak during that snapshot, past the peak of puts alone, MiB",
        { value: Math.max(0, peak - idlePeak) },
        "≤ 64 itself",
      );
      recorder.record(
        `Put p99 during that snapshot ÷ idle`,
        { value: worst.p99 / idle.p99, ...worst },
        "≤ 3 itself",
      );
    } finally {
      await server.stop();
    }
  });
}

/**
 * Watches the memory that the server has for itself. Pages of its mapped database are the kernel's, which takes
 * them back at will, and are not counted.
 */
function watchMemory(server: RunningSubject): { stop(): { before: number; peak: number } } {
  const before = server.memoryMib().anonymous;
  let peak = before;
  const poll = (): void => void (peak = Math.max(peak, server.memoryMib().anonymous));
  const timer = setInterval(poll, MEMORY_POLL_MS);
  return {
    stop() {
      poll();
      clearInterval(timer);
      return { before, peak };
    },
  };
}
