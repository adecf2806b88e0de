import type { SocketAddress } from "../ports/sockets.ts";

/** Where a listen URL is served. A unix URL names a file in the working directory: `unix://name:port`. */
export interface ListenUrl {
  readonly address: SocketAddress;
  readonly secure: boolean;
}

/** Reads "http://localhost:2379" and the like. Throws `SyntaxError` with etcd's text. */
export function parseListenUrl(text: string): ListenUrl {
  const match = /^(https?|unixs?):\/\/(.+)$/.exec(text);
  if (match === null) throw new SyntaxError(`URL scheme must be http, https, unix, or unixs: ${text}`);
  const [, scheme, rest] = match as unknown as [string, string, string];
  const secure = scheme === "https" || scheme === "unixs";
  if (scheme.startsWith("unix")) return { address: { kind: "unix", path: rest }, secure };
  const host = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:/]+)):(\d{1,5})\/?$/.exec(rest);
  if (host === null) throw new SyntaxError(`URL must contain a host and a port: ${text}`);
  return { address: { kind: "tcp", host: host[1] ?? host[2]!, port: Number(host[3]) }, secure };
}
