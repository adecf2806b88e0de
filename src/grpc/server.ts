import { ByteWriter } from "../base/byte_writer.ts";
import type {
  RequestBody,
  RequestHandler,
  RequestHead,
  ServerConnectionInfo,
  ServerStream,
} from "../http2/api.ts";
import { type RepeatedBlock, RepeatedFields } from "../http2/hpack/repeated_fields.ts";
import type { Clock } from "../ports/clock.ts";
import type { Compression } from "../ports/compression.ts";
import { type AcceptedHead, type CallHead, readCallHead, type RefusedHead } from "./call_head.ts";
import { Deadlines } from "./deadlines.ts";
import { MESSAGE_PREFIX_BYTES, MessageBudget, type MessageLimits } from "./framing.ts";
import type { CallContext, Method } from "./method.ts";
import type { MethodTable } from "./method_table.ts";
import { Code, encodeStatusMessage, RpcError } from "./status.ts";
import { StreamingCall } from "./streaming_call.ts";
import { UnaryCall } from "./unary_call.ts";

export interface GrpcOptions {
  readonly methods: MethodTable;
  readonly limits: MessageLimits;
  readonly clock: Clock;
  readonly compression: Compression;
  /** What the client sees of anything a handler throws. */
  readonly toStatus: (error: unknown) => RpcError;
  /** Runs before each handler and refuses the call by throwing. */
  readonly admit: (method: Method, context: CallContext) => void;
  /** Counts payload bytes of client traffic. */
  readonly traffic: TrafficCounter;
  /** Told after each unary call: its route, milliseconds taken and status. */
  readonly onUnaryDone?: (call: UnaryCall, tookMs: number, code: Code) => void;
  /** Takes requests over HTTP/2 that are not gRPC. Without it they get 415. */
  readonly foreign?: (stream: ServerStream, head: RequestHead, endStream: boolean) => RequestBody;
}

/** Payload bytes received from and sent to clients. */
export interface TrafficCounter {
  receivedBytes: number;
  sentBytes: number;
}

/** Unfinished messages of one connection: 32 of the largest, or thousands of ordinary ones. */
const UNFINISHED_BYTES_MAX = 64 * 1024 * 1024;

const RESPONSE_FIELDS = [[":status", "200"], ["content-type", "application/grpc"]] as const;

const OK_TRAILERS = [["grpc-status", "0"], ["grpc-message", ""]] as const;

/** What a call that ends well sends. All blocks of a server that go into the peer's table come from this one list. */
const repeatedFields = new RepeatedFields([RESPONSE_FIELDS[1], ...OK_TRAILERS]);
export const responseBlock: RepeatedBlock = repeatedFields.block(RESPONSE_FIELDS);
export const gzipResponseBlock: RepeatedBlock = repeatedFields.block([
  ...RESPONSE_FIELDS,
  ["grpc-encoding", "gzip"],
]);
export const okTrailersBlock: RepeatedBlock = repeatedFields.block(OK_TRAILERS);

/** gRPC over our HTTP/2 engine: finds the method and makes the call object that takes the body. */
export class GrpcServer implements RequestHandler {
  readonly options: GrpcOptions;
  readonly deadlines: Deadlines;
  /** Where a reply is encoded before it is compressed. */
  readonly scratch = new ByteWriter(4096);

  /** Asked for only by messages that come in pieces. */
  readonly #budgets = new WeakMap<ServerConnectionInfo, MessageBudget>();

  constructor(options: GrpcOptions) {
    this.options = options;
    this.deadlines = new Deadlines(options.clock);
  }

  onRequest(stream: ServerStream, head: RequestHead, endStream: boolean): RequestBody {
    const call = (head.memo ??= readCallHead(head, this.options.methods)) as CallHead;
    if (call.kind === "accepted") return this.#begin(stream, call);
    if (call.kind === "refused") return refuse(stream, call);
    if (this.options.foreign !== undefined) return this.options.foreign(stream, head, endStream);
    const error = new RpcError(Code.InvalidArgument, "invalid gRPC request content-type");
    return refuse(stream, { kind: "refused", httpStatus: 415, error });
  }

  budgetOf(connection: ServerConnectionInfo): MessageBudget {
    let budget = this.#budgets.get(connection);
    if (budget === undefined) {
      budget = new MessageBudget(UNFINISHED_BYTES_MAX);
      this.#budgets.set(connection, budget);
    }
    return budget;
  }

  #begin(stream: ServerStream, head: AcceptedHead): RequestBody {
    head.route.stats.started += 1;
    const call = head.route.method.kind === "unary"
      ? new UnaryCall(this, stream, head)
      : new StreamingCall(this, stream, head);
    if (head.timeoutMs !== Infinity) this.deadlines.join(call, head.timeoutMs);
    return call;
  }
}

/**
 * Writes a reply and its prefix, in place, to the connection's output. A reply that is bytes is encoded
 * already.
 */
export function writeReply(
  server: GrpcServer,
  stream: ServerStream,
  head: AcceptedHead,
  reply: unknown,
): void {
  const out = stream.startData();
  const at = out.length;
  out.reserve(MESSAGE_PREFIX_BYTES);
  out.length += MESSAGE_PREFIX_BYTES;
  if (head.gzipReplies) {
    server.scratch.clear();
    encodeReply(server.scratch, head, reply);
    out.write(server.options.compression.gzip(server.scratch.toBytes()));
  } else {
    encodeReply(out, head, reply);
  }
  const length = out.length - at - MESSAGE_PREFIX_BYTES;
  out.bytes[at] = head.gzipReplies ? 1 : 0;
  out.setUint32(at + 1, length);
  server.options.traffic.sentBytes += length;
  head.route.stats.sent += 1;
  stream.finishData(false);
}

function encodeReply(out: ByteWriter, head: AcceptedHead, reply: unknown): void {
  if (reply instanceof Uint8Array) out.write(reply);
  else head.route.method.encode(out, reply);
}

/** Ends a call with an error: trailers alone when nothing was sent before, else trailers after the data. */
export function sendStatus(stream: ServerStream, headersSent: boolean, error: RpcError): void {
  const fields: [string, string][] = [["grpc-status", String(error.code)]];
  fields.push(["grpc-message", encodeStatusMessage(error.message)]);
  stream.sendFields(headersSent ? fields : [...RESPONSE_FIELDS, ...fields], true);
}

function refuse(stream: ServerStream, { httpStatus, error }: RefusedHead): RequestBody {
  const fields: [string, string][] = [
    [":status", String(httpStatus)],
    ["content-type", "application/grpc"],
    ["grpc-status", String(error.code)],
    ["grpc-message", encodeStatusMessage(error.message)],
  ];
  if (error.code === Code.Unimplemented && error.message.includes("grpc-encoding")) {
    fields.push(["grpc-accept-encoding", "gzip"]);
  }
  stream.sendFields(fields, true);
  return ignoredBody;
}

/** The body of a request that has been answered already. */
const ignoredBody: RequestBody = {
  onData() {},
  onEnd() {},
  onReset() {},
  onWritable() {},
};
