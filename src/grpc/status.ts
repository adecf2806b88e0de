/** gRPC status codes. */
export const Code = {
  Ok: 0,
  Canceled: 1,
  Unknown: 2,
  InvalidArgument: 3,
  DeadlineExceeded: 4,
  NotFound: 5,
  AlreadyExists: 6,
  PermissionDenied: 7,
  ResourceExhausted: 8,
  FailedPrecondition: 9,
  Aborted: 10,
  OutOfRange: 11,
  Unimplemented: 12,
  Internal: 13,
  Unavailable: 14,
  DataLoss: 15,
  Unauthenticated: 16,
} as const;
export type Code = (typeof Code)[keyof typeof Code];

/** Names as grpc-go and its metrics print them; the index is the code. */
export const codeNames = [
  "OK",
  "Canceled",
  "Unknown",
  "InvalidArgument",
  "DeadlineExceeded",
  "NotFound",
  "AlreadyExists",
  "PermissionDenied",
  "ResourceExhausted",
  "FailedPrecondition",
  "Aborted",
  "OutOfRange",
  "Unimplemented",
  "Internal",
  "Unavailable",
  "DataLoss",
  "Unauthenticated",
] as const;

/** An outcome as it goes to the client: a code and the exact text. */
export class RpcError extends Error {
  override readonly name = "RpcError";
  readonly code: Code;

  constructor(code: Code, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export function deadlineExceeded(): RpcError {
  return new RpcError(Code.DeadlineExceeded, "context deadline exceeded");
}

export function canceled(): RpcError {
  return new RpcError(Code.Canceled, "context canceled");
}

const encoder = new TextEncoder();
const PLAIN_MESSAGE = /^[ -$&-~]*$/;

/** Percent-encodes what the grpc-message header may not carry: everything but printable ASCII, and "%". */
export function encodeStatusMessage(message: string): string {
  if (PLAIN_MESSAGE.test(message)) return message;
  let encoded = "";
  for (const byte of encoder.encode(message)) {
    const plain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    encoded += plain ? String.fromCharCode(byte) : "%" + byte.toString(16).toUpperCase().padStart(2, "0");
  }
  return encoded;
}

/** The reverse; what is no percent-encoded UTF-8 is taken as it stands. */
export function decodeStatusMessage(message: string): string {
  if (!message.includes("%")) return message;
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}
