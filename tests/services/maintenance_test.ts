import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { ByteWriter } from "../../src/base/byte_writer.ts";
import type { EtcdError } from "../../src/base/errors.ts";
import { MoveLeaderRequestSchema } from "../../src/gen/etcdserverpb/maintenance_pb.ts";
import type { CallContext, UnaryMethod } from "../../src/grpc/method.ts";
import type { EtcdServer } from "../../src/server/server.ts";
import { maintenanceMethods } from "../../src/services/maintenance.ts";

/** What MoveLeader answers: its encoded reply, or the code of its error. */
function moveLeader(leader: bigint, targetID: bigint): string {
  const server = { leader, cluster: { localId: 7n } } as unknown as EtcdServer;
  const method = maintenanceMethods(server).find(({ name }) => name === "MoveLeader") as UnaryMethod<
    unknown,
    unknown
  >;
  const bytes = toBinary(MoveLeaderRequestSchema, create(MoveLeaderRequestSchema, { targetID }));
  try {
    const out = new ByteWriter();
    method.encode(out, method.handle(method.decode(bytes, 0, bytes.length), {} as CallContext));
    return `reply of ${out.length} bytes`;
  } catch (error) {
    return (error as EtcdError).code;
  }
}

test("MoveLeader of a single member has nothing to move, and no one else to move to", () => {
  assert.equal(moveLeader(7n, 7n), "reply of 0 bytes");
  assert.equal(moveLeader(7n, 8n), "badLeaderTransferee");
  assert.equal(moveLeader(7n, 0n), "badLeaderTransferee");
  assert.equal(moveLeader(0n, 7n), "notLeader");
  assert.equal(moveLeader(8n, 7n), "notLeader");
});
