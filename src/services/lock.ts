import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import { DeleteRangeRequestSchema } from "../gen/etcdserverpb/kv_pb.ts";
import { KeyValueSchema } from "../gen/mvccpb/kv_pb.ts";
import {
  Lock,
  type LockRequest,
  LockResponseSchema,
  UnlockResponseSchema,
} from "../gen/v3lockpb/v3lock_pb.ts";
import type { CallContext, Method } from "../grpc/method.ts";
import type { DeleteRangeOutcome } from "../mvcc/txn_eval.ts";
import type { EtcdServer } from "../server/server.ts";
import { leaseOfClaim, makeClaim, waitForTurn, withdraw, withUnknownCodes } from "./claims.ts";
import { headerAt } from "./header.ts";
import { messageCodec, unary } from "./methods.ts";

/** v3lockpb.Lock: locks that live as long as a lease. */
export function lockMethods(server: EtcdServer): Method[] {
  const { lock, unlock } = Lock.method;
  return [
    unary(
      lock,
      messageCodec(lock),
      withUnknownCodes(async (request, context) => {
        const { key, revision } = await acquire(server, request, context);
        return create(LockResponseSchema, { header: headerAt(server, revision), key });
      }),
    ),
    unary(
      unlock,
      messageCodec(unlock),
      withUnknownCodes(async ({ key }) => {
        const { header } = await deleteKey(server, key);
        return create(UnlockResponseSchema, { header: headerAt(server, header.revision) });
      }),
    ),
  ];
}

/** Waits for the lock; the revision is one at which it was held. Throws `leaseNotFound` and `sessionExpired`. */
async function acquire(
  server: EtcdServer,
  { name, lease }: LockRequest,
  context: CallContext,
): Promise<{ readonly key: Uint8Array; readonly revision: number }> {
  const claim = await makeClaim(server, name, await leaseOfClaim(server, lease), EMPTY_BYTES);
  const { key } = claim;
  try {
    await waitForTurn(server, name, claim.revision, context);
    await server.readBarrier();
  } catch (error) {
    await withdraw(server, key, BigInt(claim.revision));
    throw error;
  }
  // The lease may have ended while the client waited, and its claim with it (etcd issue 11456).
  const kv = server.store.get(key);
  if (kv === undefined || fromBinary(KeyValueSchema, kv).createRevision !== BigInt(claim.revision)) {
    throw new EtcdError("sessionExpired");
  }
  return { key, revision: server.store.currentRevision };
}

function deleteKey(server: EtcdServer, key: Uint8Array): PromiseLike<DeleteRangeOutcome> {
  if (key.length === 0) throw new EtcdError("keyNotProvided");
  const request = create(DeleteRangeRequestSchema, { key });
  const bytes = toBinary(DeleteRangeRequestSchema, request);
  return server.propose<"deleteRange", DeleteRangeOutcome>("deleteRange", request, bytes);
}
