import { LmdbBackend } from "../backend/lmdb_backend.ts";
import { listAlarms } from "../backend/schema/alarm_table.ts";
import { leaseStore } from "../backend/schema/lease_table.ts";
import { listMembers, listRemovedMembers, readClusterVersion } from "../backend/schema/member_table.ts";
import { readConfState, readConsistentIndex } from "../backend/schema/meta_table.ts";
import { checkSchema } from "../backend/schema/version.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { hexId } from "../base/bytes.ts";
import { Prng } from "../base/prng.ts";
import { MetadataSchema } from "../gen/etcdserverpb/metadata_pb.ts";
import { Lessor } from "../lease/lessor.ts";
import { Cluster } from "../membership/cluster.ts";
import { clusterId, type Member, memberId } from "../membership/member.ts";
import { encodeMemberJson } from "../membership/member_json.ts";
import { ArenaKeyIndex, KEY_INDEX_SEED_BYTES } from "../mvcc/key_index.ts";
import { Store } from "../mvcc/store.ts";
import { nextTurn } from "../ports/clock.ts";
import type { FileLock } from "../ports/files.ts";
import { RawNode } from "../raft/raw_node.ts";
import { MemoryStorage } from "../raft/storage.ts";
import { newestSnapshot } from "../wal/replay.ts";
import { walExists } from "../wal/segment.ts";
import { createWal, openWal, type Wal } from "../wal/wal.ts";
import { Alarms } from "./alarms.ts";
import { leaseTtlMinSeconds, type ServerConfig } from "./config.ts";
import type { ServerMetrics } from "./metrics.ts";
import type { ServerPorts } from "./ports.ts";

/** Everything a server consists of, as read from its data directory or made anew. */
export interface Bootstrapped {
  readonly backend: LmdbBackend;
  readonly store: Store;
  readonly lessor: Lessor;
  readonly cluster: Cluster;
  readonly alarms: Alarms;
  readonly node: RawNode;
  readonly storage: MemoryStorage;
  readonly wal: Wal;
  readonly lock: FileLock;
  /** The log was there already: flags that only make a new member were ignored. */
  readonly restarted: boolean;
}

/** A data directory that this server must not start on. The message says what to do. */
export class BootstrapError extends Error {
  override readonly name = "BootstrapError";
}

/** Entries applied in one go: some 800 of 256 bytes, which take about 3 ms. */
const COMMITTED_BYTES_MAX = 256 * 1024;
const DIRECTORY_MODE = 0o700;
/** Records of the store read between two looks at the rest of the world. */
const RESTORE_SLICE_RECORDS = 20_000;

/** Opens the data directory, or makes it. Throws `BootstrapError`, `WalError`, `FileError`, `SchemaError`. */
export async function bootstrap(
  config: ServerConfig,
  ports: ServerPorts,
  metrics: ServerMetrics,
  onFatal: (error: unknown) => void,
): Promise<Bootstrapped> {
  const { files, clock, log } = ports;
  const memberDir = `${config.dataDir}/member`;
  const snapDir = `${memberDir}/snap`;
  const walDir = config.walDir === "" ? `${memberDir}/wal` : config.walDir;
  files.makeDirectory(config.dataDir, DIRECTORY_MODE);
  files.makeDirectory(memberDir, DIRECTORY_MODE);
  const lock = files.lock(`${memberDir}/lock`);
  const restarted = walExists(files, walDir);
  const backendPath = `${snapDir}/db`;
  const startedMs = clock.monotonicMs();
  const backend = new LmdbBackend({
    directory: backendPath,
    files,
    clock,
    onFatal,
    onCommit: (tookMs) => metrics.backendCommit.observe(tookMs / 1000),
    batchIntervalMs: config.backendBatchIntervalMs,
    batchLimit: config.backendBatchLimit,
  });
  log.info("opened backend db", { path: backendPath, took: `${clock.monotonicMs() - startedMs}ms` });
  checkSchema(backend);
  const lessor = new Lessor({
    store: leaseStore(backend),
    ttlMinSeconds: leaseTtlMinSeconds(config),
    checkpointIntervalMs: config.leaseCheckpointIntervalMs,
  });
  lessor.restore();
  const store = new Store({
    backend,
    index: new ArenaKeyIndex(randomBytes(ports, KEY_INDEX_SEED_BYTES)),
    leases: lessor,
    compactionBatchLimit: config.compactionBatchLimit,
  });
  while (!store.restoreSlice(RESTORE_SLICE_RECORDS)) await nextTurn(clock);
  log.info("kvstore restored", { "current-rev": store.currentRevision });
  const consistent = readConsistentIndex(backend);
  log.info("restore consistentIndex", { index: consistent.index });
  const walOptions = { unsafeNoSync: config.unsafeNoFsync, log };
  const alarms = new Alarms();
  const parts = { backend, store, lessor, alarms, lock, restarted };

  if (!restarted) {
    if (consistent.index > 0) {
      throw new BootstrapError(
        `the store ${backendPath} has applied entry ${consistent.index}, but there is no log in ${walDir}: ` +
          `restore the log's directory, or start with an empty --data-dir`,
      );
    }
    const { local, cluster } = newCluster(config, ports);
    const metadata = create(MetadataSchema, { NodeID: local.id, ClusterID: cluster.id });
    const wal = createWal(files, walDir, toBinary(MetadataSchema, metadata), walOptions);
    return { ...parts, ...beginLog(config, ports, local, cluster), wal };
  }

  const snapshot = newestSnapshot(files, walDir, consistent.index, log);
  if (snapshot === undefined) {
    throw new BootstrapError(
      `the store ${backendPath} has applied entry ${consistent.index}, but the log in ${walDir} has no ` +
        `record of a snapshot up to there: the two do not belong together`,
    );
  }
  const opened = openWal(files, walDir, snapshot, walOptions);
  const identity = fromBinary(MetadataSchema, opened.metadata);
  if (opened.wal.lastIndex < consistent.index) {
    throw new BootstrapError(
      `the store ${backendPath} has applied entry ${consistent.index}, but the log in ${walDir} ends at ` +
        `${opened.wal.lastIndex}: the two do not belong together`,
    );
  }
  if (opened.hardState === undefined) {
    // The first save, the founding members and the state that commits them, did not come to its end: nobody
    // was told of anything, and what there is of it is replaced.
    const { local, cluster } = newCluster(config, ports);
    if (cluster.id !== identity.ClusterID || local.id !== identity.NodeID) {
      throw new BootstrapError(
        `the log in ${walDir} was begun for member ${hexId(identity.NodeID)} of cluster ` +
          `${hexId(identity.ClusterID)}, and the flags make ${hexId(local.id)} of ${hexId(cluster.id)}: ` +
          `start with the flags of the first time, or with an empty --data-dir`,
      );
    }
    return { ...parts, ...beginLog(config, ports, local, cluster), wal: opened.wal };
  }
  const cluster = new Cluster(identity.ClusterID, identity.NodeID);
  cluster.restore(listMembers(backend), listRemovedMembers(backend));
  cluster.version = readClusterVersion(backend);
  for (const alarm of listAlarms(backend)) alarms.raise(alarm);
  const storage = new MemoryStorage();
  if (snapshot.confState !== undefined) {
    storage.applySnapshot({ ...snapshot, confState: snapshot.confState, data: new Uint8Array(0) });
  }
  storage.append(opened.entries);
  const confState = readConfState(backend);
  // As of the last applied entry, which may be past the snapshot's.
  if (confState !== undefined) storage.setConfState(confState);
  const { hardState } = opened;
  // The commit index is written lazily; what has been applied was committed.
  storage.setHardState({ ...hardState, commit: Math.max(hardState.commit, consistent.index) });
  const node = newNode(config, ports, identity.NodeID, storage, consistent.index);
  logStart(ports, cluster);
  return { ...parts, cluster, node, storage, wal: opened.wal };
}

/** The log of a new cluster, which this member founds. */
function beginLog(
  config: ServerConfig,
  ports: ServerPorts,
  local: Member,
  cluster: Cluster,
): Pick<Bootstrapped, "cluster" | "node" | "storage"> {
  const storage = new MemoryStorage();
  const node = newNode(config, ports, local.id, storage, 0);
  node.bootstrap([{ id: local.id, context: encodeMemberJson(local) }]);
  logStart(ports, cluster);
  return { cluster, node, storage };
}

function newNode(
  config: ServerConfig,
  ports: ServerPorts,
  id: bigint,
  storage: MemoryStorage,
  applied: number,
): RawNode {
  return new RawNode({
    id,
    storage,
    applied,
    electionTicks: Math.floor(config.electionMs / config.heartbeatMs),
    heartbeatTicks: 1,
    preVote: config.preVote,
    maxCommittedBytesPerReady: COMMITTED_BYTES_MAX,
    prng: new Prng(new DataView(randomBytes(ports, 4).buffer).getUint32(0)),
  });
}

/** The members named by the flags, and which of them this one is. */
function newCluster(
  config: ServerConfig,
  { digest }: ServerPorts,
): { readonly local: Member; readonly cluster: Cluster } {
  const ids = [...config.initialCluster.values()].map((urls) =>
    memberId(urls, config.initialClusterToken, digest)
  );
  const localUrls = config.initialCluster.get(config.name);
  if (localUrls === undefined) {
    throw new BootstrapError(
      `couldn't find local name "${config.name}" in the initial cluster configuration`,
    );
  }
  const id = memberId(localUrls, config.initialClusterToken, digest);
  const local = { id, name: config.name, peerUrls: [...localUrls].sort(), clientUrls: [], isLearner: false };
  return { local, cluster: new Cluster(clusterId(ids, digest), id) };
}

function logStart({ log }: ServerPorts, cluster: Cluster): void {
  const fields = { "local-member-id": hexId(cluster.localId), "cluster-id": hexId(cluster.id) };
  log.info("starting local member", fields);
}

function randomBytes({ entropy }: ServerPorts, count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  entropy.fill(bytes);
  return bytes;
}
