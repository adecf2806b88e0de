/**
 * Nanoseconds a message of the generated codecs, beside protobuf-es. Best of seven runs in a loop.
 * `node scripts/bench/codec.ts`, `bun scripts/bench/codec.ts`, `deno run -A scripts/bench/codec.ts`
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import * as kvCodec from "../../src/gen/codec/etcdserverpb/kv_codec.ts";
import * as leaseCodec from "../../src/gen/codec/etcdserverpb/lease_codec.ts";
import * as raftCodec from "../../src/gen/codec/etcdserverpb/raft_internal_codec.ts";
import { decodeKeyValue, encodeKeyValue } from "../../src/gen/codec/mvccpb/kv_codec.ts";
import * as kvpb from "../../src/gen/etcdserverpb/kv_pb.ts";
import { LeaseKeepAliveRequestSchema } from "../../src/gen/etcdserverpb/lease_pb.ts";
import { InternalRaftRequestSchema } from "../../src/gen/etcdserverpb/raft_internal_pb.ts";
import { KeyValueSchema } from "../../src/gen/mvccpb/kv_pb.ts";

const RUNS = 7;
const MESSAGES_A_RUN = 100_000;
const REQUEST_ID = 7587872345678901234n;

const key = new TextEncoder().encode("/registry/pods/default/my-pod-12345");
const value = new Uint8Array(256).fill(7);
const header = {
  clusterId: 14841639068965178418n,
  memberId: 10276657743932975437n,
  revision: 123456n,
  raftTerm: 3n,
};
const headerNumbers = { ...header, revision: 123456, raftTerm: 3 };
const stored = { key, value, createRevision: 1000n, modRevision: 123456n, version: 12n };
const storedNumbers = { key, value, createRevision: 1000, modRevision: 123456, version: 12 };
const putStep = { case: "responsePut" as const, value: { header: { revision: 5n } } };
const txnReply = { header, succeeded: true, responses: [{ response: putStep }] };

const put = toBinary(kvpb.PutRequestSchema, create(kvpb.PutRequestSchema, { key, value }));
const leasedPut = toBinary(
  kvpb.PutRequestSchema,
  create(kvpb.PutRequestSchema, { key, value, lease: REQUEST_ID, prevKv: true }),
);
const range = toBinary(kvpb.RangeRequestSchema, create(kvpb.RangeRequestSchema, { key }));
const txn = toBinary(
  kvpb.TxnRequestSchema,
  create(kvpb.TxnRequestSchema, {
    compare: [{ target: 2, key, targetUnion: { case: "modRevision", value: 1234n } }],
    success: [{ request: { case: "requestPut", value: { key, value } } }],
    failure: [{ request: { case: "requestRange", value: { key } } }],
  }),
);
const entry = toBinary(
  InternalRaftRequestSchema,
  create(InternalRaftRequestSchema, { header: { ID: REQUEST_ID }, put: { key, value } }),
);
const keepAlive = toBinary(
  LeaseKeepAliveRequestSchema,
  create(LeaseKeepAliveRequestSchema, { ID: REQUEST_ID }),
);
const keyValue = toBinary(KeyValueSchema, create(KeyValueSchema, stored));
const putReply = create(kvpb.PutResponseSchema, { header });
const headerBytes = toBinary(kvpb.PutResponseSchema, putReply).subarray(2);
const rangeReply = create(kvpb.RangeResponseSchema, { header, kvs: [stored], count: 1n });
const txnReplyMessage = create(kvpb.TxnResponseSchema, txnReply);

const out = new ByteWriter(65536);
/** Takes each result, so that no call can be left out. */
export let sink: unknown;

function encoding<T>(encode: (out: ByteWriter, message: T) => void, message: T): () => void {
  return () => {
    out.clear();
    encode(out, message);
  };
}

const cases: readonly (readonly [name: string, ours: () => unknown, reference?: () => unknown])[] = [
  [
    "decode PutRequest 35+256",
    () => kvCodec.decodePutRequest(put, 0, put.length),
    () => fromBinary(kvpb.PutRequestSchema, put),
  ],
  [
    "decode PutRequest +lease",
    () => kvCodec.decodePutRequest(leasedPut, 0, leasedPut.length),
    () => fromBinary(kvpb.PutRequestSchema, leasedPut),
  ],
  [
    "decode RangeRequest key",
    () => kvCodec.decodeRangeRequest(range, 0, range.length),
    () => fromBinary(kvpb.RangeRequestSchema, range),
  ],
  [
    "decode TxnRequest cas",
    () => kvCodec.decodeTxnRequest(txn, 0, txn.length),
    () => fromBinary(kvpb.TxnRequestSchema, txn),
  ],
  [
    "decode KeyValue",
    () => decodeKeyValue(keyValue, 0, keyValue.length),
    () => fromBinary(KeyValueSchema, keyValue),
  ],
  [
    "decode InternalRaftRequest put",
    () => raftCodec.decodeInternalRaftRequest(entry, 0, entry.length),
    () => fromBinary(InternalRaftRequestSchema, entry),
  ],
  [
    "decode LeaseKeepAliveRequest",
    () => leaseCodec.decodeLeaseKeepAliveRequest(keepAlive, 0, keepAlive.length),
    () => fromBinary(LeaseKeepAliveRequestSchema, keepAlive),
  ],
  [
    "encode PutResponse header bytes",
    encoding(kvCodec.encodePutResponse, { header: headerBytes }),
    () => toBinary(kvpb.PutResponseSchema, putReply),
  ],
  ["encode PutResponse header numbers", encoding(kvCodec.encodePutResponse, { header: headerNumbers })],
  ["encode PutResponse header bigints", encoding(kvCodec.encodePutResponse, { header })],
  [
    "encode RangeResponse 1 kv bytes",
    encoding(kvCodec.encodeRangeResponse, { header: headerBytes, kvs: [keyValue], count: 1 }),
    () => toBinary(kvpb.RangeResponseSchema, rangeReply),
  ],
  [
    "encode RangeResponse 10 kv bytes",
    encoding(kvCodec.encodeRangeResponse, {
      header: headerBytes,
      kvs: Array.from({ length: 10 }, () => keyValue),
      count: 10,
    }),
  ],
  [
    "encode RangeResponse 1 kv message",
    encoding(kvCodec.encodeRangeResponse, { header: headerBytes, kvs: [storedNumbers], count: 1 }),
  ],
  [
    "encode KeyValue numbers",
    encoding(encodeKeyValue, storedNumbers),
    () => toBinary(KeyValueSchema, create(KeyValueSchema, stored)),
  ],
  [
    "encode InternalRaftRequest raw put",
    encoding(raftCodec.encodeInternalRaftRequest, { header: { ID: REQUEST_ID }, put }),
  ],
  [
    "encode TxnResponse",
    encoding(kvCodec.encodeTxnResponse, txnReply),
    () => toBinary(kvpb.TxnResponseSchema, txnReplyMessage),
  ],
  [
    "encode LeaseKeepAliveResponse",
    encoding(leaseCodec.encodeLeaseKeepAliveResponse, { header: headerBytes, ID: REQUEST_ID, TTL: 60 }),
  ],
];
/** Nanoseconds a call. */
function measure(call: () => unknown): string {
  let best = Infinity;
  for (let run = 0; run < RUNS; run += 1) {
    const start = performance.now();
    for (let i = 0; i < MESSAGES_A_RUN; i += 1) sink = call();
    best = Math.min(best, performance.now() - start);
  }
  return ((best * 1e6) / MESSAGES_A_RUN).toFixed(0).padStart(6);
}

for (const [name, ours, reference] of cases) {
  console.log(name.padEnd(36), measure(ours), reference === undefined ? "" : measure(reference));
}
