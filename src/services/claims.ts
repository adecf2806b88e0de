import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { assert } from "../base/assert.ts";
import { concatBytes, EMPTY_BYTES, utf8 } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import {
  Compare_CompareTarget as Target,
  type RequestOpSchema,
  TxnRequestSchema,
} from "../gen/etcdserverpb/kv_pb.ts";
import { LeaseGrantRequestSchema } from "../gen/etcdserverpb/lease_pb.ts";
import { type KeyValue, KeyValueSchema } from "../gen/mvccpb/kv_pb.ts";
import type { CallContext } from "../grpc/method.ts";
import { Code, RpcError } from "../grpc/status.ts";
import { sortOrder, sortTarget } from "../mvcc/range.ts";
import type { TxnOutcome } from "../mvcc/txn_eval.ts";
import { watcherFlag } from "../mvcc/watcher.ts";
import type { LeaseGrantOutcome } from "../server/apply/applier.ts";
import { txnCost } from "../server/quota.ts";
import type { EtcdServer } from "../server/server.ts";
import { wireErrors } from "./error_table.ts";

/*
 * Claims are what locks and elections are made of, in etcd's layout: a key `<name>/<lease in hex>` that lives as
 * long as its lease. Of the claims on a name the one created first is the holder or the leader; the others wait
 * until all that were created before theirs are gone.
 */

/** TTL of the lease of a claim whose client brings none. Nobody renews it. */
const LEASE_TTL_SECONDS = 60n;

export interface Claim {
  readonly key: Uint8Array;
  /** At which the key was created. */
  readonly revision: number;
  /** The store's revision when the claim was made. */
  readonly headerRevision: number;
  /** What the key holds, when it was there before. */
  readonly existing: KeyValue | undefined;
}

/** The client's lease, or a new one. */
export async function leaseOfClaim(server: EtcdServer, lease: bigint): Promise<bigint> {
  if (lease !== 0n) return lease;
  const request = create(LeaseGrantRequestSchema, { ID: server.newLeaseId(), TTL: LEASE_TTL_SECONDS });
  const bytes = toBinary(LeaseGrantRequestSchema, request);
  return (await server.propose<"leaseGrant", LeaseGrantOutcome>("leaseGrant", request, bytes)).ID;
}

/** Makes a claim, or finds the one that this lease has already. Throws `leaseNotFound`. */
export async function makeClaim(
  server: EtcdServer,
  name: Uint8Array,
  lease: bigint,
  value: Uint8Array,
): Promise<Claim> {
  const key = concatBytes([name, utf8(`/${lease.toString(16)}`)]);
  const { succeeded, responses, header } = await changeIf(
    server,
    key,
    0n,
    { case: "requestPut", value: { key, value, lease } },
    { case: "requestRange", value: { key } },
  );
  if (succeeded) {
    return { key, revision: header.revision, headerRevision: header.revision, existing: undefined };
  }
  const [operation] = responses;
  assert(operation?.response.case === "responseRange", "A claim's transaction has one range");
  const existing = fromBinary(KeyValueSchema, operation.response.value.kvs[0]!);
  return { key, revision: Number(existing.createRevision), headerRevision: header.revision, existing };
}

type Operation = MessageInitShape<typeof RequestOpSchema>["request"];

/** Changes a key if it was created at `createRevision`, 0 for not at all. Throws `keyNotProvided` for the empty key. */
export function changeIf(
  server: EtcdServer,
  key: Uint8Array,
  createRevision: bigint,
  operation: Operation,
  otherwise?: Operation,
): PromiseLike<TxnOutcome> {
  if (key.length === 0) throw new EtcdError("keyNotProvided");
  const request = create(TxnRequestSchema, {
    compare: [{
      key,
      target: Target.CREATE,
      targetUnion: { case: "createRevision", value: createRevision },
    }],
    success: [{ request: operation! }],
    failure: otherwise === undefined ? [] : [{ request: otherwise }],
  });
  const cost = txnCost(request);
  const refusal = cost > 0 ? server.checkQuota(cost) : undefined;
  if (refusal !== undefined) return refusal;
  return server.propose<"txn", TxnOutcome>("txn", request, toBinary(TxnRequestSchema, request));
}

/** Deletes the key of a claim, if it is still the same. */
export function withdraw(server: EtcdServer, key: Uint8Array, revision: bigint): PromiseLike<TxnOutcome> {
  return changeIf(server, key, revision, { case: "requestDeleteRange", value: { key } });
}

/** The claim on a name that was created first. */
export function firstClaim(server: EtcdServer, name: Uint8Array): KeyValue | undefined {
  const { kvs: [kv] } = server.store.range({
    ...claimsOn(name),
    sortOrder: sortOrder.ascend,
    sortTarget: sortTarget.create,
    limit: 1,
  });
  return kv === undefined ? undefined : fromBinary(KeyValueSchema, kv);
}

/** The keys of all claims on a name. */
export function claimsOn(name: Uint8Array): { readonly key: Uint8Array; readonly rangeEnd: Uint8Array } {
  return { key: concatBytes([name, utf8("/")]), rangeEnd: concatBytes([name, utf8("0")]) };
}

/**
 * Resolves when every claim on the name that was made before `revision` is gone. Rejects when the client gives
 * up. Waits for the last one made before, and looks again then: one waiter wakes for each claim that goes.
 */
export async function waitForTurn(
  server: EtcdServer,
  name: Uint8Array,
  revision: number,
  context: CallContext,
): Promise<void> {
  for (;;) {
    const { kvs: [kv] } = server.store.range({
      ...claimsOn(name),
      sortOrder: sortOrder.descend,
      sortTarget: sortTarget.create,
      maxCreateRevision: revision - 1,
      limit: 1,
    });
    if (kv === undefined || revision <= 1) return;
    await deletionOf(server, fromBinary(KeyValueSchema, kv).key, context);
  }
}

/** Resolves when the key is deleted, or may have been. Rejects when the client gives up. */
function deletionOf(server: EtcdServer, key: Uint8Array, context: CallContext): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      stream.close();
      resolve();
    };
    const stream = server.watchHub.openStream({ writable: true, onEvents: done, onCompacted: done });
    stream.create({ key, rangeEnd: EMPTY_BYTES, startRevision: 0, id: 0, flags: watcherFlag.noPut });
    context.onCancel((reason) => {
      stream.close();
      reject(reason);
    });
  });
}

/**
 * A handler whose errors have the code `Unknown`: etcd serves locks and elections through a client of its own,
 * and what that is told reaches the caller as a text alone.
 */
export function withUnknownCodes<I, O>(
  handle: (request: I, context: CallContext) => Promise<O>,
): (request: I, context: CallContext) => Promise<O> {
  return async (request, context) => {
    try {
      return await handle(request, context);
    } catch (error) {
      if (error instanceof EtcdError) throw new RpcError(Code.Unknown, wireErrors[error.code][1]);
      throw error;
    }
  };
}
