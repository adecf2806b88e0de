import { toBinary } from "@bufbuild/protobuf";
import { ByteWriter } from "../base/byte_writer.ts";
import { Pending } from "../base/pending.ts";
import {
  decodeCompactionRequest,
  decodeDeleteRangeRequest,
  decodePutRequest,
  decodeRangeRequest,
  decodeTxnRequest,
  encodeCompactionResponse,
  encodeDeleteRangeRequest,
  encodeDeleteRangeResponse,
  encodePutRequest,
  encodePutResponse,
  encodeRangeResponse,
  encodeTxnRequest,
  encodeTxnResponse,
} from "../gen/codec/etcdserverpb/kv_codec.ts";
import {
  type CompactionRequest,
  CompactionRequestSchema,
  type DeleteRangeRequest,
  KV,
  type PutRequest,
  type RangeRequest,
  type TxnRequest,
} from "../gen/etcdserverpb/kv_pb.ts";
import type { LongReply } from "../grpc/long_reply.ts";
import type { CallContext, Method, Reply } from "../grpc/method.ts";
import { isReadOnlyTxn, isSerializableTxn, rangeOptions } from "../mvcc/requests.ts";
import { checkDeleteRange, checkPut, checkRange, checkTxn } from "../mvcc/txn_checks.ts";
import {
  type DeleteRangeOutcome,
  executeTxn,
  type PutOutcome,
  type RangeOutcome,
  type RevisionHeader,
  type TxnOutcome,
} from "../mvcc/txn_eval.ts";
import { putCost, txnCost } from "../server/quota.ts";
import type { EtcdServer } from "../server/server.ts";
import { HeaderEncoder } from "./header.ts";
import { streaming, unary } from "./methods.ts";
import { LargeRange } from "./large_range.ts";
import { RANGE_WORK_PER_TURN, type RangeEnvelope } from "./range_fields.ts";
import { encodeRangePiece, RangeStream } from "./range_stream.ts";
import { TurnBudget } from "./turn_budget.ts";

/** etcdserverpb.KV. The hot path: codecs are generated, key-values go out as they are stored. */
export function kvMethods(server: EtcdServer, headers: HeaderEncoder): Method[] {
  const header = ({ revision }: RevisionHeader): Uint8Array => headers.encodeTransient(revision, server.term);
  const envelope: RangeEnvelope = {
    head: (revision) => encoded(encodeRangeResponse, { header: header({ revision }) }),
    tail: (more, count) => encoded(encodeRangeResponse, { more, count }),
  };
  const budget = new TurnBudget(RANGE_WORK_PER_TURN, server.ports.clock);
  const service = new KvService(server, envelope, budget);
  const { put, range, rangeStream, deleteRange, txn, compact } = KV.method;
  return [
    unary(put, {
      decode: decodePutRequest,
      encode: (out, reply: PutOutcome) =>
        encodePutResponse(out, { header: header(reply.header), prevKv: reply.prevKv }),
    }, (request, context) => service.put(request, context)),
    unary(range, {
      decode: decodeRangeRequest,
      encode: (out, reply: RangeOutcome) =>
        encodeRangeResponse(out, {
          header: header(reply.header),
          kvs: reply.kvs,
          more: reply.more,
          count: reply.count,
        }),
    }, (request) => service.range(request)),
    streaming(
      rangeStream,
      {
        decode: decodeRangeRequest,
        encode: encodeRangePiece,
      },
      (call) => new RangeStream(server, budget, call, envelope),
      0,
    ),
    unary(deleteRange, {
      decode: decodeDeleteRangeRequest,
      encode: (out, reply: DeleteRangeOutcome) =>
        encodeDeleteRangeResponse(out, {
          header: header(reply.header),
          deleted: reply.deleted,
          prevKvs: reply.prevKvs,
        }),
    }, (request, context) => service.deleteRange(request, context)),
    unary(txn, {
      decode: decodeTxnRequest,
      encode: (out, reply: TxnOutcome) =>
        encodeTxnResponse(out, {
          header: header(reply.header),
          succeeded: reply.succeeded,
          responses: reply.responses,
        }),
    }, (request, context) => service.txn(request, context)),
    unary(compact, {
      decode: decodeCompactionRequest,
      encode: (out, reply: { readonly header: RevisionHeader }) =>
        encodeCompactionResponse(out, { header: header(reply.header) }),
    }, (request) => service.compact(request)),
  ];
}

class KvService {
  readonly #server: EtcdServer;
  readonly #envelope: RangeEnvelope;
  readonly #budget: TurnBudget;

  constructor(server: EtcdServer, envelope: RangeEnvelope, budget: TurnBudget) {
    this.#server = server;
    this.#envelope = envelope;
    this.#budget = budget;
  }

  put(request: PutRequest, context: CallContext): Pending<PutOutcome> {
    checkPut(request);
    const refusal = this.#server.checkQuota(putCost(request));
    if (refusal !== undefined) return refusal;
    return this.#server.propose("put", request, context.requestBytes ?? encoded(encodePutRequest, request));
  }

  deleteRange(request: DeleteRangeRequest, context: CallContext): Pending<DeleteRangeOutcome> {
    checkDeleteRange(request);
    const bytes = context.requestBytes ?? encoded(encodeDeleteRangeRequest, request);
    return this.#server.propose("deleteRange", request, bytes);
  }

  range(request: RangeRequest): Reply<RangeOutcome> {
    checkRange(request);
    const server = this.#server;
    const startedMs = server.ports.clock.recentMs;
    if (request.serializable || server.canReadNow) return this.#read(request, startedMs, startedMs);
    return afterBarrier(
      server,
      () => this.#read(request, startedMs, this.#now()),
      () => server.metrics.requests.observe("Range", false, (this.#now() - startedMs) / 1000),
    );
  }

  /** One key is answered at once; a range that takes more than a slice, whatever its limit, in slices. */
  #read(
    request: RangeRequest,
    startedMs: number,
    readMs: number,
  ): RangeOutcome | Pending<RangeOutcome | LongReply> {
    const server = this.#server;
    const options = rangeOptions(request);
    try {
      if (request.rangeEnd.length > 0) {
        const onEnd = (succeeded: boolean): void => this.#onRangeRead(succeeded, startedMs, readMs);
        return new LargeRange(server, this.#budget, options, this.#envelope, onEnd).run();
      }
      const { kvs, count, more, revision } = server.store.range(options);
      this.#onRangeRead(true, startedMs, readMs);
      return { header: { revision }, kvs, count, more };
    } catch (error) {
      this.#onRangeRead(false, startedMs, readMs);
      throw error;
    }
  }

  #onRangeRead(succeeded: boolean, startedMs: number, readMs: number): void {
    const now = this.#now();
    this.#server.metrics.onRange(succeeded, now - startedMs, now - readMs);
  }

  #now(): number {
    return this.#server.ports.clock.monotonicMs();
  }

  txn(request: TxnRequest, context: CallContext): Reply<TxnOutcome> {
    const server = this.#server;
    checkTxn(request, server.config.maxTxnOps);
    if (isReadOnlyTxn(request)) {
      if (isSerializableTxn(request) || server.canReadNow) return this.#readTxn(request);
      return afterBarrier(server, () => this.#readTxn(request));
    }
    const cost = txnCost(request);
    const refusal = cost > 0 ? server.checkQuota(cost) : undefined;
    if (refusal !== undefined) return refusal;
    return server.propose("txn", request, context.requestBytes ?? encoded(encodeTxnRequest, request));
  }

  /** Counted without its wait for the barrier, as etcd counts it, and only when it comes that far. */
  #readTxn(request: TxnRequest): TxnOutcome {
    const { store, metrics } = this.#server;
    const startedMs = this.#now();
    let succeeded = false;
    try {
      const outcome = executeTxn(store, request, false);
      succeeded = true;
      return outcome;
    } finally {
      metrics.requests.observe("ReadonlyTxn", succeeded, (this.#now() - startedMs) / 1000);
    }
  }

  async compact(request: CompactionRequest): Promise<{ readonly header: RevisionHeader }> {
    const server = this.#server;
    try {
      const bytes = toBinary(CompactionRequestSchema, request);
      return await server.propose<"compaction", { readonly header: RevisionHeader }>(
        "compaction",
        request,
        bytes,
      );
    } finally {
      // Physical compactions wait for the work of earlier ones too, whatever came of this one.
      if (request.physical) await server.compactionDone();
    }
  }
}

function afterBarrier<T>(
  server: EtcdServer,
  read: () => T | Pending<T>,
  onRefused: () => void = () => {},
): Pending<T> {
  const result = new Pending<T>();
  server.readBarrier().observe({
    onValue() {
      try {
        const value = read();
        if (value instanceof Pending) {
          value.observe({
            onValue: (v) => result.resolve(v),
            onError: (e) => result.reject(e),
          });
        } else result.resolve(value);
      } catch (error) {
        result.reject(error);
      }
    },
    onError: (error) => {
      onRefused();
      result.reject(error);
    },
  });
  return result;
}

function encoded<M>(encode: (out: ByteWriter, message: M) => void, message: M): Uint8Array {
  const out = new ByteWriter();
  encode(out, message);
  return out.toBytes();
}
