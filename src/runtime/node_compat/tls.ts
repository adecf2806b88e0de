import type { ConnectionOptions, PeerCertificate as NodeCertificate, TLSSocket } from "node:tls";
import type { ClientTlsOptions, PeerCertificate, SocketAddress, TlsPeerInfo } from "../../ports/sockets.ts";

export function clientTlsOptions(address: SocketAddress, options: ClientTlsOptions): ConnectionOptions {
  const host = address.kind === "tcp" ? address.host : "localhost";
  return {
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
    minVersion: "TLSv1.2",
    rejectUnauthorized: options.insecureSkipVerify !== true,
    ...serverName(options.serverName ?? host),
  };
}

/** An IP address is not a server name (RFC 6066 §3); the certificate is then checked against the host. */
function serverName(name: string): { servername?: string } {
  const isAddress = name.includes(":") || /^[\d.]+$/.test(name);
  return isAddress ? {} : { servername: name };
}

/** What a finished handshake has established. */
export function tlsPeerInfo(socket: TLSSocket): TlsPeerInfo {
  const certificate = verifiedCertificate(socket);
  return {
    alpnProtocol: socket.alpnProtocol || "",
    serverName: (socket as { servername?: string | false | null }).servername || "",
    clientCommonName: certificate?.commonName ?? "",
    certificate,
  };
}

/** Whether the other side presented a certificate, verified or not. */
export function hasPeerCertificate(socket: TLSSocket): boolean {
  return presentedCertificate(socket) !== undefined;
}

function verifiedCertificate(socket: TLSSocket): PeerCertificate | undefined {
  const certificate = socket.authorized ? presentedCertificate(socket) : undefined;
  if (certificate === undefined) return undefined;
  const commonName = certificate.subject?.CN;
  const names = (certificate.subjectaltname ?? "").split(", ");
  return {
    commonName: (Array.isArray(commonName) ? commonName[0] : commonName) ?? "",
    dnsNames: withoutPrefix(names, "DNS:"),
    ipAddresses: withoutPrefix(names, "IP Address:"),
    serialNumber: certificate.serialNumber.toUpperCase().replace(/^0+/, ""),
  };
}

function presentedCertificate(socket: TLSSocket): NodeCertificate | undefined {
  const certificate = socket.getPeerCertificate() as NodeCertificate | null | undefined;
  return certificate && certificate.serialNumber !== undefined ? certificate : undefined;
}

function withoutPrefix(names: readonly string[], prefix: string): string[] {
  return names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length));
}
