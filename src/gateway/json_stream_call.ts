import type { CallContext, StreamCall, StreamConsumer, StreamMethod } from "../grpc/method.ts";
import { Code, type RpcError } from "../grpc/status.ts";
import type { HttpAnswer, HttpCall, HttpCallBody } from "../ports/http_call.ts";
import { JsonCall } from "./json_call.ts";
import { type JsonBinding, type JsonGateway, REPLY_HEADERS } from "./json_gateway.ts";
import { JsonError } from "./json_reader.ts";
import { JsonSplitter } from "./json_splitter.ts";

/**
 * One streaming call: the client's messages are JSON objects one after the other, taken as they come; each
 * message of the server is a line.
 */
export class JsonStreamCall extends JsonCall implements HttpCallBody, StreamCall<unknown> {
  readonly requestBytes = undefined;
  readonly #splitter: JsonSplitter;
  #consumer: StreamConsumer<unknown> | undefined = undefined;
  #isBegun = false;
  #received = 0;

  constructor(gateway: JsonGateway, binding: JsonBinding, call: HttpCall, answer: HttpAnswer) {
    super(gateway, binding, call, answer);
    this.#splitter = new JsonSplitter(gateway.jsonBytesMax, (json) => this.#take(this.readMessage(json)));
    this.#guard(() => {
      this.startDeadline();
      const method = binding.route.method as StreamMethod<unknown, unknown>;
      gateway.options.admit(method, this);
      this.#consumer = method.open(this);
    });
  }

  onData(chunk: Uint8Array): void {
    if (!this.ended) this.#guard(() => this.#splitter.push(chunk));
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
      if (isServerStream && this.#received === 0) this.#take(this.readMessage(new Uint8Array(0)));
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
    if (isStreaming) this.gateway.sendStreamError(this.answer, this.#isBegun, error);
    else this.gateway.sendError(this.answer, error);
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
    this.answer.write(line);
  }

  sendBytes(message: Uint8Array): void {
    this.send(message);
  }

  #begin(): void {
    if (this.#isBegun) return;
    this.#isBegun = true;
    this.answer.begin(200, REPLY_HEADERS);
  }

  get writable(): boolean {
    return !this.ended && this.answer.writable;
  }

  end(): void {
    if (this.ended) return;
    this.#begin();
    this.answer.end();
    this.finish(Code.Ok, undefined);
  }
}
