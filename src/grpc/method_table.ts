import { Histogram } from "../base/histogram.ts";
import { Code, codeNames, RpcError } from "./status.ts";
import { type Method, methodPath } from "./method.ts";

/** Counts of one method, as grpc_server_* metrics report them. Plain fields: the hot path adds to them. */
export class MethodStats {
  started = 0;
  received = 0;
  sent = 0;
  /** Calls ended, by status code. */
  readonly handled = new Float64Array(codeNames.length);
  /** How long calls took, in seconds; undefined unless asked for. */
  readonly handling: Histogram | undefined;

  constructor(handling: Histogram | undefined) {
    this.handling = handling;
  }
}

/** A method with its counts. */
export interface Route {
  readonly method: Method;
  readonly stats: MethodStats;
}

export interface MethodTableOptions {
  /** Keeps for each method how long its calls took. */
  readonly timed?: boolean;
}

/** Seconds: the buckets that Prometheus's clients have by default. */
const HANDLING_BOUNDS = Float64Array.of(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10);

/** All methods of a server by path. One table serves every protocol. */
export class MethodTable {
  readonly #routes = new Map<string, Route>();
  readonly #services = new Set<string>();

  constructor(methods: readonly Method[], { timed = false }: MethodTableOptions = {}) {
    for (const method of methods) {
      const stats = new MethodStats(timed ? new Histogram(HANDLING_BOUNDS) : undefined);
      this.#routes.set(methodPath(method), { method, stats });
      this.#services.add(method.service);
    }
  }

  /** The route of "/package.Service/Method", compared exactly: no other spelling reaches a handler. */
  find(path: string): Route | undefined {
    return this.#routes.get(path);
  }

  /** Why `find` found nothing, in grpc-go's words. */
  unknownMethod(path: string): RpcError {
    const slash = path.lastIndexOf("/");
    if (!path.startsWith("/") || slash <= 0) {
      return new RpcError(Code.Unimplemented, `malformed method name: ${JSON.stringify(path)}`);
    }
    const service = path.slice(1, slash);
    if (!this.#services.has(service)) return new RpcError(Code.Unimplemented, `unknown service ${service}`);
    return new RpcError(Code.Unimplemented, `unknown method ${path.slice(slash + 1)} for service ${service}`);
  }

  routes(): IterableIterator<Route> {
    return this.#routes.values();
  }
}
