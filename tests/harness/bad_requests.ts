/** Requests that no proper client makes, with the answer to each. */
import { gzipSync } from "node:zlib";
import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import { concatBytes, EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import {
  CompactionRequestSchema,
  DeleteRangeRequestSchema,
  KV,
  PutRequestSchema,
  type RangeRequest_SortOrder as SortOrder,
  type RangeRequest_SortTarget as SortTarget,
  RangeRequestSchema,
  type RequestOpSchema,
  TxnRequestSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import type { HeaderField } from "../../src/http2/api.ts";
import { type CallOptions, frame, GrpcClient, grpcHead } from "./grpc_client.ts";

/**
 * A request, and the answer of etcd 3.7 to it, which is ours. A Go etcd of that version is asked as well; an older
 * one is not, for its gRPC library has other texts.
 */
export interface BadRequest {
  readonly name: string;
  readonly path: string;
  readonly body: Uint8Array;
  readonly options?: CallOptions;
  readonly status: string;
  /** Not compared when undefined: the text is that of a library. */
  readonly message?: string;
  /** Why etcd answers something else. */
  readonly differs?: string;
}

type Operation = MessageInitShape<typeof RequestOpSchema>;

const MAX_REQUEST_BYTES = 1_572_864;
const MAX_FRAME_BYTES = MAX_REQUEST_BYTES + 512 * 1024;

const put = bodyMaker(KV.method.put.name, PutRequestSchema);
const range = bodyMaker(KV.method.range.name, RangeRequestSchema);
const deleteRange = bodyMaker(KV.method.deleteRange.name, DeleteRangeRequestSchema);
const txn = bodyMaker(KV.method.txn.name, TxnRequestSchema);
const compact = bodyMaker(KV.method.compact.name, CompactionRequestSchema);

const key = utf8("a");
const NUL = Uint8Array.of(0);
const INT64_MAX = 2n ** 63n - 1n;
const getA = range({ key });
export const putA = put({ key });

const noKey = { status: "InvalidArgument", message: "etcdserver: key is not provided" };
const invalidSort = { status: "InvalidArgument", message: "etcdserver: invalid sort option" };
const tooLarge = { status: "InvalidArgument", message: "etcdserver: request is too large" };
const tooManyOperations = {
  status: "InvalidArgument",
  message: "etcdserver: too many operations in txn request",
};
const keyNotFound = { status: "InvalidArgument", message: "etcdserver: key not found" };
const duplicateKey = {
  status: "InvalidArgument",
  message: "etcdserver: duplicate key given in txn request",
};
const future = { status: "OutOfRange", message: "etcdserver: mvcc: required revision is a future revision" };
const compacted = { status: "OutOfRange", message: "etcdserver: mvcc: required revision has been compacted" };
const ok = { status: "OK", message: "" };
const malformed = { status: "Internal" };

export const badRequests: Readonly<Record<string, readonly BadRequest[]>> = {
  "keys that are missing and unknown sort options": [
    { name: "range without a key", ...range({}), ...noKey },
    { name: "put without a key", ...put({ value: key }), ...noKey },
    { name: "delete without a key", ...deleteRange({ rangeEnd: key }), ...noKey },
    { name: "compare without a key", ...txn({ compare: [{}] }), ...noKey },
    { name: "nested put without a key", ...txn({ success: [nested([putOp(EMPTY_BYTES)])] }), ...noKey },
    ...[3, 99, -1].map((order) => ({
      name: `sort order ${order}`,
      ...range({ key, sortOrder: order as SortOrder }),
      ...invalidSort,
    })),
    ...[5, 99, -1].map((target) => ({
      name: `sort target ${target}`,
      ...range({ key, sortTarget: target as SortTarget }),
      ...invalidSort,
    })),
    {
      name: "sort target in a transaction",
      ...txn({
        failure: [{ request: { case: "requestRange", value: { key, sortTarget: 9 as SortTarget } } }],
      }),
      ...invalidSort,
    },
  ],

  "requests that are too large": [
    { name: "a log entry of 1.5 MiB", ...putOfBytes(MAX_REQUEST_BYTES - 30), ...ok },
    { name: "a value of 1.5 MiB", ...putOfBytes(MAX_REQUEST_BYTES), ...tooLarge },
    { name: "a frame just below the limit", ...putOfBytes(MAX_FRAME_BYTES - 20), ...tooLarge },
    {
      name: "a frame above the limit",
      ...putOfBytes(MAX_FRAME_BYTES),
      status: "ResourceExhausted",
      message: `grpc: received message larger than max (${MAX_FRAME_BYTES + 10} vs. ${MAX_FRAME_BYTES})`,
    },
    // The prefix alone is enough to refuse the message: nothing of it is sent.
    ...[MAX_FRAME_BYTES + 1, 2 ** 31, 2 ** 32 - 1].map((length) => ({
      name: `a prefix that claims ${length} bytes`,
      path: putA.path,
      body: frame(EMPTY_BYTES, 0, length),
      options: { halfOpen: true },
      status: "ResourceExhausted",
      message: `grpc: received message larger than max (${length} vs. ${MAX_FRAME_BYTES})`,
    })),
  ],

  "transactions that are too long, too deep or in conflict with themselves": [
    { name: "128 operations", ...txn({ success: times(128, rangeOp(key)) }), ...ok },
    { name: "129 operations", ...txn({ success: times(129, rangeOp(key)) }), ...tooManyOperations },
    { name: "129 operations if not", ...txn({ failure: times(129, rangeOp(key)) }), ...tooManyOperations },
    { name: "129 compares", ...txn({ compare: times(129, { key }) }), ...tooManyOperations },
    {
      name: "what is nested has what is left of the operations",
      ...txn({ success: [...times(99, rangeOp(key)), nested(times(28, rangeOp(key)))] }),
      ...ok,
    },
    {
      name: "what is nested has no more than that",
      ...txn({ success: [...times(99, rangeOp(key)), nested(times(29, rangeOp(key)))] }),
      ...tooManyOperations,
    },
    { name: "nested 128 deep", ...nestedTxns(128), ...ok },
    { name: "nested 129 deep", ...nestedTxns(129), ...tooManyOperations },
    {
      name: "nested 1,000 deep",
      ...nestedTxns(1_000),
      ...malformed,
      differs: "etcd's decoder goes 10,000 messages deep, ours 300: more than any transaction may be",
    },
    { name: "nested 100,000 deep", ...nestedTxns(100_000), ...malformed },
    { name: "an operation that is none", ...txn({ success: [{}] }), ...keyNotFound },
    { name: "a key put twice", ...txn({ success: [putOp(key), putOp(key)] }), ...duplicateKey },
    {
      name: "a key put twice in the branch not taken",
      ...txn({ failure: [putOp(key), putOp(key)] }),
      ...duplicateKey,
    },
    { name: "a key put and deleted", ...txn({ success: [putOp(key), deleteOp(key)] }), ...duplicateKey },
    {
      name: "a key put under a range that is deleted",
      ...txn({ success: [deleteOp(NUL, utf8("b")), putOp(key)] }),
      ...duplicateKey,
    },
    {
      name: "a key put beside and in a nested transaction",
      ...txn({ success: [nested([], [putOp(key)]), putOp(key)] }),
      ...duplicateKey,
    },
    {
      name: "a key put in two nested transactions",
      ...txn({ success: [nested([putOp(key)]), nested([putOp(key)])] }),
      ...duplicateKey,
    },
    {
      name: "a key put in both branches",
      ...txn({ success: [nested([putOp(key)], [putOp(key)])] }),
      ...ok,
    },
    { name: "a key deleted twice", ...txn({ success: [deleteOp(key), deleteOp(NUL, utf8("b"))] }), ...ok },
  ],

  "revisions, limits and ranges at their edges": [
    { name: "range at a future revision", ...range({ key, revision: 1_000_000n }), ...future },
    { name: "range at the last revision there is", ...range({ key, revision: INT64_MAX }), ...future },
    { name: "range at a negative revision", ...range({ key, revision: -5n }), ...ok },
    { name: "range with the largest limit", ...range({ key, limit: INT64_MAX }), ...ok },
    { name: "range with a negative limit", ...range({ key, limit: -1n }), ...ok },
    { name: "range that ends before its key", ...range({ key: utf8("b"), rangeEnd: key }), ...ok },
    { name: "range of everything", ...range({ key: NUL, rangeEnd: NUL, limit: 1n }), ...ok },
    { name: "range from a key on", ...range({ key, rangeEnd: NUL, limit: 1n }), ...ok },
    { name: "compaction of the future", ...compact({ revision: 1_000_000n }), ...future },
    { name: "compaction at 0 before any other", ...compact({}), ...ok },
    { name: "compaction at a negative revision", ...compact({ revision: -1n }), ...compacted },
    { name: "compaction", ...compact({ revision: 3n, physical: true }), ...ok },
    { name: "compaction of what is compacted", ...compact({ revision: 3n }), ...compacted },
    { name: "compaction at 0", ...compact({}), ...compacted },
    { name: "range below the compaction", ...range({ key, revision: 2n }), ...compacted },
    { name: "range at the compaction", ...range({ key, revision: 3n }), ...ok },
    {
      name: "range below the compaction in a transaction",
      ...txn({ success: [{ request: { case: "requestRange", value: { key, revision: 2n } } }] }),
      ...compacted,
    },
  ],

  "puts that ask for what is not there": [
    {
      name: "a lease that nobody granted",
      ...put({ key, lease: 4711n }),
      status: "NotFound",
      message: "etcdserver: requested lease not found",
    },
    {
      name: "a value and the old value",
      ...put({ key, value: key, ignoreValue: true }),
      status: "InvalidArgument",
      message: "etcdserver: value is provided",
    },
    {
      name: "a lease and the old lease",
      ...put({ key, lease: 1n, ignoreLease: true }),
      status: "InvalidArgument",
      message: "etcdserver: lease is provided",
    },
    { name: "the old value of no key", ...put({ key: utf8("none"), ignoreValue: true }), ...keyNotFound },
    { name: "the old lease of no key", ...put({ key: utf8("none"), ignoreLease: true }), ...keyNotFound },
  ],

  "metadata": [
    {
      name: "a client version that is no UTF-8",
      ...getA,
      ...withMetadata(["client-api-version", "\xff\xfe"]),
      status: "InvalidArgument",
      message: "etcdserver: invalid client api version",
    },
    {
      name: "a long client version",
      ...getA,
      ...withMetadata(["client-api-version", "x".repeat(30_000)]),
      ...ok,
    },
    { name: "a leader is there", ...getA, ...withMetadata(["hasleader", "true"]), ...ok },
    {
      name: "binary metadata that is not in base64",
      ...getA,
      ...withMetadata(["some-bin", "!!!"]),
      ...ok,
      differs: "grpc-go decodes all binary metadata; we do not look at what nobody reads",
    },
  ],

  "compression and framing": [
    {
      name: "a flag that does not exist",
      ...framed(putA, 0x7f),
      status: "Internal",
      message: unexpectedFlag(0x7f),
    },
    {
      name: "compressed, without saying how",
      ...framed(putA, 1),
      status: "Internal",
      message: "grpc: compressed flag set with identity or empty encoding",
    },
    {
      name: "compressed by identity",
      ...framed(putA, 1),
      ...withMetadata(["grpc-encoding", "identity"]),
      status: "Internal",
      message: "grpc: compressed flag set with identity or empty encoding",
    },
    {
      name: "an unknown compression",
      ...putA,
      ...withMetadata(["grpc-encoding", "snappy"]),
      status: "Unimplemented",
      message: 'grpc: Decompressor is not installed for grpc-encoding "snappy"',
    },
    { name: "gzip", ...gzipped(message(putA)), ...ok },
    {
      name: "what is gzip by name only",
      ...framed(putA, 1),
      ...withMetadata(["grpc-encoding", "gzip"]),
      ...malformed,
    },
    {
      name: "gzip that breaks off",
      path: putA.path,
      body: frame(gzipSync(message(putA)).subarray(0, 15), 1),
      ...withMetadata(["grpc-encoding", "gzip"]),
      ...malformed,
    },
    {
      name: "a gzip bomb",
      ...gzipped(new Uint8Array(64 << 20)),
      status: "ResourceExhausted",
      message: `grpc: received message after decompression larger than max ${MAX_FRAME_BYTES}`,
    },
    {
      name: "a message that breaks off",
      path: putA.path,
      body: frame(message(putA), 0, 100),
      status: "Unknown",
      message: "unexpected EOF",
    },
    { name: "a prefix that breaks off", path: putA.path, body: Uint8Array.of(0, 0, 0), status: "Unknown" },
    {
      name: "no message",
      path: putA.path,
      body: EMPTY_BYTES,
      status: "Unknown",
      message: "EOF",
      differs: "etcd answers so when the end comes after the head, and never when it comes with it",
    },
    { name: "two messages", path: putA.path, body: concatBytes([putA.body, putA.body]), ...ok },
    {
      name: "a stream of the server's for two messages",
      path: `/${KV.typeName}/RangeStream`,
      body: concatBytes([getA.body, getA.body]),
      status: "Internal",
      message: "cardinality violation: received multiple request messages for non-client-streaming RPC",
    },
  ],

  "malformed protobuf": [
    ...malformedMessages({
      "a varint of 11 bytes": [0x18, ...times(10, 0x80), 1],
      "a varint of more than 64 bits": [0x18, ...times(9, 0xff), 0x7f],
      "a length of 2^31": [0x0a, 0x80, 0x80, 0x80, 0x80, 8],
      "a length past the end": [0x0a, 9, 1],
      "a negative length": [0x0a, ...times(9, 0xff), 1],
      "field number 0": [0x00, 1],
      "wire type 6": [0x0e],
      "wire type 7": [0x0f],
      "a tag that breaks off": [0x80],
      "the end of a group that never began": [0x0c],
      "groups without an end": times(20_000, 0xa3).flatMap((tag) => [tag, 6]),
      "a group that ends as another": [0x0a, 1, 65, 0xa3, 6, 0xac, 6],
    }),
    {
      name: "a group in an unknown field",
      ...messageOf(0x0a, 1, 65, 0xa3, 6, 0xa4, 6),
      ...malformed,
      differs: "no proto3 message has groups: ours refuses them, etcd's decoder skips them",
    },
    { name: "a key as a number", ...messageOf(0x08, 1), ...noKey },
    { name: "a key as a fixed number", ...messageOf(0x0d, 1, 2, 3, 4), ...noKey },
    { name: "an unknown field", ...messageOf(0x0a, 1, 65, 0xa0, 6, 1), ...ok },
    { name: "a field twice", ...messageOf(0x0a, 1, 65, 0x0a, 1, 66), ...ok },
    { name: "a flag of 2", ...messageOf(0x0a, 1, 65, 0x20, 2), ...ok },
    {
      name: "an enum of 64 bits",
      path: getA.path,
      body: frame(Uint8Array.from([0x0a, 1, 65, 0x28, ...times(9, 0xff), 1])),
      ...invalidSort,
    },
    {
      name: "an enum that is 0 in 32 bits",
      path: getA.path,
      body: frame(Uint8Array.of(0x0a, 1, 65, 0x28, 0x80, 0x80, 0x80, 0x80, 0x10)),
      ...ok,
    },
    {
      name: "text that is no UTF-8",
      path: "/grpc.health.v1.Health/Check",
      body: frame(Uint8Array.of(0x0a, 2, 0xff, 0xfe)),
      ...malformed,
    },
  ],

  "timeouts": [
    { name: "the longest", ...getA, ...withMetadata(["grpc-timeout", "99999999H"]), ...ok },
    {
      name: "none left",
      ...putA,
      ...withMetadata(["grpc-timeout", "0S"]),
      status: "DeadlineExceeded",
      message: "context deadline exceeded",
    },
    ...Object.entries({
      "99999999999H": 'transport: timeout string is too long: "99999999999H"',
      "-1S": 'strconv.ParseUint: parsing "-1": invalid syntax',
      "": 'transport: timeout string is too short: ""',
      "S": 'transport: timeout string is too short: "S"',
      "1x": 'transport: timeout unit is not recognized: "1x"',
    }).map(([value, complaint]) => ({
      name: `"${value}"`,
      ...getA,
      ...withMetadata(["grpc-timeout", value]),
      status: "Internal",
      message: `malformed grpc-timeout: ${complaint}`,
    })),
  ],

  "heads": [
    { name: "no te", ...getA, ...withHead({ te: undefined }), ...ok },
    ...["GET", "PUT"].map((method) => ({
      name: method,
      ...getA,
      ...withHead({ ":method": method }),
      status: "Internal",
      message: `Received a HEADERS frame with :method "${method}" which should be POST`,
    })),
    ...["application/grpc+proto", "application/grpc;x=y", "application/grpc+json"].map((type) => ({
      name: type,
      ...getA,
      ...withHead({ "content-type": type }),
      ...ok,
    })),
    ...["application/grpcx", "Application/GRPC"].map((type) => ({
      name: `content type ${type}`,
      ...getA,
      ...withHead({ "content-type": type }),
      status: "InvalidArgument",
      message: `invalid gRPC request content-type "${type}"`,
    })),
    ...["text/html", undefined].map((type) => ({
      name: `content type ${type}`,
      ...getA,
      ...withHead({ "content-type": type }),
      status: "http 415",
      differs: "etcd serves nothing but gRPC over plain HTTP/2",
    })),
    ...Object.entries({
      "/etcdserverpb.KV/Nope": "unknown method Nope for service etcdserverpb.KV",
      "/x.Y/Z": "unknown service x.Y",
      "/etcdserverpb.KV/Put/": "unknown service etcdserverpb.KV/Put",
      "//etcdserverpb.KV/Put": "unknown service /etcdserverpb.KV",
      "/etcdserverpb.kv/put": "unknown service etcdserverpb.kv",
      "etcdserverpb.KV/Put": 'malformed method name: "etcdserverpb.KV/Put"',
      "/etcdserverpb.KV%2fPut": 'malformed method name: "/etcdserverpb.KV%2fPut"',
      "/": 'malformed method name: "/"',
    }).map(([path, message]) => ({ name: path, path, body: putA.body, status: "Unimplemented", message })),
    { name: "connection", ...getA, ...withMetadata(["connection", "close"]), status: "reset 1" },
  ],
};

/** What is not answered as expected. Each case has a connection of its own, for some of them end it. */
export async function wrongAnswers(port: number, cases: readonly BadRequest[]): Promise<string[]> {
  const wrong: string[] = [];
  for (const { name, path, body, options, status, message: text } of cases) {
    const client = await GrpcClient.connect(port);
    const found = await client.raw(path, body, options);
    await client.close();
    if (found.status === status && (text === undefined || found.message === text)) continue;
    wrong.push(`${name}: ${found.status} "${found.message}", and not ${status} "${text ?? ""}"`);
  }
  return wrong;
}

function bodyMaker<I extends DescMessage>(method: string, schema: I) {
  return (request: MessageInitShape<I>) => ({
    path: `/${KV.typeName}/${method}`,
    body: frame(toBinary(schema, create(schema, request))),
  });
}

function putOfBytes(length: number): Pick<BadRequest, "path" | "body"> {
  return put({ key: utf8("big"), value: new Uint8Array(length) });
}

function times<T>(count: number, item: T): T[] {
  return Array.from({ length: count }, () => item);
}

function rangeOp(of: Uint8Array): Operation {
  return { request: { case: "requestRange", value: { key: of } } };
}

export function putOp(of: Uint8Array): Operation {
  return { request: { case: "requestPut", value: { key: of } } };
}

function deleteOp(from: Uint8Array, rangeEnd: Uint8Array = EMPTY_BYTES): Operation {
  return { request: { case: "requestDeleteRange", value: { key: from, rangeEnd } } };
}

function nested(success: Operation[], failure: Operation[] = []): Operation {
  return { request: { case: "requestTxn", value: { success, failure } } };
}

/** A transaction in a transaction, and so on: written from the inside out, for no encoder goes so deep. */
function nestedTxns(depth: number): Pick<BadRequest, "path" | "body"> {
  const heads: Uint8Array[] = [];
  let length = 0;
  for (let level = 0; level < depth; level += 1) {
    const inner = new ByteWriter(16);
    inner.byte(0x22); // RequestOp.request_txn
    inner.varint(length);
    length += inner.length;
    const outer = new ByteWriter(16);
    outer.byte(0x12); // TxnRequest.success
    outer.varint(length);
    length += outer.length;
    heads.push(inner.toBytes(), outer.toBytes());
  }
  return { path: `/${KV.typeName}/Txn`, body: frame(concatBytes(heads.reverse())) };
}

function message({ body }: Pick<BadRequest, "body">): Uint8Array {
  return body.subarray(5);
}

function framed(
  request: Pick<BadRequest, "path" | "body">,
  flags: number,
): Pick<BadRequest, "path" | "body"> {
  return { path: request.path, body: frame(message(request), flags) };
}

function unexpectedFlag(flags: number): string {
  return `grpc: received unexpected payload format ${flags}`;
}

function gzipped(bytes: Uint8Array): Pick<BadRequest, "path" | "body" | "options"> {
  return { path: putA.path, body: frame(gzipSync(bytes), 1), ...withMetadata(["grpc-encoding", "gzip"]) };
}

function withMetadata(...metadata: readonly HeaderField[]): { readonly options: CallOptions } {
  return { options: { metadata } };
}

/** A range's head with other fields; undefined leaves one out. */
function withHead(changed: Readonly<Record<string, string | undefined>>): { readonly options: CallOptions } {
  const head = grpcHead(getA.path).flatMap(([name, value]): HeaderField[] => {
    if (!(name in changed)) return [[name, value]];
    const other = changed[name];
    return other === undefined ? [] : [[name, other]];
  });
  return { options: { head } };
}

function messageOf(...bytes: readonly number[]): Pick<BadRequest, "path" | "body"> {
  return { path: putA.path, body: frame(Uint8Array.from(bytes)) };
}

function malformedMessages(messages: Readonly<Record<string, readonly number[]>>): BadRequest[] {
  return Object.entries(messages).map(([name, bytes]) => ({ name, ...messageOf(...bytes), ...malformed }));
}
