import { measureRate } from "./h2load.ts";
import { RunningSubject, sleep, type Subject, withDataDir } from "./subject.ts";
import { measureLoad, type Recorder } from "./suite.ts";
import {
  LARGE_KEYS,
  LARGE_PREFIX,
  largeRange,
  loadKeys,
  PAGE_PREFIX,
  pages,
  workloads,
} from "./workloads.ts";

/** A server runs for months: it is measured with its caches filled and its code compiled. */
const WARM_UP_REQUESTS = 100_000;

/** Requests on a nearly empty store. */
export async function measureRequests(subject: Subject, recorder: Recorder): Promise<void> {
  const chosen = workloads.filter(({ name }) => recorder.wants(name));
  const wantsLarge = recorder.wants(largeRange.name);
  if (chosen.length === 0 && !wantsLarge) return;
  await withDataDir(async (dataDir) => {
    const server = await RunningSubject.start(subject, dataDir);
    try {
      if (chosen.length > 0) {
        await loadKeys(server.port, "/bench/key-", 1, 256);
        measureRate({ ...workloads[0]!, port: server.port, requests: WARM_UP_REQUESTS });
        for (const workload of chosen) measureLoad(server, workload, recorder);
      }
      if (wantsLarge) await measureLargeRange(server, recorder);
    } finally {
      await server.stop();
    }
  });
}

async function measureLargeRange(server: RunningSubject, recorder: Recorder): Promise<void> {
  await loadKeys(server.port, LARGE_PREFIX, LARGE_KEYS, 1000);
  await sleep(500);
  server.resetPeak();
  const before = server.memoryMib().now;
  measureLoad(server, largeRange, recorder);
  const grown = Math.max(0, server.memoryMib().peak - before);
  recorder.record("RSS growth of that range, MiB", { value: grown }, "–");
}

/** What depends on the number of keys: pages, memory, a restart. */
export async function measureManyKeys(subject: Subject, recorder: Recorder): Promise<void> {
  const { keys } = recorder;
  if (keys === 0 || !pages.some(({ name }) => recorder.wants(name))) return;
  await withDataDir(async (dataDir) => {
    let server = await RunningSubject.start(subject, dataDir);
    try {
      const seconds = await loadKeys(server.port, PAGE_PREFIX, keys, 256);
      recorder.record(`Loading ${keys} keys × 256 B, s`, { value: seconds }, "–");
      for (const workload of pages) measureLoad(server, workload, recorder);
      await sleep(3_000);
      const { now, peak } = server.memoryMib();
      recorder.record(`RSS with ${keys} keys, MiB`, { value: now, peakMib: peak }, "≤ 0.5");
      await server.stop();
      server = await RunningSubject.start(subject, dataDir);
      recorder.record(`Restart to serving with ${keys} keys, ms`, { value: server.readyMs }, "≤ 0.5");
    } finally {
      await server.stop();
    }
  });
}
