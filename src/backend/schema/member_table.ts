import { hexId, textOf, utf8 } from "../../base/bytes.ts";
import type { Member } from "../../membership/member.ts";
import { decodeMemberJson, encodeMemberJson } from "../../membership/member_json.ts";
import type { Backend, BucketName } from "../../mvcc/backend.ts";

/*
 * Bucket "members": JSON of a member by its id in hex. Bucket "members_removed": "removed" by the id of every
 * member that ever left, so that none comes back. Bucket "cluster": what the members agree on.
 */

const REMOVED = utf8("removed");
/** "3.7.0": the version of the cluster, the smallest of its members'. */
const CLUSTER_VERSION_KEY = utf8("clusterVersion");
/** `{"target-version":"3.6.0","enabled":true}` */
const DOWNGRADE_KEY = utf8("downgrade");

export interface Downgrade {
  /** Empty when none is under way. */
  readonly targetVersion: string;
  readonly isEnabled: boolean;
}

/** Adds a member or replaces what is stored of it. */
export function putMember(backend: Backend, member: Member): void {
  backend.put("members", memberKey(member.id), encodeMemberJson(member));
}

/** Takes a member out for good. */
export function removeMember(backend: Backend, id: bigint): void {
  backend.delete("members", memberKey(id));
  backend.put("members_removed", memberKey(id), REMOVED);
}

/** Throws `SyntaxError` when a row is no member. */
export function listMembers(backend: Backend): Member[] {
  return backend.list("members").map(({ value }) => decodeMemberJson(value));
}

/** Ids of all members that ever left. Throws `SyntaxError` when a key is no id. */
export function listRemovedMembers(backend: Backend): bigint[] {
  return backend.list("members_removed").map(({ key }) => memberIdOf(key));
}

/** Forgets all members, removed ones too: a new cluster begins from this data. */
export function clearMembers(backend: Backend): void {
  clear(backend, "members");
  clear(backend, "members_removed");
}

export function readClusterVersion(backend: Backend): string | undefined {
  const value = backend.get("cluster", CLUSTER_VERSION_KEY);
  return value === undefined ? undefined : textOf(value);
}

/** `version` is "major.minor.patch". */
export function writeClusterVersion(backend: Backend, version: string): void {
  backend.put("cluster", CLUSTER_VERSION_KEY, utf8(version));
}

/** Undefined when none was ever asked for. Throws `SyntaxError` when the stored bytes are no JSON. */
export function readDowngrade(backend: Backend): Downgrade | undefined {
  const value = backend.get("cluster", DOWNGRADE_KEY);
  if (value === undefined) return undefined;
  const fields = JSON.parse(textOf(value)) as Record<string, unknown>;
  const target = fields["target-version"];
  return { targetVersion: typeof target === "string" ? target : "", isEnabled: fields["enabled"] === true };
}

export function writeDowngrade(backend: Backend, downgrade: Downgrade): void {
  const fields = { "target-version": downgrade.targetVersion, "enabled": downgrade.isEnabled };
  backend.put("cluster", DOWNGRADE_KEY, utf8(JSON.stringify(fields)));
}

/** Forgets versions and downgrades. */
export function clearCluster(backend: Backend): void {
  clear(backend, "cluster");
}

function clear(backend: Backend, bucket: BucketName): void {
  for (const { key } of backend.list(bucket)) backend.delete(bucket, key);
}

function memberKey(id: bigint): Uint8Array {
  return utf8(hexId(id));
}

function memberIdOf(key: Uint8Array): bigint {
  const text = textOf(key);
  if (!/^[0-9a-f]{1,16}$/.test(text)) {
    throw new SyntaxError(`Stored member id is no number in hex: "${text}"`);
  }
  return BigInt(`0x${text}`);
}
