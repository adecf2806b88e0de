import { SocketError } from "../../ports/sockets.ts";

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const CONTEXT_0 = 0xa0;

/**
 * The serial numbers, in upper-case hex without leading zeros, that a certificate revocation list
 * (RFC 5280 §5.1) names. As in etcd the list is trusted as configured: neither its signature nor its
 * dates are checked. Takes PEM text or DER bytes; throws a `SocketError` when it is no such list.
 */
export function revokedSerials(list: string | Uint8Array): Set<string> {
  const der = typeof list === "string" ? derOfPem(list) : list;
  const serials = new Set<string>();
  const certificateList = element(der, 0, der.length, SEQUENCE);
  const signed = element(der, certificateList.start, certificateList.end, SEQUENCE);
  // TBSCertList: version (optional), signature, issuer, thisUpdate, nextUpdate (optional), revokedCertificates.
  let at = signed.start;
  if (der[at] === INTEGER) at = element(der, at, signed.end, INTEGER).end;
  at = element(der, at, signed.end, SEQUENCE).end;
  at = element(der, at, signed.end, SEQUENCE).end;
  while (at < signed.end && (der[at] === UTC_TIME || der[at] === GENERALIZED_TIME)) {
    at = element(der, at, signed.end, der[at]!).end;
  }
  if (at >= signed.end || der[at] === CONTEXT_0) return serials;
  const revoked = element(der, at, signed.end, SEQUENCE);
  for (let entryAt = revoked.start; entryAt < revoked.end;) {
    const entry = element(der, entryAt, revoked.end, SEQUENCE);
    const serial = element(der, entry.start, entry.end, INTEGER);
    serials.add(hex(der.subarray(serial.start, serial.end)));
    entryAt = entry.end;
  }
  return serials;
}

/** The content of the DER element at `at`, which must have that tag and end by `limit`. */
function element(der: Uint8Array, at: number, limit: number, tag: number): { start: number; end: number } {
  if (der[at] !== tag) throw malformed();
  let length = der[at + 1] ?? 0;
  let start = at + 2;
  if (length >= 0x80) {
    const lengthBytes = length & 0x7f;
    if (lengthBytes === 0 || lengthBytes > 4) throw malformed();
    length = 0;
    for (let i = 0; i < lengthBytes; i += 1) length = length * 256 + (der[start + i] ?? 0);
    start += lengthBytes;
  }
  const end = start + length;
  if (end > limit) throw malformed();
  return { start, end };
}

function derOfPem(text: string): Uint8Array {
  const body = /-----BEGIN X509 CRL-----([^-]*)-----END X509 CRL-----/.exec(text)?.[1];
  if (body === undefined) throw malformed();
  try {
    return Uint8Array.from(atob(body.replace(/\s/g, "")), (char) => char.charCodeAt(0));
  } catch {
    throw malformed();
  }
}

function hex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text.toUpperCase().replace(/^0+/, "");
}

function malformed(): SocketError {
  return new SocketError("tls", "malformed certificate revocation list");
}
