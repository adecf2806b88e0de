import type { ExpireResult, KeepAliveResult } from "./driver/leases.ts";
import type { PutResult } from "./driver/puts.ts";
import { runDriver } from "./run_driver.ts";
import { RunningSubject, sleep, type Subject, withDataDir } from "./subject.ts";
import { LATENCY_SHARE, measureLoad, type Recorder } from "./suite.ts";
import { grants, leaseCount } from "./workloads.ts";

const KEEP_ALIVE = "Lease keepalive, 1,000 streams, renewals/s";
const KEEP_ALIVE_SECONDS = 5;

const EXPIRE = "50,000 leases expiring in one minute, p99 lateness";
const EXPIRING = 50_000;
/** Time to grant them and to attach a key to each before the first one ends. */
const FROM_SECONDS = 30;
const SPREAD_SECONDS = 60;
/** What clients ask for meanwhile. */
const PUTS_PER_SECOND = 1_000;
const VALUE_BYTES = 256;
const IDLE_SECONDS = 10;

/** Leases granted, and renewed. */
export async function measureLeases(subject: Subject, recorder: Recorder): Promise<void> {
  if (!recorder.wants(KEEP_ALIVE) && !recorder.wants(grants.name)) return;
  await withDataDir(async (dataDir) => {
    const server = await RunningSubject.start(subject, dataDir);
    try {
      if (recorder.wants(KEEP_ALIVE)) await measureKeepAlive(server, recorder);
      if (recorder.wants(grants.name)) {
        const before = await leaseCount(server.port);
        measureLoad(server, grants, recorder);
        const granted = await leaseCount(server.port) - before;
        if (granted !== grants.requests * (1 + LATENCY_SHARE)) {
          throw new Error(`${granted} leases were granted`);
        }
      }
    } finally {
      await server.stop();
    }
  });
}

async function measureKeepAlive(server: RunningSubject, recorder: Recorder): Promise<void> {
  const cpuBefore = server.cpuSeconds();
  const { perSecond } = await runDriver<KeepAliveResult>(
    "leases.ts",
    [server.port, "keepalive", KEEP_ALIVE_SECONDS],
  );
  recorder.record(
    KEEP_ALIVE,
    { value: perSecond, cpuSeconds: server.cpuSeconds() - cpuBefore, peakMib: server.memoryMib().peak },
    "≥ 2",
  );
}

/** Leases that end, and what other clients notice of it. */
export async function measureExpiry(subject: Subject, recorder: Recorder): Promise<void> {
  if (!recorder.wants(EXPIRE)) return;
  await withDataDir(async (dataDir) => {
    const server = await RunningSubject.start(subject, dataDir);
    const paced = (seconds: number): Promise<PutResult> =>
      runDriver<PutResult>("puts.ts", [server.port, "paced", seconds, VALUE_BYTES, PUTS_PER_SECOND]);
    try {
      await paced(IDLE_SECONDS / 2); // Warms up.
      const idle = await paced(IDLE_SECONDS);
      const expiring = runDriver<ExpireResult>(
        "leases.ts",
        [server.port, "expire", EXPIRING, FROM_SECONDS, SPREAD_SECONDS],
      );
      const [busy, { lateMs }] = await Promise.all([
        sleep(FROM_SECONDS * 1000).then(() => paced(SPREAD_SECONDS)),
        expiring,
      ]);
      recorder.record(
        `${EXPIRE}, ms`,
        { value: lateMs.p99, p50: lateMs.p50, p99: lateMs.p99, cpuSeconds: server.cpuSeconds() },
        "on time",
      );
      recorder.record(
        "Put p99 of the worst client meanwhile ÷ idle",
        { value: busy.worstP99 / idle.worstP99, p50: busy.p50, p99: busy.worstP99 },
        "≤ 3 itself",
      );
    } finally {
      await server.stop();
    }
  });
}
