import type { Sockets } from "../../ports/sockets.ts";
import { connect } from "./connect.ts";
import { listen } from "./listen.ts";

/** The network through `node:net`, `node:tls` and `node:http`. */
export const sockets: Sockets = { listen, connect };
