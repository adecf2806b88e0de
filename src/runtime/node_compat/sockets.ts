import type { Sockets } from "../../ports/sockets.ts";
import { connect } from "./connect.ts";
import { listen, type ListenerTraits } from "./listen.ts";

/** The network through `node:net` and `node:tls`. */
export function createSockets(traits: ListenerTraits): Sockets {
  return {
    listen: (address, options) => listen(address, options, traits),
    connect: (address, options) => connect(address, options, traits.streamOf),
  };
}
