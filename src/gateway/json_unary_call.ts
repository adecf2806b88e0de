import { ByteWriter } from "../base/byte_writer.ts";
import { Pending, type PendingObserver } from "../base/pending.ts";
import { gatherReply, LongReply } from "../grpc/long_reply.ts";
import type { UnaryMethod } from "../grpc/method.ts";
import { Code, type RpcError } from "../grpc/status.ts";
import type { HttpAnswer, HttpCall, HttpCallBody } from "../ports/http_call.ts";
import { JsonCall, tooLarge } from "./json_call.ts";
import { type JsonBinding, type JsonGateway, REPLY_HEADERS } from "./json_gateway.ts";

/** One unary call: its body is one JSON object. */
export class JsonUnaryCall extends JsonCall implements HttpCallBody, PendingObserver<unknown> {
  requestBytes: Uint8Array | undefined = undefined;
  /** The body as far as it has come: the only chunk, or what several have been gathered in. */
  #chunk: Uint8Array | undefined = undefined;
  #gathered: ByteWriter | undefined = undefined;

  constructor(gateway: JsonGateway, binding: JsonBinding, call: HttpCall, answer: HttpAnswer) {
    super(gateway, binding, call, answer);
    try {
      this.startDeadline();
    } catch (error) {
      this.fail(error);
    }
  }

  onData(chunk: Uint8Array): void {
    if (this.ended) return;
    if (this.#chunk === undefined && this.#gathered === undefined) {
      this.#chunk = chunk;
    } else {
      if (this.#gathered === undefined) {
        this.#gathered = new ByteWriter(this.#chunk!.length + chunk.length);
        this.#gathered.write(this.#chunk!);
        this.#chunk = undefined;
      }
      this.#gathered.write(chunk);
    }
    const length = this.#gathered?.length ?? chunk.length;
    if (length > this.gateway.jsonBytesMax) this.fail(tooLarge(length, this.gateway.options.receiveBytesMax));
  }

  onEnd(): void {
    if (this.ended) return;
    const json = this.#chunk ?? this.#gathered?.bytes ?? NO_BYTES;
    try {
      const message = this.readMessage(json, this.#gathered?.length);
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
    let body: Uint8Array;
    try {
      body = this.gateway.replyJson(this.binding, reply);
    } catch (error) {
      return this.fail(error);
    }
    this.answer.send(200, REPLY_HEADERS, body);
    this.finish(Code.Ok, undefined);
  }

  onError(error: unknown): void {
    this.fail(error);
  }

  onWritable(): void {}

  protected override sendFailure(error: RpcError): void {
    this.gateway.sendError(this.answer, error);
  }

  protected override onFinish(): void {
    this.#chunk = undefined;
    this.#gathered = undefined;
  }
}

const NO_BYTES = new Uint8Array(0);
