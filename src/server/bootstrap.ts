import { LmdbBackend, type LmdbBackendOptions } from "../backend/lmdb_backend.ts";
import { readAuthRevision, writeAuthRevision } from "../backend/schema/auth_table.ts";
import { listAlarms } from "../backend/schema/alarm_table.ts";
import { leaseStore } from "../backend/schema/lease_table.ts";
import { listMembers, listRemovedMembers, readClusterVersion } from "../backend/schema/member_table.ts";
import { readConfState, readConsistentIndex } from "../backend/schema/meta_table.ts";
import { checkSchema, SchemaError } from "../backend/schema/version.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EMPTY_BYTES, hexId } from "../base/bytes.ts";
import { Prng } from "../base/prng.ts";
import { MetadataSchema } from "../gen/etcdserverpb/metadata_pb.ts";
import { Lessor } from "../lease/lessor.ts";
import { Cluster } from "../membership/cluster.ts";
import { clusterId, type Member, memberId } from "../membership/member.ts";
import { encodeMemberJson } from "../membership/member_json.ts";
import { ArenaKeyIndex, KEY_INDEX_SEED_BYTES } from "../mvcc/key_index.ts";
import { Store } from "../mvcc/store.ts";
import { socketsServed } from "../ports/clock.ts";
import type { RaftIndex } from "../base/units.ts";
import { FileError, type FileLock, type Files } from "../ports/files.ts";
import { RawNode } from "../raft/raw_node.ts";
import { EMPTY_HARD_STATE, MemoryStorage } from "../raft/storage.ts";
import { newestSnapshot } from "../wal/replay.ts";
import { WalError } from "../wal/decoder.ts";
import type { SnapshotRecord } from "../wal/record.ts";
import { listSegments, parentDirectory, SEGMENT_BYTES, walExists } from "../wal/segment.ts";
import { createWal, type OpenedWal, openWal, type Wal, type WalOptions } from "../wal/wal.ts";
import { Alarms } from "./alarms.ts";
import { leaseTtlMinSeconds, type ServerConfig } from "./config.ts";
import type { ServerMetrics } from "./metrics.ts";
import type { ServerBackend, ServerPorts } from "./ports.ts";
import { SERVER_VERSION } from "./version.ts";

/** Everything a server consists of, as read from its data directory or made anew. */
export interface Bootstrapped {
  readonly backend: ServerBackend;
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
const FIRST_AUTH_REVISION = 1;
const COMMITTED_BYTES_MAX = 256 * 1024;
const DIRECTORY_MODE = 0o700;
/** Records of the store read between two looks at the rest of the world. */
const RESTORE_SLICE_RECORDS = 20_000;

type Consistent = ReturnType<typeof readConsistentIndex>;

/** What opening a data directory is done with. */
interface Opening {
  readonly config: ServerConfig;
  readonly ports: ServerPorts;
  readonly walDir: string;
  readonly walOptions: WalOptions;
  readonly backendPath: string;
  readonly backend: ServerBackend;
}

/** What the log says, and what raft is started with. */
type OpenedLog = Pick<Bootstrapped, "cluster" | "node" | "storage" | "wal">;

/**
 * Opens the data directory, or makes it. Throws `BootstrapError` for one that it must not start on, and
 * `FileError` and `WalError` when the disk fails; nothing is left open then.
 */
export async function bootstrap(
  config: ServerConfig,
  ports: ServerPorts,
  metrics: ServerMetrics,
  onFatal: (error: unknown) => void,
): Promise<Bootstrapped> {
  const { files, clock, log, linkNative, openBackend = openLmdb } = ports;
  const memberDir = `${config.dataDir}/member`;
  makeDirectory(files, config.dataDir);
  makeDirectory(files, memberDir);
  const lock = lockDataDir(files, config.dataDir, `${memberDir}/lock`);
  let backend: ServerBackend | undefined;
  try {
    const walDir = config.walDir === "" ? `${memberDir}/wal` : config.walDir;
    const backendPath = `${memberDir}/snap/db`;
    const startedMs = clock.monotonicMs();
    backend = openBackend({
      directory: backendPath,
      files,
      clock,
      log,
      ...linkNative && { linkNative },
      onFatal,
      onCommit: (tookMs) => metrics.backendCommit.observe(tookMs / 1000),
      batchIntervalMs: config.backendBatchIntervalMs,
      batchLimit: config.backendBatchLimit,
    });
    log.info("opened backend db", {
      path: backendPath,
      took: `${(clock.monotonicMs() - startedMs).toFixed(3)}ms`,
    });
    const walOptions = {
      unsafeNoSync: config.unsafeNoFsync,
      timing: {
        now: () => clock.monotonicMs(),
        onWrite: (tookMs: number) => metrics.walWrite.observe(tookMs / 1000),
        onSync: (tookMs: number) => metrics.walSync.observe(tookMs / 1000),
      },
      segmentBytes: config.walSegmentBytes ?? SEGMENT_BYTES,
      log,
    };
    return { ...await open({ config, ports, walDir, walOptions, backendPath, backend }), lock };
  } catch (error) {
    await backend?.close();
    lock.release();
    throw withAdvice(error);
  }
}

function openLmdb(options: LmdbBackendOptions): ServerBackend {
  return new LmdbBackend(options);
}

/** A directory that is still there when power fails. */
function makeDirectory(files: Files, path: string): void {
  if (files.exists(path)) return;
  files.makeDirectory(path, DIRECTORY_MODE);
  files.syncDirectory(parentDirectory(path));
}

function lockDataDir(files: Files, dataDir: string, path: string): FileLock {
  try {
    return files.lock(path);
  } catch (error) {
    if (!(error instanceof FileError) || error.kind !== "locked") throw error;
    throw new BootstrapError(
      `the data directory ${dataDir} is in use by another process, which holds ${path}: stop that one, or ` +
        `choose another --data-dir`,
      { cause: error },
    );
  }
}

/** Damage has been named by file and place; what can be done about it is the same wherever it is. */
function withAdvice(error: unknown): unknown {
  const isDamage = (error instanceof FileError && error.kind === "damaged") ||
    (error instanceof WalError && error.kind !== "broken");
  if (!isDamage) return error;
  return new BootstrapError(
    `${error.message}: restore the data directory from a snapshot or a backup, or have the member replaced`,
    { cause: error },
  );
}

async function open(opening: Opening): Promise<Omit<Bootstrapped, "lock">> {
  const { config, ports, walDir, backend, backendPath } = opening;
  const { files, clock, log } = ports;
  try {
    checkSchema(backend);
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    throw new BootstrapError(
      `the store ${backendPath} is of a release that this one, ${SERVER_VERSION}, does not read: ` +
        `${error.message}: start the release that wrote it`,
      { cause: error },
    );
  }
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
  while (!store.restoreSlice(RESTORE_SLICE_RECORDS)) await socketsServed(clock);
  log.info("kvstore restored", { "current-rev": store.currentRevision });
  const consistent = readConsistentIndex(backend);
  log.info("restore consistentIndex", { index: consistent.index });
  const alarms = new Alarms();
  for (const alarm of listAlarms(backend)) alarms.raise(alarm);
  const restarted = walExists(files, walDir);
  const opened = restarted ? await reopenLog(opening, consistent) : makeLog(opening, consistent.index);
  const { cluster } = opened;
  const fields = { "local-member-id": hexId(cluster.localId), "cluster-id": hexId(cluster.id) };
  log.info("starting local member", fields);
  // As etcd's first start: there is a revision of users and roles before there are any, and Hash covers it.
  if (readAuthRevision(backend) === 0) writeAuthRevision(backend, FIRST_AUTH_REVISION);
  return { backend, store, lessor, alarms, restarted, ...opened };
}

/** A new member's log. */
function makeLog({ config, ports, walDir, walOptions, backendPath }: Opening, applied: RaftIndex): OpenedLog {
  if (applied > 0) {
    throw new BootstrapError(
      `the store ${backendPath} has applied entry ${applied}, but there is no log in ${walDir}: ` +
        `restore the log's directory, or start with an empty --data-dir`,
    );
  }
  const { local, cluster } = newCluster(config, ports);
  const metadata = create(MetadataSchema, { NodeID: local.id, ClusterID: cluster.id });
  const wal = createWal(ports.files, walDir, toBinary(MetadataSchema, metadata), walOptions);
  return { ...beginLog(config, ports, local, cluster), wal };
}

/** The log of a member that ran before, from the newest snapshot record that the store is past. */
async function reopenLog(opening: Opening, consistent: Consistent): Promise<OpenedLog> {
  const { ports: { files, log }, walDir, walOptions, backendPath } = opening;
  const snapshot = newestSnapshot(files, walDir, consistent.index, log);
  if (snapshot === undefined) {
    const first = Math.max(1, listSegments(files, walDir)[0]!.firstIndex);
    const state = consistent.index === 0 ? "is empty" : `has applied entry ${consistent.index}`;
    throw new BootstrapError(
      `the store ${backendPath} ${state}, but the log in ${walDir} begins at entry ${first}: restore the ` +
        `data directory from a snapshot or a backup, or have the member replaced`,
    );
  }
  const opened = openWal(files, walDir, snapshot, walOptions);
  try {
    return { ...resumeLog(opening, consistent, snapshot, opened), wal: opened.wal };
  } catch (error) {
    await opened.wal.close();
    throw error;
  }
}

function resumeLog(
  { config, ports, walDir, backendPath, backend }: Opening,
  consistent: Consistent,
  snapshot: SnapshotRecord,
  opened: OpenedWal,
): Omit<OpenedLog, "wal"> {
  const identity = fromBinary(MetadataSchema, opened.metadata);
  if (opened.hardState === undefined && consistent.index === 0) {
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
    return beginLog(config, ports, local, cluster);
  }
  const storage = new MemoryStorage();
  if (snapshot.confState !== undefined) {
    storage.applySnapshot({ ...snapshot, confState: snapshot.confState, data: EMPTY_BYTES });
  }
  storage.append(opened.entries);
  const cluster = new Cluster(identity.ClusterID, identity.NodeID);
  cluster.restore(listMembers(backend), listRemovedMembers(backend));
  cluster.version = readClusterVersion(backend);
  if (consistent.index > 0) {
    const stranger = strangeness(consistent, storage, cluster);
    if (stranger !== undefined) {
      throw new BootstrapError(
        `the store ${backendPath} has applied entry ${consistent.index}, but the log in ${walDir} ` +
          `${stranger}: the two do not belong together; restore them from the same backup`,
      );
    }
  }
  const confState = readConfState(backend);
  // As of the last applied entry, which may be past the snapshot's.
  if (confState !== undefined) storage.setConfState(confState);
  const hardState = opened.hardState ?? EMPTY_HARD_STATE;
  // The commit index is written lazily; what has been applied was committed.
  storage.setHardState({ ...hardState, commit: Math.max(hardState.commit, consistent.index) });
  return { cluster, storage, node: newNode(config, ports, identity.NodeID, storage, consistent.index) };
}

/** What shows that a log is not the one that the store was written from; undefined when nothing does. */
function strangeness(consistent: Consistent, storage: MemoryStorage, cluster: Cluster): string | undefined {
  const { localId } = cluster;
  if (cluster.get(localId) === undefined && !cluster.isRemoved(localId)) {
    return `is of member ${hexId(localId)} of cluster ${hexId(cluster.id)}, which the store does not know`;
  }
  if (storage.lastIndex < consistent.index) return `ends at ${storage.lastIndex}`;
  const term = storage.term(consistent.index);
  if (term !== consistent.term) return `has it in term ${term}, not ${consistent.term}`;
  return undefined;
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

function randomBytes({ entropy }: ServerPorts, count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  entropy.fill(bytes);
  return bytes;
}
