import { FetchExchange, type FetchHandler } from "../../src/http1/fetch_adapter.ts";
import type { Http1Limits } from "../../src/http1/limits.ts";
import { Http1Server } from "../../src/http1/server.ts";
import { FlushQueue } from "../../src/http2/flush_queue.ts";
import { Sweeper } from "../../src/http2/sweeper.ts";
import type { Clock } from "../../src/ports/clock.ts";
import { clock as realClock } from "../../src/runtime/node_compat/clock.ts";

/** A server of HTTP/1.1 that answers with a handler of the fetch API. A defect is thrown at once. */
export function fetchServer(
  handler: FetchHandler,
  limits: Partial<Http1Limits> = {},
  clock: Clock = realClock,
): Http1Server {
  return new Http1Server({
    clock,
    flushQueue: new FlushQueue(clock),
    sweeper: new Sweeper(clock),
    limits,
    handler: { onRequest: (exchange) => new FetchExchange(exchange, handler, clock) },
    onDefect(error) {
      throw error;
    },
  });
}
