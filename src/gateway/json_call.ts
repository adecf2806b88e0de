import type { DeadlineNode } from "../grpc/deadlines.ts";
import type { CallContext } from "../grpc/method.ts";
import { parseTimeoutMs } from "../grpc/metadata.ts";
import { canceled, Code, deadlineExceeded, RpcError } from "../grpc/status.ts";
import type { HttpExchange } from "../http1/api.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { JsonBinding, JsonGateway } from "./json_gateway.ts";
import { JsonError } from "./json_reader.ts";

/** Headers of HTTP that grpc-gateway passes on as metadata, under names of their own. */
const PASSED_HEADERS: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-language",
  "accept-ranges",
  "authorization",
  "cache-control",
  "content-type",
  "cookie",
  "date",
  "expect",
  "from",
  "host",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-schedule-tag-match",
  "if-unmodified-since",
  "max-forwards",
  "origin",
  "pragma",
  "referer",
  "user-agent",
  "via",
  "warning",
]);
const PASSED_PREFIX = "grpcgateway-";

/** What calls of both kinds have in common: the handler's view of the request, and how a call ends. */
export abstract class JsonCall implements CallContext, DeadlineNode {
  deadlineMs = Infinity;
  previousDeadline: DeadlineNode | undefined = undefined;
  nextDeadline: DeadlineNode | undefined = undefined;
  readonly gateway: JsonGateway;
  readonly binding: JsonBinding;
  readonly exchange: HttpExchange;
  #cancelReason: RpcError | undefined = undefined;
  #onCancel: ((reason: RpcError) => void)[] | undefined = undefined;
  #done = false;
  abstract readonly requestBytes: Uint8Array | undefined;

  constructor(gateway: JsonGateway, binding: JsonBinding, exchange: HttpExchange) {
    this.gateway = gateway;
    this.binding = binding;
    this.exchange = exchange;
    binding.route.stats.started += 1;
  }

  /** Sends the status that ends the call. */
  protected abstract sendFailure(error: RpcError): void;
  /** Runs once, when the call has ended in whatever way. */
  protected abstract onFinish(reason: RpcError | undefined): void;

  /** Grpc-Timeout, as grpc-gateway takes it. Throws the status for a malformed one. */
  protected startDeadline(): void {
    const timeout = this.exchange.header("grpc-timeout");
    if (timeout === undefined) return;
    let timeoutMs: number;
    try {
      timeoutMs = parseTimeoutMs(timeout);
    } catch {
      throw new RpcError(Code.InvalidArgument, `invalid grpc-timeout: ${timeout}`);
    }
    // To grpc-gateway no time at all means no limit.
    if (timeoutMs > 0) this.gateway.options.deadlines.join(this, timeoutMs);
  }

  onDeadline(): void {
    this.#cancel(deadlineExceeded(), true);
  }

  onAbort(): void {
    this.#cancel(canceled(), false);
  }

  #cancel(reason: RpcError, isHeard: boolean): void {
    if (this.#done) return;
    this.#cancelReason = reason;
    if (isHeard) this.sendFailure(reason);
    this.finish(reason.code, reason);
    for (const listener of this.#onCancel ?? []) listener(reason);
  }

  fail(error: unknown): void {
    if (this.#done) return;
    const status = error instanceof RpcError
      ? error
      : error instanceof JsonError
      ? new RpcError(Code.InvalidArgument, error.message)
      : this.gateway.options.toStatus(error);
    this.sendFailure(status);
    this.finish(status.code, status);
  }

  protected finish(code: Code, reason: RpcError | undefined): void {
    this.#done = true;
    if (this.deadlineMs !== Infinity) this.gateway.options.deadlines.leave(this);
    this.binding.route.stats.handled[code]! += 1;
    this.onFinish(reason);
    this.gateway.slots.release();
  }

  get ended(): boolean {
    return this.#done;
  }

  /** One message of the client, as gRPC would have brought it. */
  protected readMessage(json: Uint8Array, start: number, end: number): Uint8Array {
    const { reader, options } = this.gateway;
    const message = reader.read(this.binding.input, json, start, end);
    if (message.length > options.receiveBytesMax) throw tooLarge(message.length, options.receiveBytesMax);
    options.traffic.receivedBytes += message.length;
    this.binding.route.stats.received += 1;
    return message;
  }

  protected decode(message: Uint8Array): unknown {
    try {
      return this.binding.route.method.decode(message, 0, message.length);
    } catch (error) {
      throw new RpcError(Code.InvalidArgument, (error as Error).message);
    }
  }

  // CallContext

  /**
   * The client's end of the connection, without what its certificate says: with etcd, requests in JSON reach
   * the handlers through a connection of the server's own, so they never count as those of the common name.
   */
  get peer(): PeerInfo {
    const { peer } = this.exchange;
    if (peer.tls === undefined) return peer;
    return { ...peer, tls: { ...peer.tls, clientCommonName: "", certificate: undefined } };
  }

  /** Metadata as grpc-gateway makes it of HTTP headers. */
  metadata(name: string): string | undefined {
    if (name === "authorization") return this.exchange.header(name);
    if (name.startsWith(PASSED_PREFIX)) {
      const header = name.slice(PASSED_PREFIX.length);
      return PASSED_HEADERS.has(header) ? this.exchange.header(header) : undefined;
    }
    return this.exchange.header(`grpc-metadata-${name}`);
  }

  get cancelled(): boolean {
    return this.#cancelReason !== undefined;
  }

  onCancel(listener: (reason: RpcError) => void): void {
    if (this.#cancelReason !== undefined) listener(this.#cancelReason);
    else (this.#onCancel ??= []).push(listener);
  }
}

/** The words are grpc-go's. */
export function tooLarge(length: number, max: number): RpcError {
  return new RpcError(
    Code.ResourceExhausted,
    `grpc: received message larger than max (${length} vs. ${max})`,
  );
}
