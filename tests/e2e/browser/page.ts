/** What runs in the page: the calls of the test, over the protocol that it names. */
import { ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { KV } from "../../../src/gen/etcdserverpb/kv_pb.ts";
import { Lease } from "../../../src/gen/etcdserverpb/lease_pb.ts";
import { BrowserService } from "../../../src/gen/etcdts/v1/browser_pb.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);

/** Puts, gets, watches and fails; what came of it, as JSON can carry it. */
export async function useEtcd(protocol: "connect" | "grpc-web", baseUrl: string): Promise<unknown> {
  const transport = protocol === "connect"
    ? createConnectTransport({ baseUrl })
    : createGrpcWebTransport({ baseUrl });
  const kv = createClient(KV, transport);
  const browser = createClient(BrowserService, transport);
  const key = bytes(`key of ${protocol}`);

  const { header } = await kv.put({ key, value: bytes("first") });
  const { kvs } = await kv.range({ key });
  const error = await kv.range({}).then(() => "none", (reason) => {
    const failure = ConnectError.from(reason);
    return `${failure.code} ${failure.rawMessage}`;
  });

  const seen: string[] = [];
  for await (const { created, events } of browser.watch({ key, startRevision: header!.revision })) {
    if (created) await kv.put({ key, value: bytes("second") });
    for (const event of events) seen.push(text(event.kv?.value));
    if (seen.length >= 2) break;
  }

  const { ID } = await createClient(Lease, transport).leaseGrant({ TTL: 60n });
  const renewed = await browser.leaseKeepAlive({ ID });
  const unknown = await browser.leaseKeepAlive({ ID: 1n });
  return {
    value: text(kvs[0]?.value),
    error,
    seen,
    ttl: Number(renewed.TTL),
    ttlOfNone: Number(unknown.TTL),
  };
}

(globalThis as { useEtcd?: typeof useEtcd }).useEtcd = useEtcd;
