import { create, fromBinary } from "@bufbuild/protobuf";
import { compareBytes, equalBytes } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import {
  type CampaignRequest,
  CampaignResponseSchema,
  Election,
  type LeaderKey,
  type LeaderRequest,
  type LeaderResponse,
  LeaderResponseSchema,
  ProclaimResponseSchema,
  ResignResponseSchema,
} from "../gen/v3electionpb/v3election_pb.ts";
import { WatchResponseSchema } from "../gen/etcdserverpb/watch_pb.ts";
import { Event_EventType, type KeyValue } from "../gen/mvccpb/kv_pb.ts";
import type { CallContext, Method, StreamCall, StreamConsumer } from "../grpc/method.ts";
import type { Watcher } from "../mvcc/watcher.ts";
import type { WatchReceiver, WatchStream } from "../mvcc/watch_stream.ts";
import type { TxnOutcome } from "../mvcc/txn_eval.ts";
import type { EtcdServer } from "../server/server.ts";
import {
  changeIf,
  claimsOn,
  firstClaim,
  leaseOfClaim,
  makeClaim,
  waitForTurn,
  withdraw,
  withUnknownCodes,
} from "./claims.ts";
import { headerAt } from "./header.ts";
import { messageCodec, streaming, unary } from "./methods.ts";

/** v3electionpb.Election: who leads is whose claim on the name is the oldest. */
export function electionMethods(server: EtcdServer): Method[] {
  const { campaign, proclaim, leader, observe, resign } = Election.method;
  return [
    unary(
      campaign,
      messageCodec(campaign),
      withUnknownCodes((request, context) => runCampaign(server, request, context)),
    ),
    unary(
      proclaim,
      messageCodec(proclaim),
      withUnknownCodes(async ({ leader, value }) => {
        if (leader === undefined) throw new EtcdError("leaderKeyMissing");
        const lease = await leaseOfClaim(server, leader.lease);
        const { header } = await proclaimAs(server, { ...leader, lease }, value);
        return create(ProclaimResponseSchema, { header: headerAt(server, header.revision) });
      }),
    ),
    unary(
      leader,
      messageCodec(leader),
      withUnknownCodes(async ({ name }) => {
        await server.readBarrier();
        const kv = firstClaim(server, name);
        if (kv === undefined) throw new EtcdError("electionNoLeader");
        return create(LeaderResponseSchema, { header: headerAt(server, server.store.currentRevision), kv });
      }),
    ),
    streaming(observe, messageCodec(observe), (call) => new LeaderObserver(server, call)),
    unary(
      resign,
      messageCodec(resign),
      withUnknownCodes(async ({ leader }) => {
        if (leader === undefined) throw new EtcdError("leaderKeyMissing");
        const { header } = await withdraw(server, leader.key, leader.rev);
        return create(ResignResponseSchema, { header: headerAt(server, header.revision) });
      }),
    ),
  ];
}

async function runCampaign(server: EtcdServer, request: CampaignRequest, context: CallContext) {
  const { name, value } = request;
  const lease = await leaseOfClaim(server, request.lease);
  const { key, revision, headerRevision, existing } = await makeClaim(server, name, lease, value);
  const leader = { name, key, rev: BigInt(revision), lease };
  try {
    if (existing !== undefined && compareBytes(existing.value, value) !== 0) {
      await proclaimAs(server, leader, value);
    }
    await waitForTurn(server, name, revision, context);
  } catch (error) {
    await withdraw(server, key, leader.rev);
    throw error;
  }
  return create(CampaignResponseSchema, { header: headerAt(server, headerRevision), leader });
}

/** Gives a claim a new value. Throws `electionNotLeader` when the claim is gone. */
async function proclaimAs(
  server: EtcdServer,
  { key, rev, lease }: Pick<LeaderKey, "key" | "rev" | "lease">,
  value: Uint8Array,
): Promise<TxnOutcome> {
  const outcome = await changeIf(server, key, rev, { case: "requestPut", value: { key, value, lease } });
  if (!outcome.succeeded) throw new EtcdError("electionNotLeader");
  return outcome;
}

/**
 * One Observe call: who leads now, every value that the leader proclaims, and who leads after it. Of leaders that were
 * gone before they could be told, nothing is.
 */
class LeaderObserver implements StreamConsumer<LeaderRequest>, WatchReceiver {
  readonly #server: EtcdServer;
  readonly #call: StreamCall<LeaderResponse>;
  readonly #watches: WatchStream;
  #name: Uint8Array | undefined;
  #leader: Uint8Array | undefined;
  /** Events up to here were before the last look at the store. */
  #lookedAt = 0;
  #sentRevision = 0n;

  constructor(server: EtcdServer, call: StreamCall<LeaderResponse>) {
    this.#server = server;
    this.#call = call;
    this.#watches = server.watchHub.openStream(this);
  }

  onMessage({ name }: LeaderRequest): void {
    if (this.#name !== undefined) return; // A server stream has one request; a JSON body may go on after it.
    this.#name = name;
    this.#server.readBarrier().observe({
      onValue: () => this.#watch(),
      onError: (error) => this.#call.fail(error),
    });
  }

  #watch(): void {
    if (this.#call.ended) return;
    this.#watches.create({ ...claimsOn(this.#name!), startRevision: 0, id: 0, flags: 0 });
    this.#look();
  }

  onHalfClose(): void {}

  onWritable(): void {
    this.#watches.resume();
  }

  onClose(): void {
    this.#watches.close();
  }

  get writable(): boolean {
    return this.#call.writable;
  }

  onEvents(_watcher: Watcher, revision: number, run: Uint8Array): void {
    for (const { type, kv } of fromBinary(WatchResponseSchema, run).events) {
      if (kv === undefined || kv.modRevision <= this.#lookedAt) continue;
      const isLeader = this.#leader !== undefined && equalBytes(this.#leader, kv.key);
      if (type === Event_EventType.DELETE) {
        if (isLeader) this.#look();
      } else if (isLeader || this.#leader === undefined) {
        this.#leader = kv.key;
        this.#tell(revision, kv);
      }
    }
  }

  /** Events that were missed do not matter, only who leads now; but the watch has ended. */
  onCompacted(): void {
    this.#watch();
  }

  /** Finds who leads now. */
  #look(): void {
    const revision = this.#server.store.currentRevision;
    const kv = firstClaim(this.#server, this.#name!);
    this.#lookedAt = revision;
    this.#leader = kv?.key;
    if (kv !== undefined && kv.modRevision !== this.#sentRevision) this.#tell(revision, kv);
  }

  #tell(revision: number, kv: KeyValue): void {
    this.#sentRevision = kv.modRevision;
    this.#call.send(create(LeaderResponseSchema, { header: headerAt(this.#server, revision), kv }));
  }
}
