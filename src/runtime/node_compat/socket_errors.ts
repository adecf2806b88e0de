import { SocketError } from "../../ports/sockets.ts";
import type { SocketErrorKind } from "../../ports/sockets.ts";

const kindOfCode: Readonly<Record<string, SocketErrorKind>> = {
  ECONNREFUSED: "refused",
  ENOENT: "refused", // A unix socket whose file is missing.
  ConnectionRefused: "refused",
  ECONNRESET: "reset",
  EPIPE: "reset",
  ETIMEDOUT: "timeout",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  EADDRNOTAVAIL: "unreachable",
  ENOTFOUND: "name not found",
  EAI_AGAIN: "name not found",
  EADDRINUSE: "in use",
  EACCES: "permission",
  EPERM: "permission",
};

export function socketError(error: unknown, otherwise: SocketErrorKind = "other"): SocketError {
  if (error instanceof SocketError) return error;
  const { code, message } = error as { readonly code?: string; readonly message?: string };
  return new SocketError(kindOfCode[code ?? ""] ?? otherwise, message || (code ?? "socket error"), {
    cause: error,
  });
}
