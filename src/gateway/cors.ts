/**
 * Which web origins may use the server (etcd's --cors; "*" for all). Requests of others are refused rather
 * than only left without the headers: a form or a text/plain POST needs no leave of the browser to be sent.
 */
export class OriginPolicy {
  readonly #origins: ReadonlySet<string>;

  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins);
  }

  /** Requests without an Origin do not come from a page. */
  allows(origin: string | null): boolean {
    return origin === null || this.#origins.has("*") || this.#origins.has(origin);
  }

  /** Adds what lets a page of this origin read the response. */
  apply(headers: Headers, origin: string): void {
    headers.set("access-control-allow-methods", "POST, GET, OPTIONS, PUT, DELETE");
    headers.set("access-control-allow-origin", this.#origins.has("*") ? "*" : origin);
    headers.set("access-control-allow-headers", ALLOWED_HEADERS);
    headers.set("access-control-expose-headers", EXPOSED_HEADERS);
  }
}

/** etcd's three, and what gRPC-Web and Connect clients send. */
const ALLOWED_HEADERS = [
  "accept",
  "content-type",
  "authorization",
  "token",
  "x-grpc-web",
  "x-user-agent",
  "grpc-timeout",
  "connect-protocol-version",
  "connect-timeout-ms",
  "client-api-version",
].join(", ");

const EXPOSED_HEADERS = "grpc-status, grpc-message, grpc-status-details-bin";
