import { type CreatedReport, PREFIX, type RequestsReport, type RequestsSpec } from "./driver/specs.ts";
import type { WatchersReport, WatchersSpec } from "./driver/specs.ts";
import { DriverProcess, sendRequests } from "./driver_process.ts";
import { RunningSubject, sleep, type Subject, withDataDir } from "./subject.ts";
import type { Recorder } from "./suite.ts";

const KEYS = "Put, 100 × 10, with 10,000 watchers of 10,000 keys";
const PREFIXES = "Put, 100 × 10, with 10,000 watchers of 100 overlapping prefixes";

const VALUE_BYTES = 64;
const WATCHED_KEYS = 10_000;
/** A multiple of the keys, so that all are put equally often. */
const KEYS_PUTS = 200_000;
const PREFIXES_PUTS = 20_000;
/** Watchers of a prefix; of 10,000 keys, prefixes hold 10,000, ten times 1,000 and 89 times 100. */
const WATCHERS_PER_PREFIX = 100;
const PREFIXES_EVENTS = PREFIXES_PUTS / WATCHED_KEYS * WATCHERS_PER_PREFIX * (10_000 + 10_000 + 8_900);
/** Puts of one key by so many clients, each after the answer to its last, beside how many of them. */
const fanouts = [
  { name: "Watch, 10,000 watchers of one key, 10 clients put", clients: 10, puts: 1_000 },
  { name: "Watch, 10,000 watchers of one key, 1,000 clients put", clients: 1_000, puts: 2_000 },
] as const;
/** In which collectors and allocators give back what is not in use. */
const SETTLE_MS = 15_000;
const REVISED_KEYS = 100_000;
const PROBE_INTERVAL_MS = 2;
const PROBE_REQUESTS_MAX = 1_000_000;
/** The prober is warm by then, and so is what it asks. */
const PROBE_WARM_UP_MS = 4_000;
const PROBE_IDLE_MS = 4_000;
/** Requests that were due are answered by then. */
const PROBE_SETTLE_MS = 500;
/** Watchers catch up one after the other for this long: a quick one alone leaves too few reads for a p99. */
const CATCH_UP_MS_MIN = 5_000;

const hundredConnections = { connections: 100, streams: 1, watchers: 100, startRevision: 0 } as const;

const saturatingPuts = {
  kind: "put",
  connections: 100,
  streams: 10,
  prefix: PREFIX,
  valueBytes: VALUE_BYTES,
  intervalMs: 0,
} as const;

const probe = {
  kind: "range",
  connections: 1,
  streams: 1,
  keys: REVISED_KEYS,
  prefix: PREFIX,
  valueBytes: 0,
  intervalMs: PROBE_INTERVAL_MS,
} as const;

/** Puts that watchers are told of. */
export async function measureWatchedPuts(subject: Subject, recorder: Recorder): Promise<void> {
  for (const { name, clients, puts } of fanouts) {
    if (!recorder.wants(name)) continue;
    const watchers = { ...hundredConnections, layout: "one key", events: puts * 10_000 } as const;
    await withWatchers(subject, watchers, async (server, driver) => {
      const cpuBefore = server.cpuSeconds();
      const connections = Math.min(clients, saturatingPuts.connections);
      const load = { ...saturatingPuts, port: server.port, connections, streams: clients / connections };
      const { startedMs, p50, p99 } = await sendRequests({ ...load, requests: puts, keys: 1 });
      const { events, lastMs } = await driver.next<WatchersReport>();
      const value = events / ((lastMs - startedMs) / 1000);
      const cpuSeconds = server.cpuSeconds() - cpuBefore;
      recorder.record(`${name}, events/s`, { value, p50, p99, cpuSeconds }, "≥ 2");
    });
  }
  if (recorder.wants(KEYS)) {
    const watchers = { ...hundredConnections, layout: "keys", events: KEYS_PUTS } as const;
    await measurePuts(subject, recorder, { row: KEYS, puts: KEYS_PUTS, watchers });
  }
  if (recorder.wants(PREFIXES)) {
    const watchers = { ...hundredConnections, layout: "prefixes", events: PREFIXES_EVENTS } as const;
    await measurePuts(subject, recorder, { row: PREFIXES, puts: PREFIXES_PUTS, watchers });
  }
}

interface WatchedPuts {
  readonly row: string;
  readonly puts: number;
  readonly watchers: Omit<WatchersSpec, "port">;
}

/** Puts per second, and whether every event came. */
async function measurePuts(
  subject: Subject,
  recorder: Recorder,
  { row, puts, watchers }: WatchedPuts,
): Promise<void> {
  await withWatchers(subject, watchers, async (server, driver) => {
    const cpuBefore = server.cpuSeconds();
    const spec: RequestsSpec = { ...saturatingPuts, port: server.port, requests: puts, keys: WATCHED_KEYS };
    const { startedMs, endedMs, p50, p99 } = await sendRequests(spec);
    const { events, lastMs } = await driver.next<WatchersReport>();
    const cpuSeconds = server.cpuSeconds() - cpuBefore;
    const value = puts / ((endedMs - startedMs) / 1000);
    recorder.record(`${row}, requests/s`, { value, p50, p99, cpuSeconds }, "≥ 3");
    const delivered = events / ((lastMs - startedMs) / 1000);
    recorder.record(`${row}, events/s`, { value: delivered }, "–");
  });
}

/** Memory of watchers that see nothing, as many as the recorder has keys. */
export async function measureIdleWatchers(subject: Subject, recorder: Recorder): Promise<void> {
  const { keys } = recorder;
  for (const [what, layout] of [["as many keys", "keys"], ["one key", "one key"]] as const) {
    const row = `${keys} idle watchers of ${what} over 1,000 streams`;
    if (keys === 0 || !recorder.wants(row)) continue;
    await withServer(subject, async (server) => {
      await sleep(SETTLE_MS);
      const before = server.memoryMib().now;
      const streams = { connections: 100, streams: 10, watchers: keys / 1000 };
      const spec = { port: server.port, ...streams, layout, startRevision: 0, events: 1 };
      const watchers = new DriverProcess("watchers", spec);
      try {
        await watchers.next<CreatedReport>();
        await sleep(SETTLE_MS);
        const { now, peak } = server.memoryMib();
        const value = (now - before) * 2 ** 20 / keys;
        recorder.record(`${row}, RSS growth, B each`, { value, peakMib: peak }, "≤ 350 B");
      } finally {
        watchers.stop();
      }
    });
  }
}

/** How fast a history of as many revisions is read, and how long others wait for their reads meanwhile. */
export async function measureCatchUp(subject: Subject, recorder: Recorder): Promise<void> {
  const { keys: revisions } = recorder;
  const row = `A watcher from revision 1 over ${revisions} revisions`;
  if (revisions === 0 || !recorder.wants(row)) return;
  await withServer(subject, async (server) => {
    const { port } = server;
    await sendRequests({ ...saturatingPuts, port, requests: revisions, keys: REVISED_KEYS });
    const reader = new DriverProcess("requests", { ...probe, port, requests: PROBE_REQUESTS_MAX });
    const latencies = (): Promise<RequestsReport> => {
      reader.tell("report");
      return reader.next<RequestsReport>();
    };
    const one = { connections: 1, streams: 1, watchers: 1 };
    const spec = { port, ...one, layout: "all", startRevision: 1, events: revisions } as const;
    const watcher = new DriverProcess("watchers", spec);
    try {
      // All three processes have done their part once before it counts.
      await catchUp(watcher, reader);
      await sleep(PROBE_WARM_UP_MS);
      await latencies();
      reader.tell("record");
      await sleep(PROBE_IDLE_MS);
      const idle = await latencies();
      reader.tell("pause");
      let tookMs = 0;
      let total = 0;
      let cpuSeconds = 0;
      while (tookMs < CATCH_UP_MS_MIN) {
        watcher.tell("again");
        const cpuBefore = server.cpuSeconds();
        const { events, catchUpMs } = await catchUp(watcher, reader);
        cpuSeconds += server.cpuSeconds() - cpuBefore;
        total += events;
        tookMs += catchUpMs;
      }
      await sleep(PROBE_SETTLE_MS);
      const { p50, p99 } = await latencies();
      const value = total / (tookMs / 1000);
      recorder.record(`${row}, events/s`, { value, p50, p99, cpuSeconds }, "≥ 2");
      recorder.record("Another client's reads meanwhile, p99 ÷ idle p99", { value: p99 / idle.p99 }, "< 3");
    } finally {
      reader.stop();
      watcher.stop();
    }
  });
}

/** Waits for one watcher from revision 1 on. Latencies of `reader` count from its creation to its last event. */
async function catchUp(
  watcher: DriverProcess,
  reader: DriverProcess,
): Promise<{ readonly events: number; readonly catchUpMs: number }> {
  const { atMs } = await watcher.next<CreatedReport>();
  reader.tell("record");
  const { events, lastMs } = await watcher.next<WatchersReport>();
  reader.tell("pause");
  return { events, catchUpMs: lastMs - atMs };
}

/** Starts a server and watchers, and waits until they are created. */
async function withWatchers(
  subject: Subject,
  spec: Omit<WatchersSpec, "port">,
  use: (server: RunningSubject, watchers: DriverProcess) => Promise<void>,
): Promise<void> {
  await withServer(subject, async (server) => {
    const watchers = new DriverProcess("watchers", { ...spec, port: server.port });
    try {
      await watchers.next<CreatedReport>();
      await use(server, watchers);
    } finally {
      watchers.stop();
    }
  });
}

async function withServer(subject: Subject, use: (server: RunningSubject) => Promise<void>): Promise<void> {
  await withDataDir(async (dataDir) => {
    const server = await RunningSubject.start(subject, dataDir);
    try {
      await use(server);
    } finally {
      await server.stop();
    }
  });
}
