import { create } from "@bufbuild/protobuf";
import { Pending } from "../base/pending.ts";
import { decodeWatchCreateRequest } from "../gen/codec/etcdserverpb/watch_codec.ts";
import { Lease, type LeaseKeepAliveRequest } from "../gen/etcdserverpb/lease_pb.ts";
import {
  Watch,
  type WatchCreateRequest,
  type WatchRequest,
  WatchRequestSchema,
} from "../gen/etcdserverpb/watch_pb.ts";
import { BrowserService } from "../gen/etcdts/v1/browser_pb.ts";
import type { CallContext, Method, StreamCall, StreamConsumer, StreamMethod } from "../grpc/method.ts";
import { EtcdError } from "../base/errors.ts";
import { streaming, unary } from "./methods.ts";

/**
 * etcdts.v1.BrowserService: Watch and LeaseKeepAlive for clients that cannot stream in both directions, on the
 * very handlers of etcd's own calls, which are among `methods`.
 */
export function browserMethods(methods: readonly Method[]): Method[] {
  const watch = find<WatchRequest>(methods, Watch.method.watch.parent.typeName, "Watch");
  const keepAlive = find<LeaseKeepAliveRequest>(methods, Lease.typeName, "LeaseKeepAlive");
  const ours = BrowserService.method;
  return [
    streaming<WatchCreateRequest, unknown>(ours.watch, {
      decode: decodeWatchCreateRequest,
      encode: watch.encode,
    }, (call) => new SingleWatch(watch, call)),
    unary(
      ours.leaseKeepAlive,
      keepAlive,
      (request, context) => new SingleReply(keepAlive, context).ask(request),
    ),
  ];
}

function find<I>(methods: readonly Method[], service: string, name: string): StreamMethod<I, unknown> {
  const found = methods.find((method) => method.service === service && method.name === name);
  return found as StreamMethod<I, unknown>;
}

/** One watcher on a Watch call of its own; the call ends with it. */
class SingleWatch implements StreamConsumer<WatchCreateRequest> {
  readonly #consumer: StreamConsumer<WatchRequest>;
  #created = false;

  constructor(watch: StreamMethod<WatchRequest, unknown>, call: StreamCall<unknown>) {
    this.#consumer = watch.open(new EndsWithWatcher(call));
  }

  onMessage(request: WatchCreateRequest): void {
    if (this.#created) return;
    this.#created = true;
    this.#consumer.onMessage(
      create(WatchRequestSchema, { requestUnion: { case: "createRequest", value: request } }),
    );
  }

  /** The client has said all it can; the watcher goes on. */
  onHalfClose(): void {}

  onWritable(): void {
    this.#consumer.onWritable();
  }

  onClose(reason: Parameters<StreamConsumer<unknown>["onClose"]>[0]): void {
    this.#consumer.onClose(reason);
  }
}

/** A call that ends behind the response that cancels its watcher. */
class EndsWithWatcher implements StreamCall<unknown> {
  readonly #call: StreamCall<unknown>;

  constructor(call: StreamCall<unknown>) {
    this.#call = call;
  }

  get context(): CallContext {
    return this.#call.context;
  }

  send(reply: unknown): void {
    this.#call.send(reply);
    if ((reply as { readonly canceled?: boolean }).canceled === true) this.#call.end();
  }

  sendBytes(message: Uint8Array): void {
    this.#call.sendBytes(message);
  }

  get writable(): boolean {
    return this.#call.writable;
  }

  end(): void {
    this.#call.end();
  }

  fail(error: unknown): void {
    this.#call.fail(error);
  }

  get ended(): boolean {
    return this.#call.ended;
  }
}

/** A streaming call of one request and one reply. */
class SingleReply<I> implements StreamCall<unknown> {
  readonly context: CallContext;
  readonly #result = new Pending<unknown>();
  readonly #consumer: StreamConsumer<I>;

  constructor(method: StreamMethod<I, unknown>, context: CallContext) {
    this.context = context;
    this.#consumer = method.open(this);
  }

  ask(request: I): Pending<unknown> {
    this.#consumer.onMessage(request);
    return this.#result;
  }

  send(reply: unknown): void {
    if (this.ended) return;
    this.#result.resolve(reply);
    this.#consumer.onClose(undefined);
  }

  sendBytes(message: Uint8Array): void {
    this.send(message);
  }

  get writable(): boolean {
    return true;
  }

  end(): void {
    this.fail(new EtcdError("canceled", "The call ended without a reply"));
  }

  fail(error: unknown): void {
    if (this.ended) return;
    this.#result.reject(error);
    this.#consumer.onClose(undefined);
  }

  get ended(): boolean {
    return this.#result.settled;
  }
}
