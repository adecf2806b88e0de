import { EtcdError } from "../base/errors.ts";
import { Code, RpcError } from "../grpc/status.ts";
import type { Log } from "../ports/log.ts";
import { wireErrors } from "./error_table.ts";

/**
 * What the client sees of an error. Anything but an `EtcdError` is a defect of ours: it is logged with
 * its cause and the client learns no more than that it happened.
 */
export function statusOf(error: unknown, log: Log): RpcError {
  if (error instanceof RpcError) return error;
  if (error instanceof EtcdError) {
    const [code, text] = wireErrors[error.code];
    return new RpcError(code, text);
  }
  log.error("handler failed", { error: String(error), stacktrace: (error as Error)?.stack });
  return new RpcError(Code.Internal, "internal error");
}
