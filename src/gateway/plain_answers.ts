import type { Context } from "hono";
import type { GatewayEnv } from "./app.ts";

export const plainText = {
  "content-type": "text/plain; charset=utf-8",
  "x-content-type-options": "nosniff",
};

/** The refusal of a request that does not read; undefined for one that does. As in etcd, HEAD is refused too. */
export function onlyGet(context: Context<GatewayEnv>): Response | undefined {
  if (context.req.method === "GET") return undefined;
  return context.text("Method Not Allowed\n", 405, { Allow: "GET", ...plainText });
}

/**
 * Where nothing is served. A path with empty, "." or ".." segments is sent on to the clean one, and /v3 to
 * the folder of the gateway when there is one, as Go's ServeMux does it.
 */
export function notFound(context: Context<GatewayEnv>, hasGateway: boolean): Response {
  const { pathname, search } = new URL(context.req.url);
  const clean = pathname === "/v3" && hasGateway ? "/v3/" : cleanPath(pathname);
  if (clean === pathname) return context.text("404 page not found\n", 404, plainText);
  const location = clean + search;
  if (context.req.method !== "GET") return context.body(null, 307, { location });
  const page = `<a href="${escapeHtml(location)}">Temporary Redirect</a>.\n\n`;
  return context.body(page, 307, { location, "content-type": "text/html; charset=utf-8" });
}

/** Dot segments are gone already: URLs resolve them. */
function cleanPath(path: string): string {
  return path.replace(/\/{2,}/g, "/");
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
