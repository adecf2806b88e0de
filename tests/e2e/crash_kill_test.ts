/** SIGKILL at random moments: what was acknowledged is there, what was not sent is not. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import { onServer, sleep, spawnEtcd } from "../harness/crash_server.ts";
import { WriteHistory } from "../harness/write_history.ts";

/** Kills in one run; hundreds for a long one. */
const ROUNDS = Number(process.env["CRASH_ROUNDS"] ?? 8);
const SEED = Number(process.env["SEED"] ?? 1);
const STREAMS = 12;
const LOAD_MS_MAX = 250;
const BOOT_MS_MAX = 400;
/** Fewer than this would show nothing; a server at rest does thousands in a second. */
const ACKNOWLEDGED_MIN_PER_ROUND = 5;

test(`every acknowledged write survives SIGKILL, ${ROUNDS} times, seed ${SEED}`, async () => {
  const prng = new Prng(SEED);
  const history = new WriteHistory({ seed: prng.uint32(), streams: STREAMS });
  const dataDir = mkdtempSync(`${tmpdir()}/etcd-crash-`);
  try {
    for (let round = 1; round <= ROUNDS; round += 1) {
      try {
        await runAndKill(dataDir, history, prng);
      } catch (error) {
        throw new Error(`SEED=${SEED}, round ${round} of ${ROUNDS}, ${dataDir}`, { cause: error });
      }
    }
    await onServer({ dataDir }, async (server) => {
      await history.verify(server.port);
      // etcd ends by the signal that asked it to.
      assert.equal((await server.stop()).signal, "SIGTERM");
    });
    console.log(
      `${ROUNDS} kills: ${history.sent} writes sent, ${history.acknowledged} acknowledged, all found`,
    );
    assert.ok(history.acknowledged > ROUNDS * ACKNOWLEDGED_MIN_PER_ROUND);
    rmSync(dataDir, { recursive: true });
  } finally {
    if (process.env["CRASH_ROUNDS"] === undefined) rmSync(dataDir, { recursive: true, force: true });
  }
});

/** Checks what the last kill has left, and writes until the next one; now and then that comes at the start. */
async function runAndKill(dataDir: string, history: WriteHistory, prng: Prng): Promise<void> {
  if (prng.chance(0.2)) {
    const early = await spawnEtcd({ dataDir });
    await sleep(prng.below(BOOT_MS_MAX));
    await early.stop("SIGKILL");
  }
  await onServer({ dataDir }, async (server) => {
    await history.verify(server.port);
    assert.equal(server.output.split("started as single-node").length - 1, 1, "It campaigns once");
    const load = history.write(server.port);
    await sleep(prng.below(LOAD_MS_MAX));
    await server.stop("SIGKILL");
    await load;
  });
}
