/** SIGKILL at every write, sync, rename and resize of a scripted run, from the making of the data directory on. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import { noStrace, onServer, sleep, spawnEtcd } from "../harness/crash_server.ts";
import { GrpcClient } from "../harness/grpc_client.ts";
import { WriteHistory } from "../harness/write_history.ts";

/** How many points are drawn; every one when CRASH_ROUNDS is set. */
const SAMPLES = 7;
const SEED = Number(process.env["SEED"] ?? 1);
/**
 * The calls that change the disk, and how many of each some thread makes in the script. strace counts by
 * thread, and Bun and Deno spread the syncs over a pool: there not every one is reached.
 */
const calls: Readonly<Record<string, number>> = {
  pwrite64: 20,
  writev: 7,
  fdatasync: 10,
  fsync: 4,
  ftruncate: 3,
  rename: 1,
};
/** No call is made as often as this. */
const CALLS_MAX = 200;
const WRITES = 12;
/** Past this the store has committed what was written before. */
const COMMIT_MS = 150;

const every = process.env["CRASH_ROUNDS"] !== undefined;

test("every acknowledged write survives SIGKILL at any write or sync", { skip: noStrace }, async () => {
  let killed = 0;
  for (
    const [call, count] of every ? Object.keys(calls).map((name) => [name, CALLS_MAX] as const) : samples()
  ) {
    for (let n = every ? 1 : count; n <= count; n += 1) {
      const died = await killAt(call, n);
      if (died) killed += 1;
      else if (every) {
        console.log(`${call}: ${n - 1} points`);
        assert.ok(n > 1, `No thread calls ${call}`);
        break;
      }
    }
  }
  assert.ok(killed > (every ? 30 : SAMPLES / 2), `The server was killed ${killed} times`);
});

function samples(): (readonly [call: string, n: number])[] {
  const prng = new Prng(SEED);
  const names = Object.keys(calls);
  return Array.from({ length: SAMPLES }, (_, i) => {
    const name = names[i % names.length]!;
    return [name, 1 + prng.below(calls[name]!)];
  });
}

/** Runs the script on a new data directory; false when it came to its end. */
async function killAt(call: string, n: number): Promise<boolean> {
  const dataDir = mkdtempSync(`${tmpdir()}/etcd-crash-`);
  const history = new WriteHistory({ seed: n, streams: 1 });
  try {
    const doomed = await spawnEtcd({ dataDir, inject: [`${call}:signal=KILL:when=${n}`] });
    const died = await runScript(doomed, history).finally(() => doomed.stop("SIGKILL"));
    await onServer({ dataDir }, ({ port }) => history.verify(port), "SIGKILL");
    return died;
  } catch (error) {
    throw new Error(`Killed at ${call} number ${n}`, { cause: error });
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** Resolves to whether the server died. */
async function runScript(
  server: Awaited<ReturnType<typeof spawnEtcd>>,
  history: WriteHistory,
): Promise<boolean> {
  try {
    await server.ready();
  } catch (error) {
    if (server.alive) throw error;
    return true;
  }
  const client = await GrpcClient.connect(server.port).catch(() => undefined);
  if (client === undefined) return true;
  let answered = true;
  for (let i = 1; i <= WRITES && answered; i += 1) {
    answered = await history.writeOne(client, 0);
    if (i % 4 === 0) await sleep(COMMIT_MS);
  }
  await client.close();
  return !answered || !server.alive;
}
