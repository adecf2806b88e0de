/**
 * Which host names plain HTTP requests may be for (etcd's --host-whitelist; "*" for all). A web page can make
 * a browser send requests here under the page's own name, by giving that name this server's address; such
 * requests name the page's host. With TLS the certificate prevents it.
 */
export class HostWhitelist {
  readonly #hosts: ReadonlySet<string>;

  constructor(hosts: readonly string[]) {
    this.#hosts = new Set(hosts);
  }

  get #isOpen(): boolean {
    return this.#hosts.size === 0 || this.#hosts.has("*");
  }

  /** Whether a plain request with this Host header may pass. */
  allows(host: string): boolean {
    return this.#isOpen || this.#hosts.has(nameOf(host));
  }

  /** The response to a request for an unknown host; undefined when it may pass. */
  refusal(request: Request, secure: boolean): Response | undefined {
    if (secure || this.#isOpen) return undefined;
    const host = request.headers.get("host") ?? new URL(request.url).host;
    if (this.allows(host)) return undefined;
    return new Response(refusalText(nameOf(host)), {
      status: MISDIRECTED_REQUEST,
      headers: { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" },
    });
  }
}

/** The host without port and brackets. */
function nameOf(host: string): string {
  return host.replace(/:\d*$/, "").replace(/^\[(.*)\]$/, "$1");
}

const MISDIRECTED_REQUEST = 421;

/** etcd's text. */
function refusalText(host: string): string {
  return `
etcd received your request, but the Host header was unrecognized.

To fix this, choose one of the following options:
- Enable TLS, then any HTTPS request will be allowed.
- Add the hostname you want to use to the whitelist in settings.
  - e.g. etcd --host-whitelist ${JSON.stringify(host)}

This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).

`;
}
