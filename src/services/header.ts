import { create } from "@bufbuild/protobuf";
import { EMPTY_BYTES } from "../base/bytes.ts";
import { ByteWriter } from "../base/byte_writer.ts";
import { type ResponseHeader, ResponseHeaderSchema } from "../gen/etcdserverpb/header_pb.ts";
import type { EtcdServer } from "../server/server.ts";

const CLUSTER_ID_TAG = 0x08;
const MEMBER_ID_TAG = 0x10;
const REVISION_TAG = 0x18;
const RAFT_TERM_TAG = 0x20;

/**
 * Encodes `ResponseHeader`s of this member. The two ids never change, so they are encoded once; a header
 * is then a copy and one or two varints.
 */
export class HeaderEncoder {
  readonly #ids: Uint8Array;
  readonly #scratch = new ByteWriter(64);
  /** What has been written into `#scratch`: one view serves every header of its length. */
  #encoded: Uint8Array = EMPTY_BYTES;

  constructor(clusterId: bigint, memberId: bigint) {
    const ids = new ByteWriter(32);
    ids.byte(CLUSTER_ID_TAG);
    ids.varint64(clusterId);
    ids.byte(MEMBER_ID_TAG);
    ids.varint64(memberId);
    this.#ids = ids.toBytes();
  }

  /** An encoded ResponseHeader; a revision of 0 is left out, as in headers of the Cluster service. */
  encode(revision: number, raftTerm: number): Uint8Array {
    return this.encodeTransient(revision, raftTerm).slice();
  }

  /** The same for who writes it into a reply at once: it is valid until the next call. */
  encodeTransient(revision: number, raftTerm: number): Uint8Array {
    const out = this.#scratch;
    out.clear();
    out.write(this.#ids);
    if (revision !== 0) {
      out.byte(REVISION_TAG);
      out.varint(revision);
    }
    if (raftTerm !== 0) {
      out.byte(RAFT_TERM_TAG);
      out.varint(raftTerm);
    }
    if (this.#encoded.length !== out.length) this.#encoded = out.bytes.subarray(0, out.length);
    return this.#encoded;
  }
}

/** A header with the store's current revision, for replies that are built as messages. */
export function messageHeader(server: EtcdServer): ResponseHeader {
  return create(ResponseHeaderSchema, {
    clusterId: server.cluster.id,
    memberId: server.cluster.localId,
    revision: BigInt(server.store.currentRevision),
    raftTerm: BigInt(server.term),
  });
}

/** The same with an earlier revision of the store. */
export function headerAt(server: EtcdServer, revision: number): ResponseHeader {
  return create(ResponseHeaderSchema, { ...messageHeader(server), revision: BigInt(revision) });
}

/** The same without a revision: replies of the Cluster service never carry one. */
export function clusterHeader(server: EtcdServer): ResponseHeader {
  return create(ResponseHeaderSchema, { ...messageHeader(server), revision: 0n });
}
