import type { Sockets } from "../../ports/sockets.ts";
import type { StreamOf } from "./byte_stream.ts";
import { connect } from "./connect.ts";
import { listen } from "./listen.ts";

/** The network through `node:net` and `node:tls`. */
export function createSockets(streamOf: StreamOf): Sockets {
  return {
    listen: (address, options) => listen(address, options, streamOf),
    connect: (address, options) => connect(address, options, streamOf),
  };
}
