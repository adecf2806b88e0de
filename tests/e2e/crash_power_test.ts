/**
 * The power of a running server fails: it is stopped for an instant, the image of its disk is copied as it is,
 * without what the kernel has not written yet, and the next server starts on the copy.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { Prng } from "../../src/base/prng.ts";
import { onServer, sleep, spawnEtcd } from "../harness/crash_server.ts";
import type { EtcdProcess } from "../harness/etcd_process.ts";
import { WriteHistory } from "../harness/write_history.ts";

const ROUNDS = Number(process.env["CRASH_ROUNDS"] ?? 4);
const SEED = Number(process.env["SEED"] ?? 1);
const STREAMS = 12;
const LOAD_MS_MAX = 400;
/** A start takes about this long; a cut in it finds files that are half made. */
const START_MS_MAX = 350;
/** System calls under way when the server is stopped come to their end. */
const SETTLE_MS = 20;
const IMAGE_SIZE = "192M";

/** A file system in a file. Nothing is written to the file but what is synced. */
class LoopDisk {
  readonly mountPoint: string;
  readonly #directory: string;
  #count = 0;
  #mounted = false;

  constructor() {
    this.#directory = mkdtempSync(`${tmpdir()}/etcd-power-`);
    this.mountPoint = `${this.#directory}/mount`;
    mkdirSync(this.mountPoint);
  }

  get dataDir(): string {
    return `${this.mountPoint}/data`;
  }

  format(): void {
    this.#unmount();
    this.#count += 1;
    run("truncate", "-s", IMAGE_SIZE, this.#image);
    run("mkfs.ext4", "-qF", this.#image);
    this.#mount();
  }

  /** Keeps the disk as it is at this instant; what is returned puts it in the place of the one in use. */
  cut(): () => void {
    const before = this.#image;
    this.#count += 1;
    run("cp", "--sparse=always", before, this.#image);
    return () => {
      this.#unmount();
      rmSync(before);
      this.#mount();
    };
  }

  remove(): void {
    this.#unmount();
    rmSync(this.#directory, { recursive: true });
  }

  get #image(): string {
    return `${this.#directory}/${this.#count}.img`;
  }

  #mount(): void {
    // The journal is not written for its age, so that only syncs make anything durable.
    run("mount", "-o", "loop,commit=1000", this.#image, this.mountPoint);
    this.#mounted = true;
  }

  #unmount(): void {
    if (this.#mounted) run("umount", this.mountPoint);
    this.#mounted = false;
  }
}

function run(...command: readonly string[]): void {
  const { status, stderr } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8" });
  assert.equal(status, 0, `${command.join(" ")}: ${stderr}`);
}

function probe(): string | false {
  const disk = new LoopDisk();
  try {
    disk.format();
    return false;
  } catch {
    return "not allowed to mount a file";
  } finally {
    disk.remove();
  }
}

const noLoop = probe();

/** Runs a server and cuts the power some time after its start, or during it. */
async function runAndCut(disk: LoopDisk, history: WriteHistory | undefined, afterMs: number): Promise<void> {
  const { dataDir } = disk;
  let restore = (): void => {};
  const cut = async (server: EtcdProcess): Promise<void> => {
    await sleep(afterMs);
    process.kill(server.pid, "SIGSTOP");
    await sleep(SETTLE_MS);
    restore = disk.cut();
    await server.stop("SIGKILL");
  };
  if (history === undefined) await cut(await spawnEtcd({ dataDir }));
  else {
    await onServer({ dataDir }, async (server) => {
      await history.verify(server.port);
      const load = history.write(server.port);
      await cut(server);
      await load;
    });
  }
  restore();
}

test(
  `every acknowledged write survives power loss, ${ROUNDS} times, seed ${SEED}`,
  { skip: noLoop },
  async () => {
    const prng = new Prng(SEED);
    const history = new WriteHistory({ seed: prng.uint32(), streams: STREAMS });
    const disk = new LoopDisk();
    try {
      disk.format();
      for (let round = 1; round <= ROUNDS; round += 1) {
        await inRound(round, () => runAndCut(disk, history, prng.below(LOAD_MS_MAX)));
      }
      await onServer(disk, ({ port }) => history.verify(port));
      console.log(
        `${ROUNDS} cuts: ${history.sent} writes sent, ${history.acknowledged} acknowledged, all found`,
      );
      assert.ok(history.acknowledged > ROUNDS);
    } finally {
      disk.remove();
    }
  },
);

test(
  `a server starts after power loss in its first start, ${ROUNDS} times, seed ${SEED}`,
  { skip: noLoop },
  async () => {
    const prng = new Prng(SEED);
    const disk = new LoopDisk();
    try {
      for (let round = 1; round <= ROUNDS; round += 1) {
        disk.format();
        await inRound(round, async () => {
          await runAndCut(disk, undefined, prng.below(START_MS_MAX));
          await onServer(disk, () => {});
        });
      }
    } finally {
      disk.remove();
    }
  },
);

async function inRound(round: number, body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    throw new Error(`SEED=${SEED}, round ${round} of ${ROUNDS}`, { cause: error });
  }
}
