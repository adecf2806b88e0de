import { EMPTY_BYTES } from "../base/bytes.ts";
import type { CallContext, StreamCall, StreamConsumer, StreamMethod } from "../grpc/method.ts";
import { Code, type RpcError } from "../grpc/status.ts";
import type { HttpExchange, RequestBody } from "../http1/api.ts";
import { JsonCall } from "./json_call.ts";
import { type JsonBinding, type JsonGateway, REPLY_HEAD } from "./json_gateway.ts";
import { JsonError } from "./json_reader.ts";
import { JsonSplitter } from "./json_splitter.ts";

/**
 * One streaming call: the client's messages are JSON objects one after the other, taken as they come; each
 * message of the server is a line.
 */
export class JsonStreamCall extends JsonCall implements RequestBody, StreamCall<unknown> {
  readonly requestBytes = undefined;
  readonly #splitter: JsonSplitter;
  #consumer: StreamConsumer<unknown> | undefined = undefined;
  #isBegun = false;
  #received = 0;

  constructor(gateway: JsonGateway, binding: JsonBinding, exchange: HttpExchange) {
    super(gateway, binding, exchange);
    exchange.bodyIsOpenEnded = binding.route.method.kind !== "server_stream";
    this.#splitter = new JsonSplitter(
      gateway.jsonBytesMax,
      (json) => this.#take(this.readMessage(json, 0, json.length)),
    );
    this.#guard(() => {
      this.startDeadline();
      const method = binding.route.method as StreamMethod<unknown, unknown>;
      gateway.options.admit(method, this);
      this.#consumer = method.open(this);
    });
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (!this.ended) this.#guard(() => this.#splitter.push(chunk.subarray(start, end)));
  }

  #take(message: Uint8Array): void {
    if (this.ended) return;
    this.#received += 1;
    this.#consumer?.onMessage(this.decode(message));
  }

  onEnd(): void {
    if (this.ended) return;
    this.#guard(() => {
      if (!this.#splitter.atBoundary) throw new JsonError("unexpected EOF");
      // A server stream has one request, which may be left out when it says nothing.
      const isServerStream = this.binding.route.method.kind === "server_stream";
      if (isServerStream && this.#received === 0) this.#take(this.readMessage(EMPTY_BYTES, 0, 0));
      this.#consumer?.onHalfClose();
    });
  }

  onWritable(): void {
    if (!this.ended) this.#guard(() => this.#consumer?.onWritable());
  }

  #guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fail(error);
    }
  }

  protected override sendFailure(error: RpcError): void {
    // What is wrong with a request before its method has it is answered as of a unary method.
    const isStreaming = this.#consumer !== undefined &&
      (this.#received > 0 || this.binding.route.method.kind !== "server_stream");
    if (isStreaming) this.gateway.sendStreamError(this.exchange, this.#isBegun, error);
    else this.gateway.sendError(this.exchange, error);
  }

  protected override onFinish(reason: RpcError | undefined): void {
    const consumer = this.#consumer;
    this.#consumer = undefined;
    consumer?.onClose(reason);
  }

  // StreamCall

  get context(): CallContext {
    return this;
  }

  send(reply: unknown): void {
    if (this.ended) return;
    const line = this.gateway.streamedJson(this.binding, reply);
    this.#begin();
    this.exchange.write(line);
  }

  sendBytes(message: Uint8Array): void {
    this.send(message);
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.exchange.begin(REPLY_HEAD);
  }

  get writable(): boolean {
    return !this.ended && this.exchange.writable;
  }

  end(): void {
    if (this.ended) return;
    this.#begin();
    this.exchange.end();
    this.finish(Code.Ok, undefined);
  }
}
