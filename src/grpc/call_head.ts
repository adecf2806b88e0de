import { type HeaderField, type RequestHead } from "../http2/api.ts";
import { fieldValue, isGrpcContentType, looksLikeGrpc, parseTimeoutMs } from "./metadata.ts";
import type { MethodTable, Route } from "./method_table.ts";
import { Code, deadlineExceeded, RpcError } from "./status.ts";

/** What a request's header block means for gRPC: worked out once for all requests that share the block. */
export type CallHead = AcceptedHead | RefusedHead | ForeignHead;

export interface AcceptedHead {
  readonly kind: "accepted";
  readonly route: Route;
  readonly fields: readonly HeaderField[];
  /** Infinity without a deadline. */
  readonly timeoutMs: number;
  /** `grpc-encoding` of the request's messages. */
  readonly encoding: string | undefined;
  /** Answers are compressed as the request's messages are. */
  readonly gzipReplies: boolean;
}

/** Not to be dispatched. `httpStatus` is 200 for a plain gRPC error. */
export interface RefusedHead {
  readonly kind: "refused";
  readonly httpStatus: number;
  readonly error: RpcError;
}

/** No gRPC request: it belongs to another protocol on the same port. */
export interface ForeignHead {
  readonly kind: "foreign";
}

export function readCallHead(head: RequestHead, methods: MethodTable): CallHead {
  const contentType = fieldValue(head.fields, "content-type");
  if (!isGrpcContentType(contentType)) {
    if (!looksLikeGrpc(contentType)) return { kind: "foreign" };
    const text = `invalid gRPC request content-type ${JSON.stringify(contentType)}`;
    return refused(415, new RpcError(Code.InvalidArgument, text));
  }
  if (head.method !== "POST") {
    return refused(
      405,
      new RpcError(
        Code.Internal,
        `Received a HEADERS frame with :method ${JSON.stringify(head.method)} which should be POST`,
      ),
    );
  }
  const route = methods.find(head.path);
  const timeout = fieldValue(head.fields, "grpc-timeout");
  let timeoutMs = Infinity;
  try {
    if (timeout !== undefined) timeoutMs = parseTimeoutMs(timeout);
  } catch (error) {
    return refused(400, error as RpcError);
  }
  if (route === undefined) return refused(200, methods.unknownMethod(head.path));
  if (timeoutMs === 0) return refused(200, deadlineExceeded());
  const encoding = fieldValue(head.fields, "grpc-encoding");
  if (encoding !== undefined && encoding !== "identity" && encoding !== "gzip" && encoding !== "") {
    const text = `grpc: Decompressor is not installed for grpc-encoding ${JSON.stringify(encoding)}`;
    return refused(200, new RpcError(Code.Unimplemented, text));
  }
  return {
    kind: "accepted",
    route,
    fields: head.fields,
    timeoutMs,
    encoding,
    gzipReplies: encoding === "gzip",
  };
}

function refused(httpStatus: number, error: RpcError): RefusedHead {
  return { kind: "refused", httpStatus, error };
}
