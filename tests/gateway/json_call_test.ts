/** What handlers see of a call that came as JSON, with a handler set of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import { JsonGateway } from "../../src/gateway/json_gateway.ts";
import { agreedProtocol, WebSocketExchange } from "../../src/gateway/websocket_exchange.ts";
import {
  KV,
  type PutRequest,
  PutResponseSchema,
  RangeResponseSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import { Deadlines } from "../../src/grpc/deadlines.ts";
import { LongReply } from "../../src/grpc/long_reply.ts";
import type { CallContext, Method, Reply } from "../../src/grpc/method.ts";
import { MethodTable } from "../../src/grpc/method_table.ts";
import { Code, RpcError } from "../../src/grpc/status.ts";
import type { HttpExchange } from "../../src/http1/api.ts";
import type { ResponseHead } from "../../src/http1/response_head.ts";
import type { WebSocketConnection } from "../../src/http1/websocket_connection.ts";
import type { PeerInfo } from "../../src/ports/sockets.ts";
import { messageCodec, unary } from "../../src/services/methods.ts";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

type Handle = (request: PutRequest, context: CallContext) => Reply<ReturnType<typeof emptyReply>>;

function emptyReply() {
  return create(PutResponseSchema);
}

interface Gateway {
  readonly gateway: JsonGateway;
  readonly methods: MethodTable;
}

function gatewayOf(handle: Handle): Gateway {
  return gatewayWith([unary(KV.method.put, messageCodec(KV.method.put), handle)]);
}

function gatewayWith(handlers: readonly Method[]): Gateway {
  const methods = new MethodTable(handlers);
  const gateway = new JsonGateway({
    callsMax: Infinity,
    methods,
    receiveBytesMax: 1000,
    toStatus: (error) => new RpcError(Code.Internal, (error as Error).message),
    admit: () => {},
    traffic: { receivedBytes: 0, sentBytes: 0 },
    // No call here has a deadline.
    deadlines: new Deadlines(undefined as never),
  });
  return { gateway, methods };
}

/** A request, and what the gateway answers. */
class Exchange implements HttpExchange {
  readonly method = "POST";
  readonly target: string;
  readonly peer: PeerInfo = {
    remoteAddress: "127.0.0.1:1",
    localAddress: "127.0.0.1:2",
    tls: {
      alpnProtocol: "http/1.1",
      serverName: "",
      clientCommonName: "root",
      certificate: { commonName: "root", dnsNames: [], ipAddresses: [], serialNumber: "1" },
    },
  };
  ended = false;
  bodyIsOpenEnded = false;
  readonly writable: boolean = true;
  status = 0;
  body = "";
  readonly #requestFields: Readonly<Record<string, string>>;
  #reply: { readonly head: ResponseHead; readonly body: ByteWriter } | undefined;

  constructor(requestFields: Readonly<Record<string, string>> = {}, target = "/v3/kv/put?pretty") {
    this.#requestFields = requestFields;
    this.target = target;
  }

  header(name: string): string | undefined {
    return this.#requestFields[name];
  }

  /** A field of the response. */
  answered(name: string): string | undefined {
    return this.#reply!.head.fields.find(([field]) => field.toLowerCase() === name)?.[1];
  }

  startReply(head: ResponseHead): ByteWriter {
    assert.equal(this.ended, false, "answered twice");
    this.#reply = { head, body: new ByteWriter() };
    return this.#reply.body;
  }

  finishReply(): void {
    this.ended = true;
    this.status = this.#reply!.head.status;
    this.body = decoder.decode(this.#reply!.body.toBytes());
  }

  cancelReply(): void {
    this.#reply = undefined;
  }

  begin(): void {
    assert.fail("a unary call streams nothing");
  }

  write(_bytes: Uint8Array): void {}

  end(): void {}

  destroy(): void {}
}

const PUT = encoder.encode('{"key":"Zm9v"}');

test("handlers see metadata as grpc-gateway makes it, the request's bytes, and no client certificate", () => {
  let seen: CallContext | undefined;
  let bytes: Uint8Array | undefined;
  const { gateway } = gatewayOf((_request, context) => {
    seen = context;
    bytes = context.requestBytes;
    return emptyReply();
  });
  const headers = {
    authorization: "token-1",
    "grpc-metadata-hasleader": "true",
    accept: "text/html",
    "x-other": "1",
    token: "not metadata",
  };
  const answer = new Exchange(headers);
  const body = gateway.open(answer)!;
  body.onData(PUT, 0, 4);
  body.onData(PUT, 4, PUT.length);
  body.onEnd();
  assert.equal(answer.status, 200);
  assert.equal(answer.body, "{}");
  assert.deepEqual(bytes, Uint8Array.of(0x0a, 3, 0x66, 0x6f, 0x6f));
  assert.equal(seen!.metadata("authorization"), "token-1");
  assert.equal(seen!.metadata("hasleader"), "true");
  assert.equal(seen!.metadata("grpcgateway-accept"), "text/html");
  assert.equal(seen!.metadata("grpcgateway-authorization"), "token-1");
  for (const name of ["accept", "x-other", "grpcgateway-x-other", "token"]) {
    assert.equal(seen!.metadata(name), undefined, name);
  }
  assert.equal(seen!.peer.tls!.clientCommonName, "");
  assert.equal(seen!.peer.tls!.certificate, undefined);
});

test("a call over a WebSocket has its token from the list of subprotocols, or as any other", () => {
  const cases: readonly [Record<string, string>, string | undefined, string | undefined][] = [
    [{ "sec-websocket-protocol": "Bearer, token-1" }, "Bearer token-1", "Bearer"],
    [{ "sec-websocket-protocol": "Bearer,token-1" }, "Bearer token-1", "Bearer"],
    [{ "sec-websocket-protocol": "Bearer, token-1", authorization: "token-2" }, "Bearer token-1", "Bearer"],
    [{ "sec-websocket-protocol": "json", authorization: "token-2" }, "token-2", undefined],
    [{ "sec-websocket-protocol": "Bearer", authorization: "token-2" }, "token-2", "Bearer"],
    [{ cookie: "token=token-3" }, undefined, undefined],
  ];
  for (const [fields, token, protocol] of cases) {
    let seen: CallContext | undefined;
    const { gateway } = gatewayOf((_request, context) => {
      seen = context;
      return emptyReply();
    });
    const log: string[] = [];
    const socket = {
      send: (bytes: Uint8Array, isFinal: boolean) => void log.push(`${decoder.decode(bytes)} ${isFinal}`),
      close: (code: number) => void log.push(`close ${code}`),
    };
    const request = new Exchange(fields, "/v3/kv/put?method=GET");
    const call = new WebSocketExchange(gateway, request, socket as unknown as WebSocketConnection);
    call.onMessage(PUT);
    call.onMessage(PUT); // It has had its request.
    assert.equal(seen!.metadata("authorization"), token);
    assert.equal(agreedProtocol(request), protocol);
    assert.deepEqual(log, ["{} true", "close 1000"]);
  }
});

test("a failure becomes its HTTP status, and a missing right says so in a header", async () => {
  const failures: readonly (readonly [Code, number])[] = [
    [Code.InvalidArgument, 400],
    [Code.Unauthenticated, 401],
    [Code.PermissionDenied, 403],
    [Code.AlreadyExists, 409],
    [Code.Canceled, 499],
    [Code.Unknown, 500],
    [Code.Unavailable, 503],
  ];
  for (const [code, status] of failures) {
    for (const isLate of [false, true]) {
      const { gateway, methods } = gatewayOf(() => {
        const error = new RpcError(code, 'no "right"');
        if (isLate) return Promise.reject(error);
        throw error;
      });
      const answer = new Exchange();
      const body = gateway.open(answer)!;
      body.onData(PUT, 0, PUT.length);
      body.onEnd();
      await Promise.resolve();
      assert.equal(answer.status, status);
      assert.equal(answer.body, `{"code":${code},"message":"no \\"right\\""}`);
      assert.equal(
        answer.answered("www-authenticate"),
        code === Code.Unauthenticated ? 'no "right"' : undefined,
      );
      assert.equal(methods.find("/etcdserverpb.KV/Put")!.stats.handled[code], 1);
    }
  }
});

test("a client that goes away cancels its call, and is not answered", async () => {
  let cancelled: Code | undefined;
  let reply: ((value: ReturnType<typeof emptyReply>) => void) | undefined;
  const { gateway } = gatewayOf((_request, context) => {
    context.onCancel((reason) => cancelled = reason.code);
    return new Promise((resolve) => reply = resolve);
  });
  const answer = new Exchange();
  const body = gateway.open(answer)!;
  body.onData(PUT, 0, PUT.length);
  body.onEnd();
  body.onAbort();
  assert.equal(cancelled, Code.Canceled);
  reply!(emptyReply());
  await Promise.resolve();
  assert.equal(answer.status, 0);
});

test("methods that a server has not are unimplemented, and other paths are left or not found", () => {
  const { gateway } = gatewayOf(emptyReply);
  const ask = (target: string): Exchange | undefined => {
    const answer = new Exchange({}, target);
    return gateway.open(answer) === undefined ? undefined : answer;
  };
  assert.equal(
    ask("/v3/kv/range")!.body,
    '{"code":12,"message":"unknown method Range for service etcdserverpb.KV"}',
  );
  assert.equal(ask("/v3/kv/range")!.status, 501);
  assert.equal(ask("/v3/__proto__")!.status, 404);
  for (const target of ["/", "/v3", "/v4/kv/put", "/etcdserverpb.KV/Put"]) {
    assert.equal(ask(target), undefined);
  }
});

/** A long RangeResponse of so many key-values, a key-value at a time. */
class SlowReply extends LongReply {
  readonly length: number;
  readonly #field = toBinary(
    RangeResponseSchema,
    create(RangeResponseSchema, { kvs: [{ key: encoder.encode("k"), version: 1n }] }),
  );
  isClosed = false;
  turnsWaited = 0;
  #left: number;

  constructor(count: number) {
    super();
    this.#left = count;
    this.length = this.#field.length * count;
  }

  read(): number {
    return assert.fail("JSON is made of whole fields");
  }

  readFields(out: ByteWriter): number {
    if (this.isClosed || this.#left === 0) return 0;
    this.#left -= 1;
    out.write(this.#field);
    return this.#field.length;
  }

  waitTurn(): void {
    this.turnsWaited += 1;
  }

  close(): void {
    this.isClosed = true;
  }
}

/** An exchange whose client takes so many pieces. */
class SlowExchange extends Exchange {
  override readonly writable: boolean = true;
  taken = 0;
  isBegun = false;

  constructor(takes: number) {
    super({}, "/v3/kv/range");
    Object.defineProperty(this, "writable", { get: () => !this.ended && this.taken < takes });
  }

  override begin(): void {
    this.isBegun = true;
  }

  override write(bytes: Uint8Array): void {
    this.taken += 1;
    this.body += decoder.decode(bytes);
  }

  override end(): void {
    this.ended = true;
  }
}

function openLong(exchange: SlowExchange, reply: LongReply) {
  const { range } = KV.method;
  const { gateway, methods } = gatewayWith([unary(range, messageCodec(range), () => reply)]);
  const call = gateway.open(exchange)!;
  const body = encoder.encode("{}");
  call.onData(body, 0, body.length);
  call.onEnd();
  return { call, stats: methods.find("/etcdserverpb.KV/Range")!.stats };
}

test("a long reply goes out as its client takes it, and not much in a turn", () => {
  const reply = new SlowReply(10);
  const exchange = new SlowExchange(Infinity);
  const { stats } = openLong(exchange, reply);
  assert.deepEqual([exchange.taken, exchange.ended, reply.turnsWaited], [4, false, 1]);
  reply.onReadable!();
  assert.deepEqual([exchange.taken, exchange.ended, reply.turnsWaited], [8, false, 2]);
  reply.onReadable!();
  assert.deepEqual([exchange.taken, exchange.ended], [10, true]);
  assert.equal(exchange.body, `{"kvs":[${Array(10).fill('{"key":"aw==","version":"1"}').join(",")}]}`);
  assert.equal(stats.handled[Code.Ok], 1);
  assert.equal(reply.isClosed, true);
});

test("a long reply is closed when its client goes", () => {
  const reply = new SlowReply(10);
  const exchange = new SlowExchange(2);
  const { call, stats } = openLong(exchange, reply);
  assert.deepEqual([exchange.taken, reply.isClosed], [2, false]);
  exchange.ended = true;
  call.onAbort();
  assert.equal(reply.isClosed, true);
  assert.deepEqual([stats.handled[Code.Ok], stats.handled[Code.Canceled]], [0, 1]);
  call.onWritable();
  assert.equal(exchange.taken, 2);
});
