import type { DescMethod } from "@bufbuild/protobuf";
import { ByteWriter } from "../base/byte_writer.ts";
import type { CallContext, Method } from "../grpc/method.ts";
import type { Deadlines } from "../grpc/deadlines.ts";
import type { MethodTable, Route } from "../grpc/method_table.ts";
import type { TrafficCounter } from "../grpc/server.ts";
import { Code, RpcError } from "../grpc/status.ts";
import type { HttpExchange, RequestBody } from "../http1/api.ts";
import { ResponseHead } from "../http1/response_head.ts";
import { gatewayBindings } from "./bindings.ts";
import { CallSlots } from "./call_slots.ts";
import { type MessagePlan, messagePlan } from "./json_plan.ts";
import { JsonReader } from "./json_reader.ts";
import { JsonStreamCall } from "./json_stream_call.ts";
import { JsonUnaryCall } from "./json_unary_call.ts";
import { writeJson, writeText } from "./json_writer.ts";

export interface JsonGatewayOptions {
  readonly methods: MethodTable;
  /** Largest request accepted, as protobuf. */
  readonly receiveBytesMax: number;
  /** Calls at once. */
  readonly callsMax: number;
  readonly toStatus: (error: unknown) => RpcError;
  readonly admit: (method: Method, context: CallContext) => void;
  readonly traffic: TrafficCounter;
  readonly deadlines: Deadlines;
}

/** A method with the form of its messages. */
export interface JsonBinding {
  readonly route: Route;
  readonly input: MessagePlan;
  readonly output: MessagePlan;
}

/** A request in JSON may be longer than in protobuf: base64 adds a third, names and quotes some more. */
const JSON_LENGTH_RATIO = 2;
const SCRATCH_BYTES_MAX = 4 * 1024 * 1024;

const HTTP_STATUS: Readonly<Record<Code, number>> = {
  [Code.Ok]: 200,
  [Code.Canceled]: 499,
  [Code.Unknown]: 500,
  [Code.InvalidArgument]: 400,
  [Code.DeadlineExceeded]: 504,
  [Code.NotFound]: 404,
  [Code.AlreadyExists]: 409,
  [Code.PermissionDenied]: 403,
  [Code.ResourceExhausted]: 429,
  [Code.FailedPrecondition]: 400,
  [Code.Aborted]: 409,
  [Code.OutOfRange]: 400,
  [Code.Unimplemented]: 501,
  [Code.Internal]: 500,
  [Code.Unavailable]: 503,
  [Code.DataLoss]: 500,
  [Code.Unauthenticated]: 401,
};

const JSON_FIELDS = [["Content-Type", "application/json"]] as const;
/** Of what a method answered; etcd's gateway passes on the header of the gRPC response behind it. */
export const REPLY_HEAD = new ResponseHead(200, [
  ...JSON_FIELDS,
  ["Grpc-Metadata-Content-Type", "application/grpc"],
]);

/**
 * The JSON API of etcd's grpc-gateway (github.com/grpc-ecosystem/grpc-gateway, v2): POST of a message as JSON
 * to the path of a method. The handlers are those of gRPC and see a request as gRPC would have brought it.
 */
export class JsonGateway {
  readonly options: JsonGatewayOptions;
  readonly jsonBytesMax: number;
  readonly reader = new JsonReader();
  readonly slots: CallSlots;
  readonly #bindings = new Map<string, JsonBinding | DescMethod>();
  #encoded = new ByteWriter(4096);
  #json = new ByteWriter(4096);

  constructor(options: JsonGatewayOptions) {
    this.options = options;
    this.jsonBytesMax = options.receiveBytesMax * JSON_LENGTH_RATIO;
    this.slots = new CallSlots(options.callsMax, this.jsonBytesMax);
    for (const [path, desc] of gatewayBindings) {
      const route = options.methods.find(methodPath(desc));
      const binding = route === undefined
        ? desc
        : { route, input: messagePlan(desc.input), output: messagePlan(desc.output) };
      this.#bindings.set(path, binding);
      this.#bindings.set(path.replace("/v3/", "/v3beta/"), binding);
    }
  }

  /** Takes a request for a path below /v3 or /v3beta; leaves others, as undefined. */
  open(exchange: HttpExchange): RequestBody | undefined {
    const { target } = exchange;
    if (!isJsonTarget(target)) return undefined;
    const query = target.indexOf("?");
    const path = query < 0 ? target : target.slice(0, query);
    const binding = this.#bindings.get(path.includes("%") ? decodedPath(path) : path);
    if (binding === undefined) return this.#refuse(exchange, new RpcError(Code.NotFound, "Not Found"));
    if (exchange.method !== "POST") {
      return this.#refuse(exchange, new RpcError(Code.Unimplemented, "Method Not Allowed"));
    }
    if (!("route" in binding)) {
      return this.#refuse(exchange, this.options.methods.unknownMethod(methodPath(binding)));
    }
    const Call = binding.route.method.kind === "unary" ? JsonUnaryCall : JsonStreamCall;
    if (this.slots.take()) return new Call(this, binding, exchange);
    return this.slots.wait(exchange, () => new Call(this, binding, exchange));
  }

  #refuse(exchange: HttpExchange, error: RpcError): RequestBody {
    this.sendError(exchange, error);
    return ignoredBody;
  }

  /** Answers a request that has had no answer yet. */
  sendError(exchange: HttpExchange, error: RpcError): void {
    writeError(exchange.startReply(errorHead(error)), error, false);
    exchange.finishReply();
  }

  /** The last message of a stream, and its head when it is the first. */
  sendStreamError(exchange: HttpExchange, isBegun: boolean, error: RpcError): void {
    const out = new ByteWriter(256);
    out.write(ERROR_START);
    writeError(out, error, true);
    out.write(MESSAGE_END);
    if (!isBegun) exchange.begin(new ResponseHead(HTTP_STATUS[error.code], JSON_FIELDS));
    exchange.write(out.toBytes());
    exchange.end();
  }

  /** Appends a reply as JSON. */
  writeReply(out: ByteWriter, binding: JsonBinding, reply: unknown, inStream: boolean): void {
    const { bytes, length } = this.#encode(binding, reply);
    writeJson(out, binding.output, bytes, 0, length, inStream);
  }

  /** A message of a stream as a line of its own. */
  streamedJson(binding: JsonBinding, reply: unknown): Uint8Array {
    if (this.#json.bytes.length > SCRATCH_BYTES_MAX) this.#json = new ByteWriter(4096);
    const out = this.#json;
    out.clear();
    out.write(RESULT_START);
    this.writeReply(out, binding, reply, true);
    out.write(MESSAGE_END);
    return out.toBytes();
  }

  /** Counts a reply of which the call itself makes JSON. */
  countSent({ route }: JsonBinding, bytes: number): void {
    route.stats.sent += 1;
    this.options.traffic.sentBytes += bytes;
  }

  #encode({ route }: JsonBinding, reply: unknown): { readonly bytes: Uint8Array; readonly length: number } {
    route.stats.sent += 1;
    let encoded: { readonly bytes: Uint8Array; readonly length: number };
    if (reply instanceof Uint8Array) {
      encoded = { bytes: reply, length: reply.length };
    } else {
      if (this.#encoded.bytes.length > SCRATCH_BYTES_MAX) this.#encoded = new ByteWriter(4096);
      this.#encoded.clear();
      route.method.encode(this.#encoded, reply);
      encoded = this.#encoded;
    }
    this.options.traffic.sentBytes += encoded.length;
    return encoded;
  }
}

const encoder = new TextEncoder();
const RESULT_START = encoder.encode('{"result":');
const ERROR_START = encoder.encode('{"error":');
const MESSAGE_END = encoder.encode("}\n");

/** Whether a target is the gateway's. */
export function isJsonTarget(target: string): boolean {
  return target.startsWith("/v3/") || target.startsWith("/v3beta/");
}

/** What a path means; one that means nothing is that of no method. */
function decodedPath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function methodPath(desc: DescMethod): string {
  return `/${desc.parent.typeName}/${desc.name}`;
}

/** A google.rpc.Status; etcd's errors have no details. */
function writeError(out: ByteWriter, { code, message }: RpcError, inStream: boolean): void {
  out.write(encoder.encode(`{"code":${code}`));
  if (message !== "") {
    out.write(encoder.encode(',"message":'));
    writeText(out, message, inStream);
  }
  out.write(encoder.encode("}"));
}

function errorHead({ code, message }: RpcError): ResponseHead {
  const status = HTTP_STATUS[code];
  if (code !== Code.Unauthenticated) return new ResponseHead(status, JSON_FIELDS);
  return new ResponseHead(status, [...JSON_FIELDS, ["WWW-Authenticate", message.replace(/[^ -~]/g, " ")]]);
}

/** The body of a request that has been answered already. */
const ignoredBody: RequestBody = {
  onData() {},
  onEnd() {},
  onAbort() {},
  onWritable() {},
};
