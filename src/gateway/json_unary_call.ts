import { ByteWriter } from "../base/byte_writer.ts";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { Pending, type PendingObserver } from "../base/pending.ts";
import { LongReply } from "../grpc/long_reply.ts";
import type { UnaryMethod } from "../grpc/method.ts";
import { Code, type RpcError } from "../grpc/status.ts";
import type { HttpExchange, RequestBody } from "../http1/api.ts";
import { JsonCall, tooLarge } from "./json_call.ts";
import { JsonMessageWriter } from "./json_writer.ts";
import { type JsonBinding, type JsonGateway, REPLY_HEAD } from "./json_gateway.ts";

/** Of a long reply in one turn: some 2 ms of base64. */
const PIECES_PER_TURN = 4;
/** What a piece is, more often than not. */
const PIECE_BYTES = 72 * 1024;

/** A reply that is being sent in pieces. */
interface LongAnswer {
  readonly reply: LongReply;
  readonly writer: JsonMessageWriter;
  /** Bytes of the reply that have not been read. */
  left: number;
}

/** One unary call: its body is one JSON object. */
export class JsonUnaryCall extends JsonCall implements RequestBody, PendingObserver<unknown> {
  requestBytes: Uint8Array | undefined = undefined;
  /** The body as far as it has come: the only chunk, or what several have been gathered in. */
  #chunk: Uint8Array | undefined = undefined;
  #start = 0;
  #end = 0;
  #gathered: ByteWriter | undefined = undefined;
  #long: LongAnswer | undefined = undefined;

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
    if (reply instanceof LongReply) return this.#beginLong(reply);
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

  #beginLong(reply: LongReply): void {
    if (this.ended) return reply.close();
    this.#long = { reply, writer: new JsonMessageWriter(this.binding.output, false), left: reply.length };
    reply.onReadable = () => this.onWritable();
    this.gateway.countSent(this.binding, reply.length);
    this.exchange.begin(REPLY_HEAD);
    this.onWritable();
  }

  /** Writes a long reply on, as its client takes it; not much in one turn. */
  onWritable(): void {
    const long = this.#long;
    if (long === undefined) return;
    try {
      for (let pieces = 0; long.left > 0 && this.exchange.writable; pieces += 1) {
        if (pieces === PIECES_PER_TURN) return long.reply.waitTurn();
        const fields = new ByteWriter(PIECE_BYTES);
        const count = long.reply.readFields(fields);
        if (count === 0) return;
        const out = new ByteWriter(count + (count >>> 1));
        if (long.left === long.reply.length) long.writer.begin(out);
        long.writer.add(out, fields.bytes, 0, count);
        long.left -= count;
        if (long.left === 0) long.writer.end(out);
        this.exchange.write(out.bytes.subarray(0, out.length));
      }
    } catch (error) {
      return this.fail(error);
    }
    if (long.left > 0 || this.ended) return;
    this.exchange.end();
    this.finish(Code.Ok, undefined);
  }

  onError(error: unknown): void {
    this.fail(error);
  }

  protected override sendFailure(error: RpcError): void {
    if (this.#long === undefined) this.gateway.sendError(this.exchange, error);
    else this.exchange.destroy();
  }

  protected override onFinish(): void {
    this.#chunk = undefined;
    this.#gathered = undefined;
    this.#long?.reply.close();
    this.#long = undefined;
  }
}
