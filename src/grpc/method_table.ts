import { Code, codeNames, RpcError } from "./status.ts";
import { type Method, methodPath } from "./method.ts";

/** Counts of one method, as grpc_server_* metrics report them. Plain fields: the hot path adds to them. */
export class MethodStats {
  started = 0;
  received = 0;
  sent = 0;
  /** Calls ended, by status code. */
  readonly handled = new Float64Array(codeNames.length);
}

/** A method with its counts. */
export interface Route {
  readonly method: Method;
  readonly stats: MethodStats;
}

/** All methods of a server by path. One table serves every protocol. */
export class MethodTable {
  readonly #routes = new Map<string, Route>();
  readonly #services = new Set<string>();

  constructor(methods: readonly Method[]) {
    for (const method of methods) {
      this.#routes.set(methodPath(method), { method, stats: new MethodStats() });
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
