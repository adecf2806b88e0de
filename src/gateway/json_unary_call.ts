import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { Pending, type PendingObserver } from "../base/pending.ts";
import { gatherReply, LongReply } from "../grpc/long_reply.ts";
import type { UnaryMethod } from "../grpc/method.ts";
import { Code, type RpcError } from "../grpc/status.ts";
import type { HttpExchange, RequestBody } from "../http1/api.ts";
import { JsonCall, tooLarge } from "./json_call.ts";
import { type JsonBinding, type JsonGateway, REPLY_HEAD } from "./json_gateway.ts";

/** One unary call: its body is one JSON object. */
export class JsonUnaryCall extends JsonCall implements RequestBody, PendingObserver<unknown> {
  requestBytes: Uint8Array | undefined = undefined;
  /** The body as far as it has come: the only chunk, or what several have been gathered in. */
  #chunk: Uint8Array | undefined = undefined;
  #start = 0;
  #end = 0;
  #gathered: ByteWriter | undefined = undefined;

  constructor(gateway: JsonGateway, binding: JsonBinding, exchange: HttpExchange) {
    super(gateway, binding, exchange);
    try {
      this.startDeadline();
    } catch (error) {
      this.fail(error);
    }
  }

  onData(chunk: Uint8Array, start: number, end: number): void {
    if (this.ended) return;
    if (this.#chunk === undefined) {
      this.#chunk = chunk;
      this.#start = start;
      this.#end = end;
    } else {
      if (this.#gathered === undefined) {
        this.#gathered = new ByteWriter((this.#end - this.#start + end - start) * 2);
        this.#gathered.write(this.#chunk.subarray(this.#start, this.#end));
        this.#start = 0;
      }
      this.#gathered.write(chunk.subarray(start, end));
      this.#chunk = this.#gathered.bytes;
      this.#end = this.#gathered.length;
    }
    const length = this.#end - this.#start;
    if (length > this.gateway.jsonBytesMax) this.fail(tooLarge(length, this.gateway.options.receiveBytesMax));
  }

  onEnd(): void {
    if (this.ended) return;
    try {
      const message = this.readMessage(this.#chunk ?? EMPTY_BYTES, this.#start, this.#end);
      this.#chunk = undefined;
      this.#gathered = undefined;
      this.requestBytes = message;
      const method = this.binding.route.method as UnaryMethod<unknown, unknown>;
      const request = this.decode(message);
      this.gateway.options.admit(method, this);
      const reply = method.handle(request, this);
      if (reply instanceof Pending) reply.observe(this);
      else if (reply instanceof Promise) {
        reply.then((value) => this.onValue(value), (error) => this.onError(error));
      } else this.onValue(reply);
    } catch (error) {
      this.fail(error);
    }
  }

  onValue(reply: unknown): void {
    if (reply instanceof LongReply) {
      if (this.ended) return reply.close();
      gatherReply(reply).then((bytes) => this.onValue(bytes), (error) => this.onError(error));
      return;
    }
    if (this.ended) return;
    const { exchange } = this;
    const out = exchange.startReply(REPLY_HEAD);
    try {
      this.gateway.writeReply(out, this.binding, reply, false);
    } catch (error) {
      exchange.cancelReply();
      return this.fail(error);
    }
    exchange.finishReply();
    this.finish(Code.Ok, undefined);
  }

  onError(error: unknown): void {
    this.fail(error);
  }

  onWritable(): void {}

  protected override sendFailure(error: RpcError): void {
    this.gateway.sendError(this.exchange, error);
  }

  protected override onFinish(): void {
    this.#chunk = undefined;
    this.#gathered = undefined;
  }
}
