/**
 * Reads a list of URLs as etcd does for its listen and advertise flags: separated by commas, each
 * "http://host:port", "https://host:port", "unix://path" or "unixs://path". The result is sorted and has
 * no doubles. Throws `SyntaxError` with etcd's text.
 */
export function parseUrls(text: string): string[] {
  return [...new Set(text.split(",").map((each) => parseUrl(each.trim())))].sort();
}

function parseUrl(text: string): string {
  const colon = text.indexOf(":");
  const scheme = colon > 0 && /^[a-zA-Z][a-zA-Z0-9+.-]*$/.test(text.slice(0, colon))
    ? text.slice(0, colon).toLowerCase()
    : "";
  if (scheme === "" && colon >= 0 && !text.slice(0, colon).includes("/")) {
    const reason = colon === 0 ? "missing protocol scheme" : "first path segment in URL cannot contain colon";
    throw new SyntaxError(`parse ${JSON.stringify(text)}: ${reason}`);
  }
  if (scheme === "unix" || scheme === "unixs") {
    const path = text.slice(colon + 1).replace(/^\/\//, "");
    if (path === "") throw new SyntaxError(`URL of a unix socket must name its file: ${text}`);
    return `${scheme}://${path}`;
  }
  if (scheme !== "http" && scheme !== "https") {
    throw new SyntaxError(`URL scheme must be http, https, unix, or unixs: ${text}`);
  }
  const authority = /^\/\/([^/?#]*)/.exec(text.slice(colon + 1))?.[1] ?? "";
  const port = /^(?:\[[^\]]*\]|[^:[\]]*):([^:]*)$/.exec(authority)?.[1];
  if (port !== undefined && !/^\d*$/.test(port)) {
    throw new SyntaxError(`parse ${JSON.stringify(text)}: invalid port ":${port}" after host`);
  }
  if (port === undefined || port === "") {
    throw new SyntaxError(`URL address does not have the form "host:port": ${text}`);
  }
  if (colon + 3 + authority.length !== text.length) {
    throw new SyntaxError(`URL must not contain a path: ${text}`);
  }
  return `${scheme}://${authority}`;
}

/** Host of a URL that `parseUrls` has returned, without brackets; undefined for a unix socket. */
export function hostOf(url: string): string | undefined {
  if (url.startsWith("unix")) return undefined;
  const authority = url.slice(url.indexOf("//") + 2);
  return authority.slice(0, authority.lastIndexOf(":")).replace(/^\[|\]$/g, "");
}

/** Whether the URL asks for TLS. */
export function isSecure(url: string): boolean {
  return url.startsWith("https:") || url.startsWith("unixs:");
}

/** An IPv4 or IPv6 address as Go's `net.ParseIP` takes it: no zone, no leading zeros. */
export function isIpAddress(host: string): boolean {
  if (/^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/.test(host)) return true;
  return /^[0-9a-fA-F:.]*:[0-9a-fA-F:.]*$/.test(host) && URL.canParse(`http://[${host}]`);
}

/**
 * Reads "name=url,name=url,…" as `--initial-cluster` has it; a name may stand for several URLs. Throws
 * `SyntaxError` with etcd's text.
 */
export function parseMemberUrls(text: string): Map<string, string[]> {
  const members = new Map<string, string[]>();
  for (const pair of text.split(",")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = equals < 0 ? pair : pair.slice(0, equals);
    const [url] = parseUrls(equals < 0 ? "" : pair.slice(equals + 1)) as [string];
    members.set(name, [...(members.get(name) ?? []), url].sort());
  }
  return members;
}
