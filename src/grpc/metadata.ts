import type { HeaderField } from "../http2/api.ts";
import { Code, RpcError } from "./status.ts";

const TIMEOUT = /^([0-9]{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/**
 * Milliseconds of a `grpc-timeout` value: up to 8 digits and a unit (gRPC over HTTP/2, "Requests").
 * Throws the Internal status that grpc-go answers for a malformed one.
 */
export function parseTimeoutMs(value: string): number {
  const match = TIMEOUT.exec(value);
  if (match === null) throw new RpcError(Code.Internal, `malformed grpc-timeout: ${timeoutComplaint(value)}`);
  return Number(match[1]) * UNIT_MS[match[2]!]!;
}

function timeoutComplaint(value: string): string {
  const quoted = JSON.stringify(value);
  if (value.length < 2) return `transport: timeout string is too short: ${quoted}`;
  if (value.length > 9) return `transport: timeout string is too long: ${quoted}`;
  if (!(value.at(-1)! in UNIT_MS)) return `transport: timeout unit is not recognized: ${quoted}`;
  return `strconv.ParseUint: parsing ${JSON.stringify(value.slice(0, -1))}: invalid syntax`;
}

/** First value of a field, or undefined. Names are in lower case. */
export function fieldValue(fields: readonly HeaderField[], name: string): string | undefined {
  for (const field of fields) if (field[0] === name) return field[1];
  return undefined;
}

/**
 * "application/grpc", alone or with a "+subtype" or ";parameters". As grpc-go has it, messages are protobuf whatever
 * the subtype says.
 */
export function isGrpcContentType(value: string | undefined): boolean {
  if (value === undefined || !value.startsWith("application/grpc")) return false;
  const rest = value.slice("application/grpc".length);
  return rest === "" || rest.startsWith("+") || rest.startsWith(";");
}

/** Of gRPC or wrongly written; gRPC-Web is another protocol. */
export function looksLikeGrpc(contentType: string | undefined): boolean {
  return contentType !== undefined && /^application\/grpc(?!-web)/i.test(contentType);
}
