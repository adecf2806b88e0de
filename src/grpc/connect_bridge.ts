import { type DescMethod, type DescService, fromBinary, type Message } from "@bufbuild/protobuf";
import {
  Code as ConnectCode,
  ConnectError,
  createConnectRouter,
  createContextKey,
  createContextValues,
  type HandlerContext,
  type ServiceImpl,
  type Transport,
} from "@connectrpc/connect";
import {
  type Compression as ConnectCompression,
  createUniversalHandlerClient,
  type UniversalHandler,
  universalServerRequestFromFetch,
  universalServerResponseToFetch,
} from "@connectrpc/connect/protocol";
import { createTransport } from "@connectrpc/connect/protocol-connect";
import { ByteWriter } from "../base/byte_writer.ts";
import type { Compression } from "../ports/compression.ts";
import type { Clock } from "../ports/clock.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import { gatherReply, LongReply } from "./long_reply.ts";
import type { CallContext, Method, Reply, StreamCall, StreamMethod, UnaryMethod } from "./method.ts";
import type { MethodTable, Route } from "./method_table.ts";
import { canceled, Code, RpcError } from "./status.ts";

export interface ConnectBridgeOptions {
  readonly services: readonly DescService[];
  readonly methods: MethodTable;
  /** Largest message accepted, before and after decompression. */
  readonly receiveBytesMax: number;
  /** How deep messages may be nested in one another. */
  readonly nestingMax: number;
  readonly compression: Compression;
  readonly clock: Clock;
  readonly toStatus: (error: unknown) => RpcError;
  readonly admit: (method: Method, context: CallContext) => void;
}

const unknownPeer: PeerInfo = { remoteAddress: "", localAddress: "", tls: undefined };
const peerKey = createContextKey<PeerInfo>(unknownPeer, {
  description: "the client's end of the connection",
});

/** Messages of a stream that may wait for the client before the handler is asked to stop producing. */
const QUEUED_MESSAGES_MAX = 64;

/**
 * The handler set as Connect's universal handlers, by path: Connect, gRPC-Web and gRPC for whatever does not
 * come through our own HTTP/2 path. Requests arrive decoded; replies take the way over their encoding, since
 * handlers may answer with parts that are encoded already.
 */
export function connectHandlers(options: ConnectBridgeOptions): ReadonlyMap<string, UniversalHandler> {
  const router = createConnectRouter({
    acceptCompression: [gzipOf(options.compression)],
    readMaxBytes: options.receiveBytesMax,
    jsonOptions: { useProtoFieldName: false, recursionLimit: options.nestingMax },
    binaryOptions: { recursionLimit: options.nestingMax },
  });
  for (const service of options.services) {
    const implementation: Record<string, unknown> = {};
    for (const method of service.methods) {
      const route = options.methods.find(`/${service.typeName}/${method.name}`);
      if (route === undefined) continue; // Connect answers Unimplemented.
      implementation[method.localName] = route.method.kind === "unary"
        ? unaryHandler(options, route, method)
        : streamHandler(options, route, method);
    }
    router.service(service, implementation as Partial<ServiceImpl<DescService>>);
  }
  return new Map(router.handlers.map((handler) => [handler.requestPath, handler]));
}

/** Reaches the handlers from within the process: what a Connect client takes for its connection. */
export function inProcessTransport(handlers: ReadonlyMap<string, UniversalHandler>): Transport {
  return createTransport({
    httpClient: createUniversalHandlerClient([...handlers.values()]),
    baseUrl: "http://in-process",
    useBinaryFormat: true,
    interceptors: [],
    acceptCompression: [],
    sendCompression: null,
    compressMinBytes: Number.MAX_SAFE_INTEGER,
    readMaxBytes: 0xffff_ffff,
    writeMaxBytes: 0xffff_ffff,
  });
}

/** gzip as Connect wants it. Its limit reaches the decompressor itself: a bomb never unfolds. */
function gzipOf(compression: Compression): ConnectCompression {
  return {
    name: "gzip",
    compress: (bytes) => Promise.resolve(compression.gzip(bytes) as Uint8Array<ArrayBuffer>),
    decompress(bytes, readMaxBytes) {
      const result = compression.gunzip(bytes, readMaxBytes);
      if (result === "too large") {
        const text = `message is larger than configured readMaxBytes ${readMaxBytes} after decompression`;
        return Promise.reject(new ConnectError(text, ConnectCode.ResourceExhausted));
      }
      if (result === "malformed") {
        return Promise.reject(new ConnectError("decompression failed", ConnectCode.InvalidArgument));
      }
      return Promise.resolve(result as Uint8Array<ArrayBuffer>);
    },
  };
}

/** Answers a request with a handler of `connectHandlers`. `httpVersion` is "1.1" or "2". */
export async function serveConnect(
  handler: UniversalHandler,
  request: Request,
  httpVersion: "1.1" | "2",
  peer: PeerInfo,
): Promise<Response> {
  const contextValues = createContextValues().set(peerKey, peer);
  const universal = universalServerRequestFromFetch(request, { httpVersion });
  return universalServerResponseToFetch(await handler({ ...universal, contextValues }));
}

function unaryHandler(options: ConnectBridgeOptions, route: Route, desc: DescMethod) {
  const method = route.method as UnaryMethod<unknown, unknown>;
  return async (request: unknown, handlerContext: HandlerContext): Promise<Message> => {
    route.stats.started += 1;
    const startedMs = options.clock.monotonicMs();
    route.stats.received += 1;
    try {
      const context = new BridgeContext(handlerContext);
      options.admit(method, context);
      const reply = await context.orCancelled(replyBytes(method, method.handle(request, context)));
      const message = fromBinary(desc.output, reply, { recursionLimit: options.nestingMax });
      route.stats.sent += 1;
      countEnd(options, route, Code.Ok, startedMs);
      return message;
    } catch (error) {
      throw connectError(options, route, error, startedMs);
    }
  };
}

function streamHandler(options: ConnectBridgeOptions, route: Route, desc: DescMethod) {
  const method = route.method as StreamMethod<unknown, unknown>;
  return async function* (input: unknown, handlerContext: HandlerContext): AsyncGenerator<Message> {
    route.stats.started += 1;
    const startedMs = options.clock.monotonicMs();
    const context = new BridgeContext(handlerContext);
    const call = new QueuedCall(method, context);
    try {
      options.admit(method, context);
      const consumer = method.open(call);
      call.consumer = consumer;
      context.onCancel((reason) => call.close(reason));
      const requests = method.kind === "server_stream" ? once(input) : input as AsyncIterable<unknown>;
      void feed(requests, call, route);
      for (let reply = await call.next(); reply !== undefined; reply = await call.next()) {
        route.stats.sent += 1;
        yield fromBinary(desc.output, reply, { recursionLimit: options.nestingMax });
      }
      countEnd(options, route, Code.Ok, startedMs);
    } catch (error) {
      throw connectError(options, route, error, startedMs);
    } finally {
      call.close(canceled());
    }
  };
}

/** Hands a client's messages to the handler, one by one, to the end. */
async function feed(requests: AsyncIterable<unknown>, call: QueuedCall, route: Route): Promise<void> {
  try {
    for await (const request of requests) {
      if (call.ended) return;
      route.stats.received += 1;
      call.consumer?.onMessage(request);
    }
    if (!call.ended) call.consumer?.onHalfClose();
  } catch (error) {
    call.fail(error);
  }
}

async function* once(request: unknown): AsyncGenerator<unknown> {
  yield request;
}

async function replyBytes(method: Method, pending: Reply<unknown>): Promise<Uint8Array> {
  const reply = await pending;
  return reply instanceof LongReply ? gatherReply(reply) : encodeReply(method, reply);
}

function encodeReply(method: Method, reply: unknown): Uint8Array {
  if (reply instanceof Uint8Array) return reply;
  const out = new ByteWriter(1024);
  method.encode(out, reply);
  return out.bytes.subarray(0, out.length);
}

function countEnd({ clock }: ConnectBridgeOptions, { stats }: Route, code: Code, startedMs: number): void {
  stats.handled[code]! += 1;
  stats.handling?.observe((clock.monotonicMs() - startedMs) / 1000);
}

/** Connect's codes are gRPC's numbers. */
function connectError(
  options: ConnectBridgeOptions,
  route: Route,
  error: unknown,
  startedMs: number,
): ConnectError {
  if (error instanceof ConnectError) {
    countEnd(options, route, error.code as number as Code, startedMs);
    return error;
  }
  const status = error instanceof RpcError ? error : options.toStatus(error);
  countEnd(options, route, status.code, startedMs);
  return new ConnectError(status.message, status.code as number as ConnectCode);
}

/** A call's context as Connect knows it. */
class BridgeContext implements CallContext {
  readonly requestBytes = undefined;
  readonly #context: HandlerContext;

  constructor(context: HandlerContext) {
    this.#context = context;
  }

  get peer(): PeerInfo {
    return this.#context.values.get(peerKey);
  }

  metadata(name: string): string | undefined {
    return this.#context.requestHeader.get(name) ?? undefined;
  }

  get cancelled(): boolean {
    return this.#context.signal.aborted;
  }

  onCancel(listener: (reason: RpcError) => void): void {
    const { signal } = this.#context;
    if (signal.aborted) listener(this.#reason());
    else signal.addEventListener("abort", () => listener(this.#reason()), { once: true });
  }

  /** The reply, or a rejection when the client gave up before it came. */
  orCancelled<T>(reply: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.onCancel(reject);
      reply.then(resolve, reject);
    });
  }

  #reason(): RpcError {
    const { reason } = this.#context.signal;
    const isDeadline = reason instanceof ConnectError && reason.code === ConnectCode.DeadlineExceeded;
    return isDeadline ? new RpcError(Code.DeadlineExceeded, "context deadline exceeded") : canceled();
  }
}

/** A streaming call whose messages wait in a queue for the generator that Connect pulls on. */
class QueuedCall implements StreamCall<unknown> {
  readonly context: CallContext;
  consumer: ReturnType<StreamMethod<unknown, unknown>["open"]> | undefined;
  readonly #method: Method;
  #queue: Uint8Array[] = [];
  #ended = false;
  #error: unknown;
  #wake: (() => void) | undefined;

  constructor(method: Method, context: CallContext) {
    this.#method = method;
    this.context = context;
  }

  /** The next message; undefined at the end of the call. Throws what the call failed with. */
  async next(): Promise<Uint8Array | undefined> {
    for (;;) {
      const message = this.#queue.shift();
      if (message !== undefined) {
        if (this.#queue.length === QUEUED_MESSAGES_MAX / 2) this.consumer?.onWritable();
        return message;
      }
      if (this.#ended) {
        if (this.#error !== undefined) throw this.#error;
        return undefined;
      }
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }

  send(reply: unknown): void {
    if (this.#ended) return;
    this.#queue.push(encodeReply(this.#method, reply));
    this.#notify();
  }

  sendBytes(message: Uint8Array): void {
    this.send(message);
  }

  get writable(): boolean {
    return !this.#ended && this.#queue.length < QUEUED_MESSAGES_MAX;
  }

  end(): void {
    this.close(undefined);
  }

  fail(error: unknown): void {
    if (this.#ended) return;
    this.#error = error;
    this.close(error instanceof RpcError ? error : undefined);
  }

  /** Ends the call, with an error when there is a reason other than the handler's own. */
  close(reason: RpcError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error ??= reason;
    const consumer = this.consumer;
    this.consumer = undefined;
    consumer?.onClose(reason);
    this.#notify();
  }

  get ended(): boolean {
    return this.#ended;
  }

  #notify(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
