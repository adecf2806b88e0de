import { equalBytes, textOf } from "../base/bytes.ts";
import type { Files } from "../ports/files.ts";
import type { PeerCertificate, ServerTlsOptions, TlsVersion } from "../ports/sockets.ts";
import { ConfigError } from "./config_error.ts";
import { isIpAddress } from "./urls.ts";

/** How TLS is served on a port: paths of PEM files, and rules. */
export interface TlsFiles {
  readonly certFile: string;
  readonly keyFile: string;
  /** "" for no client certificates. As in etcd, naming it is enough to demand one of every client. */
  readonly trustedCaFile: string;
  /** "" for none. */
  readonly crlFile: string;
  /** Names, one of which a client's certificate must be valid for; none for any. */
  readonly allowedHostnames: readonly string[];
  /** Common names, one of which a client's certificate must have; none for any. */
  readonly allowedCommonNames: readonly string[];
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion | undefined;
  /** OpenSSL's names, separated by colons; "" for its default. */
  readonly ciphers: string;
}

const FILE_BYTES_MAX = 4 * 1024 * 1024;

/**
 * A source of TLS options that reads the files again at each call, that is, at each handshake, and returns
 * the same object while nothing in them has changed. Throws `FileError`.
 */
export function tlsSource(tls: TlsFiles, files: Files): () => ServerTlsOptions {
  let contents: readonly Uint8Array[] = [];
  let options: ServerTlsOptions | undefined;
  const paths = [tls.certFile, tls.keyFile, tls.trustedCaFile, tls.crlFile];
  return () => {
    const read = paths.map((path) => path === "" ? new Uint8Array(0) : files.read(path, FILE_BYTES_MAX));
    if (options !== undefined && read.every((bytes, i) => equalBytes(bytes, contents[i]!))) return options;
    const [cert, key, ca, crl] = read as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    contents = read;
    options = {
      cert: textOf(cert),
      key: textOf(key),
      ...(tls.trustedCaFile === "" ? {} : { clientCa: textOf(ca) }),
      minVersion: tls.minVersion,
      ...(tls.maxVersion === undefined ? {} : { maxVersion: tls.maxVersion }),
      ...(tls.ciphers === "" ? {} : { ciphers: tls.ciphers }),
      ...(tls.crlFile === "" ? {} : { crl: isPem(crl) ? textOf(crl) : crl }),
      ...checkOf(tls),
    };
    return options;
  };
}

function checkOf(
  { allowedHostnames, allowedCommonNames }: TlsFiles,
): Pick<ServerTlsOptions, "checkClient"> {
  if (allowedHostnames.length === 0 && allowedCommonNames.length === 0) return {};
  const isAllowed = (certificate: PeerCertificate): boolean =>
    allowedCommonNames.includes(certificate.commonName) ||
    allowedHostnames.some((name) => isValidFor(certificate, name));
  return {
    checkClient: (certificate) =>
      isAllowed(certificate) ? undefined : "client certificate authentication failed",
  };
}

/**
 * Whether a certificate names a host or an address (RFC 6125 §6.4): the common name does not count, and a
 * wildcard stands for one whole label at the left.
 */
export function isValidFor(certificate: PeerCertificate, name: string): boolean {
  if (isIpAddress(name)) return certificate.ipAddresses.includes(name);
  const host = name.toLowerCase().replace(/\.$/, "");
  const parent = host.slice(host.indexOf("."));
  return certificate.dnsNames.some((each) => {
    const pattern = each.toLowerCase().replace(/\.$/, "");
    return pattern === host || (pattern.startsWith("*.") && parent !== "" && pattern.slice(1) === parent);
  });
}

const versions: Readonly<Record<string, TlsVersion>> = { "TLS1.2": "TLSv1.2", "TLS1.3": "TLSv1.3" };

/** The runtime's name of "TLS1.2" or "TLS1.3", undefined for "". Throws `ConfigError` with etcd's text. */
export function tlsVersion(name: string): TlsVersion | undefined {
  if (name === "") return undefined;
  const version = Object.hasOwn(versions, name) ? versions[name] : undefined;
  if (version === undefined) {
    throw new ConfigError(`unexpected TLS version ${JSON.stringify(name)} (must be one of: TLS1.2, TLS1.3)`);
  }
  return version;
}

/** TLS 1.2 suites by the names that Go and IANA give them: OpenSSL's names. */
const suites: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: "ECDHE-ECDSA-AES128-GCM-SHA256",
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: "ECDHE-RSA-AES128-GCM-SHA256",
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: "ECDHE-ECDSA-AES256-GCM-SHA384",
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: "ECDHE-RSA-AES256-GCM-SHA384",
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-RSA-CHACHA20-POLY1305",
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: "ECDHE-ECDSA-CHACHA20-POLY1305",
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: "ECDHE-RSA-CHACHA20-POLY1305",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: "ECDHE-ECDSA-AES128-SHA",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: "ECDHE-RSA-AES128-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: "ECDHE-ECDSA-AES256-SHA",
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: "ECDHE-RSA-AES256-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: "ECDHE-ECDSA-AES128-SHA256",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: "ECDHE-RSA-AES128-SHA256",
  TLS_RSA_WITH_AES_128_GCM_SHA256: "AES128-GCM-SHA256",
  TLS_RSA_WITH_AES_256_GCM_SHA384: "AES256-GCM-SHA384",
  TLS_RSA_WITH_AES_128_CBC_SHA: "AES128-SHA",
  TLS_RSA_WITH_AES_256_CBC_SHA: "AES256-SHA",
  TLS_RSA_WITH_AES_128_CBC_SHA256: "AES128-SHA256",
};

/** Suites of TLS 1.3 are known, and always on: naming them is no error. */
const TLS13_SUITES: readonly string[] = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
];

/** OpenSSL's list of the suites with these names. Throws `ConfigError` with etcd's text. */
export function cipherList(names: readonly string[]): string {
  return names.flatMap((name) => {
    if (TLS13_SUITES.includes(name)) return [];
    const suite = Object.hasOwn(suites, name) ? suites[name] : undefined;
    if (suite === undefined) throw new ConfigError(`unexpected TLS cipher suite ${JSON.stringify(name)}`);
    return [suite];
  }).join(":");
}

function isPem(bytes: Uint8Array): boolean {
  return bytes[0] === 0x2d; // "-" of "-----BEGIN"; DER begins with 0x30.
}
