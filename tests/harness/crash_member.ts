import { create, toBinary } from "@bufbuild/protobuf";
import { utf8 } from "../../src/base/bytes.ts";
import type { Prng } from "../../src/base/prng.ts";
import { PutRequestSchema } from "../../src/gen/etcdserverpb/kv_pb.ts";
import type { PutOutcome } from "../../src/mvcc/txn_eval.ts";
import { silentLog } from "../../src/ports/log.ts";
import { loadRuntime } from "../../src/runtime/detect.ts";
import type { ServerConfig } from "../../src/server/config.ts";
import { EtcdServer } from "../../src/server/server.ts";
import { openCrashBackend, type StoreImage } from "./crash_backend.ts";
import type { CrashFiles, CrashFilesOptions } from "./crash_files.ts";
import { ManualClock } from "./manual_clock.ts";

const { digest, entropy } = await loadRuntime();

/** Small numbers, so that a short run has everything: new files of the log, snapshot records, purges. */
const config: ServerConfig = {
  name: "default",
  dataDir: "/data",
  walDir: "",
  initialCluster: new Map([["default", ["http://localhost:2380"]]]),
  initialClusterToken: "etcd-cluster",
  advertiseClientUrls: ["http://localhost:2379"],
  heartbeatMs: 100,
  electionMs: 1000,
  preVote: true,
  snapshotCount: 6,
  maxWals: 1,
  walSegmentBytes: 4096,
  maxTxnOps: 128,
  maxRequestBytes: 1.5 * 1024 * 1024,
  quotaBackendBytes: 0,
  backendBatchIntervalMs: 100,
  backendBatchLimit: 10_000,
  compactionBatchLimit: 3,
  compactionSleepMs: 10,
  autoCompaction: { mode: "off" },
  warningApplyMs: 100,
  warningUnaryRequestMs: 300,
  watchProgressNotifyMs: 600_000,
  unsafeNoFsync: false,
};

/** The disk of a member. */
export interface Disk {
  readonly files: CrashFiles;
  readonly image: StoreImage;
}

/** The disk as it may be found when the power is back; each call draws another one. */
export function afterPowerCut({ files, image }: Disk, prng: Prng, options: CrashFilesOptions = {}): Disk {
  return { files: files.afterPowerCut(prng, options), image: image.afterPowerCut(prng) };
}

/** A server on a simulated disk. */
export class CrashMember {
  readonly clock = new ManualClock();
  /** Resolves when the server says that it cannot go on. */
  readonly failure: Promise<unknown>;
  readonly #disk: Disk;
  #fail: (error: unknown) => void = () => {};
  #server: EtcdServer | undefined;

  constructor(disk: Disk) {
    this.#disk = disk;
    this.failure = new Promise((resolve) => this.#fail = resolve);
  }

  get server(): EtcdServer {
    return this.#server!;
  }

  async start(changes: Partial<ServerConfig> = {}): Promise<void> {
    await this.open(changes);
    await this.server.start();
  }

  /** Opens the data directory and no more. */
  async open(changes: Partial<ServerConfig> = {}): Promise<void> {
    const { files, image } = this.#disk;
    this.#server = await EtcdServer.open({
      config: { ...config, ...changes },
      ports: {
        files,
        clock: this.clock,
        digest,
        entropy,
        log: silentLog,
        openBackend: openCrashBackend(image),
      },
      flush() {},
      onFatal: (error) => this.#fail(error),
    });
  }

  put(key: string, value: string): PromiseLike<PutOutcome> {
    const request = create(PutRequestSchema, { key: utf8(key), value: utf8(value) });
    return this.server.propose<"put", PutOutcome>("put", request, toBinary(PutRequestSchema, request));
  }
}
