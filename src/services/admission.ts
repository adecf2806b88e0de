import { EtcdError } from "../base/errors.ts";
import type { CallContext } from "../grpc/method.ts";
import type { EtcdServer } from "../server/server.ts";

/** Values of `client-api-version` counted one by one; a client that makes up more is counted as "other". */
const CLIENT_VERSIONS_MAX = 64;
const UNKNOWN_VERSION = "unknown";
const OTHER_VERSIONS = "other";

/** Requests counted by kind and by the API version that the client claims. */
export class ClientRequests {
  readonly #counts = new Map<string, { unary: number; stream: number }>();

  add(type: "unary" | "stream", version: string): void {
    let counts = this.#counts.get(version);
    if (counts === undefined) {
      if (this.#counts.size >= CLIENT_VERSIONS_MAX && version !== OTHER_VERSIONS) {
        return this.add(type, OTHER_VERSIONS);
      }
      counts = { unary: 0, stream: 0 };
      this.#counts.set(version, counts);
    }
    counts[type] += 1;
  }

  list(): { readonly type: string; readonly version: string; readonly count: number }[] {
    return [...this.#counts].flatMap(([version, { unary, stream }]) => [
      ...(unary > 0 ? [{ type: "unary", version, count: unary }] : []),
      ...(stream > 0 ? [{ type: "stream", version, count: stream }] : []),
    ]);
  }
}

/** What is asked of every call before its handler: etcd's metadata fields. Throws `EtcdError`. */
export function admit(
  server: EtcdServer,
  requests: ClientRequests,
  isUnary: boolean,
  context: CallContext,
): void {
  const version = context.metadata("client-api-version");
  if (version !== undefined && !isUtf8(version)) throw new EtcdError("invalidClientApiVersion");
  requests.add(isUnary ? "unary" : "stream", version ?? UNKNOWN_VERSION);
  if (server.leader === 0n && context.metadata("hasleader") === "true") throw new EtcdError("noLeader");
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true });

/** Whether the octets of a header value, one per character, are UTF-8. */
function isUtf8(value: string): boolean {
  if (/^[\x20-\x7e]*$/.test(value)) return true;
  try {
    strictUtf8.decode(Uint8Array.from(value, (character) => character.charCodeAt(0)));
    return true;
  } catch {
    return false;
  }
}
