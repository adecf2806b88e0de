import { hexId, textOf } from "../base/bytes.ts";
import { encodeMemberJson } from "../membership/member_json.ts";
import type { EtcdServer } from "../server/server.ts";
import { SERVER_VERSION, STORAGE_VERSION } from "../server/version.ts";

/** What a member serves to others over HTTP/1.1: its version, and who the members are. */
export function peerHandler(server: EtcdServer): (request: Request) => Response {
  return (request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/version") return versionResponse(request, server);
    if (pathname === "/members") return membersResponse(request, server);
    return new Response("404 page not found\n", { status: 404, headers: plainText });
  };
}

const plainText = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" };

function versionResponse(request: Request, server: EtcdServer): Response {
  const { version } = server.cluster;
  return onlyGet(request) ?? Response.json({
    etcdserver: SERVER_VERSION,
    etcdcluster: version ?? "not_decided",
    storage: version === undefined ? "unknown" : STORAGE_VERSION,
  });
}

function membersResponse(request: Request, { cluster }: EtcdServer): Response {
  const members = cluster.list().map((member) => textOf(encodeMemberJson(member)));
  return onlyGet(request) ??
    new Response(`[${members.join(",")}]\n`, {
      headers: { "content-type": "application/json", "x-etcd-cluster-id": hexId(cluster.id) },
    });
}

function onlyGet({ method }: Request): Response | undefined {
  if (method === "GET") return undefined;
  return new Response("Method Not Allowed\n", { status: 405, headers: { allow: "GET", ...plainText } });
}
