import { putMember } from "../backend/schema/member_table.ts";
import { writeConfState } from "../backend/schema/meta_table.ts";
import { migrateSchema, parseVersion } from "../backend/schema/version.ts";
import { create, toBinary } from "@bufbuild/protobuf";
import { EtcdError } from "../base/errors.ts";
import { hexId } from "../base/bytes.ts";
import { Pending } from "../base/pending.ts";
import type { RaftIndex, Term } from "../base/units.ts";
import { CompactionRequestSchema } from "../gen/etcdserverpb/kv_pb.ts";
import { LeaseCheckpointRequestSchema, LeaseRevokeRequestSchema } from "../gen/etcdserverpb/lease_pb.ts";
import {
  type AlarmRequest,
  AlarmRequest_AlarmAction as AlarmAction,
  AlarmRequestSchema,
  AlarmType,
} from "../gen/etcdserverpb/maintenance_pb.ts";
import {
  ClusterMemberAttrSetRequestSchema,
  ClusterVersionSetRequestSchema,
} from "../gen/membershippb/membership_pb.ts";
import type { Checkpoint, Lessor } from "../lease/lessor.ts";
import type { Cluster } from "../membership/cluster.ts";
import { decodeMemberJson } from "../membership/member_json.ts";
import { type KvHash, KvHashJob } from "../mvcc/hash.ts";
import type { Store } from "../mvcc/store.ts";
import { WatchHub } from "../mvcc/watch_hub.ts";
import { socketsServed, type Timer } from "../ports/clock.ts";
import { decodeConfChange } from "../raft/conf_change_wire.ts";
import type { RawNode, Status } from "../raft/raw_node.ts";
import type { SoftState } from "../raft/ready.ts";
import { type Entry, EntryType } from "../raft/types.ts";
import type { Alarm, Alarms } from "./alarms.ts";
import { Applier } from "./apply/applier.ts";
import { AutoCompactor } from "./auto_compactor.ts";
import { bootstrap, type Bootstrapped } from "./bootstrap.ts";
import { DEFAULT_QUOTA_BYTES, PENDING_BYTES_MAX, requestTimeoutMs, type ServerConfig } from "./config.ts";
import { DatabaseSnapshot } from "./database_snapshot.ts";
import { LeaseKeeper } from "./lease_keeper.ts";
import { LogRelease } from "./log_release.ts";
import { ServerMetrics } from "./metrics.ts";
import type { ServerBackend, ServerPorts } from "./ports.ts";
import {
  operationNames,
  Proposal,
  type RaftRequests,
  RequestEncoder,
  type RequestKind,
} from "./proposals.ts";
import { Quota } from "./quota.ts";
import { RaftLoop } from "./raft_loop.ts";
import { ReadBarrier } from "./read_barrier.ts";
import { RequestIds } from "./request_ids.ts";
import { CLUSTER_VERSION } from "./version.ts";

/** Committed entries that may wait to be applied before new requests are refused: etcd's bound. */
const APPLY_LAG_MAX = 5_000;
/** Records hashed in one turn; a slice also ends by size. */
const HASH_SLICE_RECORDS = 2_000;
const DONE: Pending<void> = new Pending();
DONE.resolve();

export interface ServerOptions {
  readonly config: ServerConfig;
  readonly ports: ServerPorts;
  /** Sends what connections have gathered; called after each batch of applied entries. */
  readonly flush: () => void;
  /** The disk has failed or an invariant is broken: the process must end. */
  readonly onFatal: (error: unknown) => void;
}

/**
 * One member: the log, the store and what keeps the two together. It proposes, applies and answers reads;
 * it knows no protocol.
 */
export class EtcdServer {
  readonly config: ServerConfig;
  readonly backend: ServerBackend;
  readonly store: Store;
  readonly watchHub: WatchHub;
  readonly lessor: Lessor;
  readonly leases: LeaseKeeper;
  readonly cluster: Cluster;
  readonly alarms: Alarms;
  readonly quota: Quota;
  readonly metrics: ServerMetrics;
  readonly #ports: ServerPorts;
  readonly #parts: Bootstrapped;
  readonly #node: RawNode;
  readonly #loop: RaftLoop;
  readonly #barrier: ReadBarrier;
  readonly #applier: Applier;
  readonly #encoder: RequestEncoder;
  readonly #ids: RequestIds;
  readonly #release: LogRelease;
  readonly #autoCompactor: AutoCompactor | undefined;
  readonly #ready: Pending<void> = new Pending();
  /** The term in which an entry of this leader has been applied: from then on it knows all that is committed. */
  #settledTerm: Term = 0;
  #isSingleVoter = false;
  #published = false;
  #compacting = false;
  #defragmentation: Promise<void> | undefined;
  #stopped = false;
  /** After a failure that it cannot go on from: nobody is answered any more. */
  #halted = false;
  #stalledReads: Timer | undefined;

  /** Opens the data directory. Throws as `bootstrap` does. */
  static async open(options: ServerOptions): Promise<EtcdServer> {
    const metrics = new ServerMetrics();
    let server: EtcdServer | undefined = undefined;
    const onFatal = (error: unknown): void => {
      if (server !== undefined) server.#halt();
      options.onFatal(error);
    };
    const parts = await bootstrap(options.config, options.ports, metrics, onFatal);
    server = new EtcdServer({ ...options, onFatal }, parts, metrics);
    return server;
  }

  private constructor(
    { config, ports, flush, onFatal }: ServerOptions,
    parts: Bootstrapped,
    metrics: ServerMetrics,
  ) {
    this.metrics = metrics;
    this.config = config;
    this.#ports = ports;
    this.#parts = parts;
    this.#node = parts.node;
    this.backend = parts.backend;
    this.store = parts.store;
    const guarded = (step: () => void) => (): void => {
      if (this.#stopped) return;
      try {
        step();
      } catch (error) {
        onFatal(error);
      }
    };
    this.watchHub = new WatchHub(
      parts.store,
      (step) => ports.clock.afterSockets(guarded(step)),
      (step) => ports.clock.after(0, guarded(step)),
    );
    this.lessor = parts.lessor;
    this.leases = new LeaseKeeper({
      ...ports,
      lessor: parts.lessor,
      raft: this,
      electionMs: config.electionMs,
    });
    this.cluster = parts.cluster;
    this.alarms = parts.alarms;
    const quotaBytes = config.quotaBackendBytes === 0 ? DEFAULT_QUOTA_BYTES : config.quotaBackendBytes;
    this.quota = new Quota(quotaBytes < 0 ? Infinity : quotaBytes, () => parts.backend.inUseBytes);
    this.#ids = new RequestIds(this.cluster.localId, ports.clock.wallMs());
    this.#encoder = new RequestEncoder(this.#ids);
    this.#barrier = new ReadBarrier(this.#node, ports.clock, requestTimeoutMs(config), metrics);
    this.#release = new LogRelease({
      ...parts,
      snapshotCount: config.snapshotCount,
      maxWals: config.maxWals,
      log: ports.log,
      onFatal,
    });
    this.#autoCompactor = config.autoCompaction.mode === "off"
      ? undefined
      : new AutoCompactor(config.autoCompaction, this, ports);
    this.#applier = new Applier({
      store: this.store,
      lessor: this.lessor,
      cluster: this.cluster,
      alarms: this.alarms,
      quota: this.quota,
      onLeaseRevoked: (id) => this.leases.onRevoked(id),
      clock: ports.clock,
      onApplied: (kind, succeeded, tookMs, sinceProposedMs) =>
        this.#onApplied(kind, succeeded, tookMs, sinceProposedMs),
      onQuotaReached: () => this.#raiseNoSpace(),
      onCompactionScheduled: () => this.#compactInBackground(),
      onClusterVersion: (version) => this.#onClusterVersion(version),
    });
    const { pendingBytesMax = PENDING_BYTES_MAX } = config;
    this.#loop = new RaftLoop({
      node: this.#node,
      storage: parts.storage,
      log: parts.wal,
      clock: ports.clock,
      tickMs: config.heartbeatMs,
      requestTimeoutMs: requestTimeoutMs(config),
      apply: (entry, proposal) => this.#apply(entry, proposal),
      roomToApply: () => this.backend.pendingBytes < pendingBytesMax ? undefined : this.backend.nextCommit(),
      flush,
      onApplied: () => {
        this.#barrier.onApplied(this.appliedIndex);
        if (this.leader === 0n) this.#campaignAlone();
        this.watchHub.deliver();
      },
      onSoftState: (state) => this.#onSoftState(state),
      onReadStates: (states) => this.#barrier.onReadStates(states, this.appliedIndex),
      onFatal,
    });
  }

  /** Starts raft; resolves when the member is known to the cluster and may serve. */
  async start(): Promise<void> {
    const { clock } = this.#ports;
    this.#updateVoters();
    this.#loop.start();
    this.#campaignAlone();
    this.#stalledReads = clock.every(this.config.heartbeatMs, () => this.#barrier.onTick());
    this.#release.start(clock);
    this.leases.start();
    if (this.store.compactionPending) this.#compactInBackground();
    await this.#ready;
    this.#autoCompactor?.start();
  }

  /** Finishes what is under way and closes the log and the store. */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#autoCompactor?.stop();
    this.#stalledReads?.cancel();
    this.leases.stop();
    this.#release.stop();
    await this.#loop.stop();
    this.#barrier.failAll(new EtcdError("stopped"));
    // A store that failed commits nothing more.
    if (!this.#halted) await this.backend.commit();
    await this.#parts.wal.close();
    await this.backend.close();
    this.#parts.lock.release();
  }

  #halt(): void {
    this.#halted = true;
    void this.#loop.stop();
    this.#barrier.failAll(new EtcdError("stopped"));
  }

  get term(): Term {
    return this.#node.term;
  }

  /** 0 when it is not known. */
  get leader(): bigint {
    return this.#node.leader;
  }

  get isLeader(): boolean {
    return this.#node.isLeader;
  }

  get committedIndex(): RaftIndex {
    return this.#node.commitIndex;
  }

  get appliedIndex(): RaftIndex {
    return this.#node.appliedIndex;
  }

  raftStatus(): Status {
    return this.#node.status();
  }

  get pendingProposals(): number {
    return this.#loop.pendingProposals;
  }

  get failedProposals(): number {
    return this.#loop.failedProposals;
  }

  get walWrittenBytes(): number {
    return this.#parts.wal.writtenBytes;
  }

  // Requests.

  /**
   * Puts a request into the log; settled with its result when it has been applied here. `encoded` is the
   * request as protobuf. Throws `requestTooLarge`, `tooManyRequests`, `noLeader` and `stopped`.
   */
  propose<K extends RequestKind, T>(kind: K, request: RaftRequests[K], encoded: Uint8Array): Pending<T> {
    if (this.committedIndex - this.appliedIndex > APPLY_LAG_MAX) throw new EtcdError("tooManyRequests");
    const data = this.#encoder.encode(kind, encoded);
    if (data.length > this.config.maxRequestBytes) throw new EtcdError("requestTooLarge");
    const proposal = new Proposal<K, T>(kind, request, this.#ports.clock.recentMs);
    this.#loop.propose(data, proposal as Proposal);
    return proposal;
  }

  /**
   * Undefined when the quota has room for a request. Otherwise its answer, which fails with `noSpace` once the
   * alarm that keeps others out is raised: who is refused finds the alarm, as with etcd.
   */
  checkQuota(cost: number): Pending<never> | undefined {
    if (!this.quota.isExceededBy(cost)) return undefined;
    const refusal = new Pending<never>();
    const refuse = (): void => refusal.reject(new EtcdError("noSpace"));
    this.#raiseNoSpace().observe({ onValue: refuse, onError: refuse });
    return refusal;
  }

  #raiseNoSpace(): Pending<unknown> {
    if (this.alarms.noSpace) return DONE;
    const request = create(AlarmRequestSchema, {
      action: AlarmAction.ACTIVATE,
      memberID: this.cluster.localId,
      alarm: AlarmType.NOSPACE,
    });
    this.#ports.log.warn("alarm raised", {
      alarm: "NOSPACE",
      "local-member-id": hexId(this.cluster.localId),
    });
    return this.proposeAlarm(request);
  }

  proposeAlarm(request: AlarmRequest): Pending<readonly Alarm[]> {
    return this.propose("alarm", request, toBinary(AlarmRequestSchema, request));
  }

  /** An id for a lease whose client leaves the choice to the server: above 0, as an int64. */
  newLeaseId(): bigint {
    do this.#ids.advance(); while (BigInt.asUintN(63, this.#ids.current) === 0n);
    return BigInt.asUintN(63, this.#ids.current);
  }

  proposeRevoke(id: bigint): Pending<unknown> {
    const request = create(LeaseRevokeRequestSchema, { ID: id });
    return this.propose("leaseRevoke", request, toBinary(LeaseRevokeRequestSchema, request));
  }

  proposeCheckpoints(leases: readonly Checkpoint[]): Pending<unknown> {
    const checkpoints = leases.map(({ id, remainingSeconds }) => ({
      ID: id,
      remainingTTL: BigInt(remainingSeconds),
    }));
    const request = create(LeaseCheckpointRequestSchema, { checkpoints });
    return this.propose("leaseCheckpoint", request, toBinary(LeaseCheckpointRequestSchema, request));
  }

  compact(revision: number): Pending<unknown> {
    const request = create(CompactionRequestSchema, { revision: BigInt(revision) });
    return this.propose("compaction", request, toBinary(CompactionRequestSchema, request));
  }

  /** Whether a linearizable read may be answered in this turn: a leader without rivals knows what is committed. */
  get canReadNow(): boolean {
    return this.#isSingleVoter && this.#node.isLeader && this.#settledTerm === this.#node.term &&
      !this.#halted;
  }

  /** Settled when a linearizable read may be answered. */
  readBarrier(): Pending<void> {
    if (this.#stopped || this.#halted) throw new EtcdError("stopped");
    if (this.canReadNow) return DONE;
    this.#loop.wake();
    return this.#barrier.wait();
  }

  /** The outside, for services that need it themselves. */
  get ports(): ServerPorts {
    return this.#ports;
  }

  // Maintenance.

  /** The store as it is now, to be read as a bbolt file and closed. Compaction waits meanwhile. */
  openSnapshot(): DatabaseSnapshot {
    const { clock } = this.#ports;
    const startedMs = clock.monotonicMs();
    return new DatabaseSnapshot(
      this.store,
      () => this.#stopped,
      () => this.metrics.snapshotTransfer.observe((clock.monotonicMs() - startedMs) / 1000),
    );
  }

  async hashKv(revision: number): Promise<KvHash> {
    const job = this.store.hashKv(revision);
    if (!(job instanceof KvHashJob)) return job;
    const { clock } = this.#ports;
    const startedMs = clock.monotonicMs();
    while (!job.step(HASH_SLICE_RECORDS)) await socketsServed(clock);
    this.metrics.hashRevision.observe((clock.monotonicMs() - startedMs) / 1000);
    return job.result();
  }

  async hashBackend(): Promise<number> {
    const job = this.store.hashBackend();
    const { clock } = this.#ports;
    const startedMs = clock.monotonicMs();
    while (!job.step(HASH_SLICE_RECORDS)) await socketsServed(clock);
    this.metrics.hash.observe((clock.monotonicMs() - startedMs) / 1000);
    return job.result();
  }

  /** Gives disk space back. One at a time: who asks meanwhile waits for the one under way. */
  defragment(): Promise<void> {
    this.#defragmentation ??= this.#defragment().finally(() => this.#defragmentation = undefined);
    return this.#defragmentation;
  }

  async #defragment(): Promise<void> {
    const { clock, log } = this.#ports;
    const startedMs = clock.monotonicMs();
    const before = this.backend.sizeBytes;
    log.info("starting defragmentation", { "local-member-id": hexId(this.cluster.localId) });
    this.metrics.defragInflight = 1;
    await this.backend.defragment().finally(() => this.metrics.defragInflight = 0);
    const tookMs = clock.monotonicMs() - startedMs;
    this.metrics.defrag.observe(tookMs / 1000);
    log.info("finished defragmentation", {
      "current-db-size-bytes": this.backend.sizeBytes,
      "current-db-size-bytes-diff": this.backend.sizeBytes - before,
      took: `${tookMs.toFixed(3)}ms`,
    });
  }

  /** Resolves when no compaction has work left: what a physical compaction waits for. */
  async compactionDone(): Promise<void> {
    while (this.store.compactionPending && !this.#stopped) {
      await new Promise<void>((resolve) => this.#ports.clock.after(this.config.compactionSleepMs, resolve));
    }
    await this.backend.commit();
  }

  #compactInBackground(): void {
    if (this.#compacting) return;
    this.#compacting = true;
    const { clock, log } = this.#ports;
    let startedMs = clock.monotonicMs();
    const step = (): void => {
      if (this.#stopped) return;
      const stepMs = clock.monotonicMs();
      const isIndexing = this.store.isCompactingIndex;
      const state = this.store.compactionStep();
      if (state !== "held") this.metrics.onCompactionStep(isIndexing, clock.monotonicMs() - stepMs);
      if (state === "working" || state === "held") {
        clock.after(this.config.compactionSleepMs, step);
        return;
      }
      const report = this.store.compactionReport;
      const tookMs = clock.monotonicMs() - startedMs;
      if (state === "finished") this.metrics.onCompacted(report?.removed ?? 0, tookMs, clock.wallMs());
      if (this.store.compactionPending) {
        startedMs = clock.monotonicMs();
        return clock.afterSockets(step);
      }
      this.#compacting = false;
      log.info("finished scheduled compaction", {
        "compact-revision": report?.compactRevision,
        took: `${tookMs.toFixed(3)}ms`,
        hash: report?.hash.hash,
        "current-db-size-bytes": this.backend.sizeBytes,
        "current-db-size-in-use-bytes": this.backend.inUseBytes,
      });
    };
    clock.afterSockets(step);
  }

  // Applying.

  #apply(entry: Entry, proposal: Proposal | undefined): void {
    if (entry.type === EntryType.normal) {
      if (entry.data.length > 0) this.#applier.apply(entry.data, proposal);
    } else {
      this.#applyConfChange(entry);
    }
    this.backend.endEntry(entry.index, entry.term);
    this.#release.onApplied(entry.index, entry.data.length);
    if (this.#settledTerm !== entry.term) this.#onTermSettled(entry.term);
  }

  #onApplied(
    kind: RequestKind,
    succeeded: boolean,
    tookMs: number,
    sinceProposedMs: number | undefined,
  ): void {
    this.metrics.applies.observe(operationNames[kind], succeeded, tookMs / 1000);
    if (sinceProposedMs !== undefined) {
      // To etcd a request that was refused when it was applied has succeeded, too: the cluster has done its part.
      this.metrics.requests.observe(operationNames[kind], true, sinceProposedMs / 1000);
    }
    if (tookMs < this.config.warningApplyMs) return;
    this.metrics.slowApplies += 1;
    this.#ports.log.warn("apply request took too long", {
      took: `${tookMs.toFixed(3)}ms`,
      "expected-duration": `${this.config.warningApplyMs}ms`,
      request: operationNames[kind],
    });
  }

  #applyConfChange(entry: Entry): void {
    const change = decodeConfChange(entry.data);
    const member = decodeMemberJson(change.context);
    const conf = this.#node.applyConfChange(change);
    if (this.cluster.get(member.id) === undefined) {
      // The name at bootstrap is a hint; a member says its own name when it runs.
      const added = { ...member, name: "", clientUrls: [] };
      this.cluster.add(added);
      putMember(this.backend, added);
      this.#ports.log.info("added member", {
        "cluster-id": hexId(this.cluster.id),
        "local-member-id": hexId(this.cluster.localId),
        "added-peer-id": hexId(member.id),
        "added-peer-peer-urls": member.peerUrls,
        "added-peer-is-learner": member.isLearner,
      });
    }
    writeConfState(this.backend, conf);
    this.#updateVoters();
  }

  #updateVoters(): void {
    const { voters, votersOutgoing } = this.#node.confState;
    this.#isSingleVoter = votersOutgoing.length === 0 && voters.length === 1 &&
      voters[0] === this.cluster.localId;
  }

  /**
   * Without other voters there is nothing to wait for. Refused while a configuration change is unapplied; and the
   * vote of a campaign may still be on its way to the disk.
   */
  #campaignAlone(): void {
    if (!this.#isSingleVoter || !this.#node.isFollower || this.leader !== 0n || !this.#node.campaign()) {
      return;
    }
    this.#ports.log.info("started as single-node; fast-forwarding election ticks", {
      "local-member-id": hexId(this.cluster.localId),
    });
    this.#loop.wake();
  }

  /** An entry of the current term is applied: what older leaders committed is applied with it. */
  #onTermSettled(term: Term): void {
    this.#settledTerm = term;
    if (this.#node.isLeader && term === this.#node.term) this.leases.onLeading();
    if (!this.#published && this.#node.isLeader && term === this.#node.term) this.#publish();
  }

  #onSoftState({ leader, role }: SoftState): void {
    this.metrics.onLeader(leader);
    if (!this.#node.isLeader) this.leases.onFollowing();
    this.#ports.log.info("raft.node: leader changed", {
      "local-member-id": hexId(this.cluster.localId),
      leader: hexId(leader),
      role,
      term: this.term,
    });
  }

  /** Tells the cluster this member's name and client URLs, and settles the cluster's version. */
  #publish(): void {
    this.#published = true;
    const { log } = this.#ports;
    const version = create(ClusterVersionSetRequestSchema, { ver: CLUSTER_VERSION });
    if (this.cluster.version === undefined) {
      log.info("setting up initial cluster version using v3 API", { "cluster-version": "3.7" });
      this.propose("clusterVersionSet", version, toBinary(ClusterVersionSetRequestSchema, version)).then(
        null,
        this.#retryPublish,
      );
    }
    const attributes = create(ClusterMemberAttrSetRequestSchema, {
      memberID: this.cluster.localId,
      memberAttributes: { name: this.config.name, clientUrls: [...this.config.advertiseClientUrls] },
    });
    this.propose("clusterMemberAttrSet", attributes, toBinary(ClusterMemberAttrSetRequestSchema, attributes))
      .then(() => {
        log.info("published local member to cluster through raft", {
          "local-member-id": hexId(this.cluster.localId),
          "local-member-attributes": `{Name:${this.config.name} ClientURLs:[${
            this.config.advertiseClientUrls.join(" ")
          }]}`,
          "cluster-id": hexId(this.cluster.id),
          "publish-timeout": `${requestTimeoutMs(this.config) / 1000}s`,
        });
        this.#ready.resolve();
      }, this.#retryPublish);
  }

  readonly #retryPublish = (error: unknown): void => {
    if (this.#stopped || this.#halted) return;
    this.#ports.log.warn("failed to publish local member to cluster through raft", { error: String(error) });
    if (this.#node.isLeader) this.#publish();
    else this.#published = false;
  };

  #onClusterVersion(version: string): void {
    const target = parseVersion(version);
    if (target !== undefined) migrateSchema(this.backend, target);
    this.#ports.log.info("cluster version is updated", { "cluster-version": version.replace(/\.0$/, "") });
  }
}
