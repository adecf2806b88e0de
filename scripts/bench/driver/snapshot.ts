/** `snapshot.ts PORT`: takes a snapshot of a server that runs, and holds what came against its digest. */
import { createHash } from "node:crypto";
import process from "node:process";
import { decodeSnapshotResponse } from "../../../src/gen/codec/etcdserverpb/maintenance_codec.ts";
import { StreamClient } from "../../../tests/harness/grpc_stream.ts";

/** What the driver prints. */
export interface SnapshotResult {
  readonly seconds: number;
  /** Until the first byte. */
  readonly firstSeconds: number;
  readonly mib: number;
}

const SNAPSHOT = "/etcdserverpb.Maintenance/Snapshot";
const DIGEST_BYTES = 32;

if (import.meta.main) {
  const stream = (await StreamClient.connect(Number(process.argv[2]))).open(SNAPSHOT);
  const hash = createHash("sha256");
  const startMs = performance.now();
  let firstMs = 0;
  let bytes = 0;
  let digest: Uint8Array | undefined;
  stream.onMessage = (message) => {
    const { blob, remainingBytes } = decodeSnapshotResponse(message, 0, message.length);
    if (firstMs === 0) firstMs = performance.now();
    if (blob.length === DIGEST_BYTES && remainingBytes === 0n) {
      digest = blob;
      return;
    }
    hash.update(blob);
    bytes += blob.length;
  };
  stream.send(new Uint8Array(0));
  stream.halfClose();
  let status = "has not ended";
  while (status === "has not ended") status = await stream.ended();
  const tookMs = performance.now() - startMs;
  if (status !== "OK") throw new Error(`Snapshot: ${status}`);
  if (digest === undefined || hash.digest().compare(digest) !== 0) {
    throw new Error("Snapshot: what came is not what the digest says");
  }
  const result: SnapshotResult = {
    seconds: tookMs / 1000,
    firstSeconds: (firstMs - startMs) / 1000,
    mib: bytes / 2 ** 20,
  };
  console.log(JSON.stringify(result));
  process.exit(0);
}
