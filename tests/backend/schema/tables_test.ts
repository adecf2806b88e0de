import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MemoryBackend } from "../../../src/backend/memory_backend.ts";
import { deleteAlarm, listAlarms, putAlarm } from "../../../src/backend/schema/alarm_table.ts";
import * as auth from "../../../src/backend/schema/auth_table.ts";
import { deleteLease, getLease, listLeases, putLease } from "../../../src/backend/schema/lease_table.ts";
import * as members from "../../../src/backend/schema/member_table.ts";
import {
  readConfState,
  readConsistentIndex,
  writeConfState,
} from "../../../src/backend/schema/meta_table.ts";
import { checkSchema, detectSchema, migrateSchema } from "../../../src/backend/schema/version.ts";
import { hexId, textOf, utf8 } from "../../../src/base/bytes.ts";
import { RoleSchema, UserSchema } from "../../../src/gen/authpb/auth_pb.ts";
import { AlarmType } from "../../../src/gen/etcdserverpb/maintenance_pb.ts";
import type { Backend, BucketName } from "../../../src/mvcc/backend.ts";

/** Keys and values as text, with what is not printable in hex: what Go etcd's own database shows. */
function rows(backend: Backend, bucket: BucketName): string[] {
  return backend.list(bucket).map(({ key, value }) => `${printable(key)}=${printable(value)}`);
}

function printable(bytes: Uint8Array): string {
  const isText = bytes.every((byte) => byte >= 0x20 && byte < 0x7f);
  return isText
    ? textOf(bytes)
    : "0x" + [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

test("meta table keeps configurations as Go prints them", () => {
  const backend = new MemoryBackend();
  assert.equal(readConfState(backend), undefined);
  const single = {
    voters: [4809340693680408042n],
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  writeConfState(backend, single);
  // Seen in the database of etcd 3.7.1.
  assert.deepEqual(rows(backend, "meta"), ['confState={"voters":[4809340693680408042],"auto_leave":false}']);
  assert.deepEqual(readConfState(backend), single);
  const joint = {
    voters: [1n, 18446744073709551615n],
    learners: [3n],
    votersOutgoing: [1n, 2n],
    learnersNext: [2n],
    autoLeave: true,
  };
  writeConfState(backend, joint);
  assert.deepEqual(rows(backend, "meta"), [
    'confState={"voters":[1,18446744073709551615],"learners":[3],"voters_outgoing":[1,2],"learners_next":[2],' +
    '"auto_leave":true}',
  ]);
  assert.deepEqual(readConfState(backend), joint);
});

test("readConfState() refuses what is no configuration", () => {
  const backend = new MemoryBackend();
  for (const text of ["", "{", '{"voters":["1"]}', '{"voters":3}', '{"voters":[-1]}']) {
    backend.put("meta", utf8("confState"), utf8(text));
    assert.throws(() => readConfState(backend), SyntaxError, text);
  }
  backend.put("meta", utf8("confState"), utf8('{"voters": [ 7, 8 ], "learners": null}'));
  assert.deepEqual(readConfState(backend)?.voters, [7n, 8n]);
});

test("readConsistentIndex() reads what endEntry() wrote", () => {
  const backend = new MemoryBackend();
  assert.deepEqual(readConsistentIndex(backend), { index: 0, term: 0 });
  backend.endEntry(2 ** 40, 7);
  assert.deepEqual(readConsistentIndex(backend), { index: 2 ** 40, term: 7 });
});

test("lease table keys leases by eight bytes and stores leasepb", () => {
  const backend = new MemoryBackend();
  putLease(backend, { id: 0x45eaa2049ce76909n, ttl: 100n, remainingTtl: 0n });
  putLease(backend, { id: -2n, ttl: 5n, remainingTtl: 3n });
  assert.deepEqual(rows(backend, "lease"), [
    // Seen in the database of etcd 3.7.1.
    "0x45eaa2049ce76909=0x0889d29de7c9c0a8f5451064",
    "0xfffffffffffffffe=0x08feffffffffffffffff0110051803",
  ]);
  assert.deepEqual(listLeases(backend).map((row) => [hexId(row.id), row.ttl, row.remainingTtl]), [
    ["45eaa2049ce76909", 100n, 0n],
    ["fffffffffffffffe", 5n, 3n],
  ]);
  assert.equal(getLease(backend, -2n)?.remainingTtl, 3n);
  deleteLease(backend, -2n);
  assert.equal(getLease(backend, -2n), undefined);
  assert.equal(listLeases(backend).length, 1);
});

test("alarm table keeps the alarm in the key", () => {
  const backend = new MemoryBackend();
  putAlarm(backend, { memberId: 1n, type: AlarmType.NOSPACE });
  putAlarm(backend, { memberId: 1n, type: AlarmType.CORRUPT });
  putAlarm(backend, { memberId: 1n, type: AlarmType.CORRUPT });
  assert.deepEqual(rows(backend, "alarm"), ["0x08011001=", "0x08011002="]);
  deleteAlarm(backend, { memberId: 1n, type: AlarmType.NOSPACE });
  assert.deepEqual(listAlarms(backend), [{ memberId: 1n, type: AlarmType.CORRUPT }]);
});

test("auth table keeps switch, revision, users and roles", () => {
  const backend = new MemoryBackend();
  assert.equal(auth.readAuthEnabled(backend), false);
  assert.equal(auth.readAuthRevision(backend), 0);
  auth.writeAuthEnabled(backend, true);
  auth.writeAuthRevision(backend, 258);
  assert.deepEqual(rows(backend, "auth"), ["authEnabled=0x01", "authRevision=0x0000000000000102"]);
  assert.equal(auth.readAuthEnabled(backend), true);
  assert.equal(auth.readAuthRevision(backend), 258);
  auth.writeAuthEnabled(backend, false);
  assert.equal(auth.readAuthEnabled(backend), false);

  auth.putUser(backend, create(UserSchema, { name: utf8("root"), password: utf8("h"), roles: ["root"] }));
  auth.putUser(backend, create(UserSchema, { name: utf8("ann") }));
  assert.deepEqual(rows(backend, "authUsers"), [
    "ann=0x0a03616e6e",
    "root=0x0a04726f6f741201681a04726f6f74",
  ]);
  assert.deepEqual(auth.listUsers(backend).map((user) => textOf(user.name)), ["ann", "root"]);
  assert.deepEqual(auth.getUser(backend, "root")?.roles, ["root"]);
  auth.deleteUser(backend, "ann");
  assert.equal(auth.getUser(backend, "ann"), undefined);

  const role = create(RoleSchema, {
    name: utf8("r"),
    keyPermission: [{ key: utf8("a"), rangeEnd: utf8("b") }],
  });
  auth.putRole(backend, role);
  assert.deepEqual(auth.getRole(backend, "r")?.keyPermission.map((each) => textOf(each.key)), ["a"]);
  assert.equal(auth.listRoles(backend).length, 1);
  auth.deleteRole(backend, "r");
  assert.deepEqual(auth.listRoles(backend), []);
});

test("member table keeps members as etcd's JSON by hex id", () => {
  const backend = new MemoryBackend();
  const member = {
    id: 4809340693680408042n,
    name: "default",
    peerUrls: ["http://127.0.0.1:23971"],
    clientUrls: ["http://127.0.0.1:23970"],
    isLearner: false,
  };
  const learner = { id: 0xffn, name: "", peerUrls: ["http://b:2380"], clientUrls: [], isLearner: true };
  members.putMember(backend, member);
  members.putMember(backend, learner);
  // The first line was seen in the database of etcd 3.7.1.
  assert.deepEqual(rows(backend, "members"), [
    '42be35e142a6c5ea={"id":4809340693680408042,"peerURLs":["http://127.0.0.1:23971"],"name":"default",' +
    '"clientURLs":["http://127.0.0.1:23970"]}',
    'ff={"id":255,"peerURLs":["http://b:2380"],"isLearner":true}',
  ]);
  assert.deepEqual(members.listMembers(backend), [member, learner]);
  members.removeMember(backend, 0xffn);
  assert.deepEqual(rows(backend, "members_removed"), ["ff=removed"]);
  assert.deepEqual(members.listRemovedMembers(backend), [0xffn]);
  assert.deepEqual(members.listMembers(backend), [member]);
  members.clearMembers(backend);
  assert.deepEqual([members.listMembers(backend), members.listRemovedMembers(backend)], [[], []]);
});

test("member table keeps cluster version and downgrade", () => {
  const backend = new MemoryBackend();
  assert.equal(members.readClusterVersion(backend), undefined);
  assert.equal(members.readDowngrade(backend), undefined);
  members.writeClusterVersion(backend, "3.7.0");
  members.writeDowngrade(backend, { targetVersion: "3.6.0", isEnabled: true });
  assert.deepEqual(rows(backend, "cluster"), [
    "clusterVersion=3.7.0",
    'downgrade={"target-version":"3.6.0","enabled":true}',
  ]);
  assert.equal(members.readClusterVersion(backend), "3.7.0");
  assert.deepEqual(members.readDowngrade(backend), { targetVersion: "3.6.0", isEnabled: true });
  members.clearCluster(backend);
  assert.deepEqual(rows(backend, "cluster"), []);
});

test("schema version is detected, checked and migrated as in etcd", () => {
  const backend = new MemoryBackend();
  assert.equal(detectSchema(backend), undefined);
  checkSchema(backend);
  assert.throws(() => migrateSchema(backend, { major: 3, minor: 7 }), /missing term information/);

  backend.endEntry(1, 1);
  assert.deepEqual(detectSchema(backend), { major: 3, minor: 5 });
  migrateSchema(backend, { major: 3, minor: 7 });
  assert.equal(textOf(backend.get("meta", utf8("storageVersion"))!), "3.7.0");
  assert.deepEqual(detectSchema(backend), { major: 3, minor: 7 });

  assert.throws(
    () => migrateSchema(backend, { major: 3, minor: 6 }, { major: 3, minor: 7 }),
    /cannot downgrade storage, WAL contains newer entries, as the target version \(3\.6\.0\) is lower than the version \(3\.7\.0\)/,
  );
  migrateSchema(backend, { major: 3, minor: 6 }, { major: 3, minor: 6 });
  assert.deepEqual(detectSchema(backend), { major: 3, minor: 6 });
  migrateSchema(backend, { major: 3, minor: 5 });
  assert.equal(backend.get("meta", utf8("storageVersion")), undefined);
  assert.throws(() => migrateSchema(backend, { major: 3, minor: 4 }), /version "3\.4\.0" is not supported/);

  for (
    const [stored, expected] of [["3.8.0", /version "3\.8\.0" is not supported/], [
      "4.0.0",
      /changing major/,
    ]] as const
  ) {
    backend.put("meta", utf8("storageVersion"), utf8(stored));
    assert.throws(() => checkSchema(backend), expected);
    assert.throws(() => migrateSchema(backend, { major: 3, minor: 7 }), /cannot create migration plan/);
  }
});
