import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type Role, RoleSchema, type User, UserSchema } from "../../gen/authpb/auth_pb.ts";
import { utf8 } from "../../base/bytes.ts";
import type { Backend } from "../../mvcc/backend.ts";
import { decodeUint64, encodeUint64 } from "./meta_table.ts";

/*
 * Bucket "auth": whether authentication is on (one byte, 0 or 1) and the revision of users and roles (8 bytes,
 * big endian). Buckets "authUsers" and "authRoles": `authpb.User` and `authpb.Role` by name.
 */

const ENABLED_KEY = utf8("authEnabled");
const REVISION_KEY = utf8("authRevision");

export function readAuthEnabled(backend: Backend): boolean {
  const value = backend.get("auth", ENABLED_KEY);
  return value !== undefined && value.length === 1 && value[0] === 1;
}

export function writeAuthEnabled(backend: Backend, isEnabled: boolean): void {
  backend.put("auth", ENABLED_KEY, Uint8Array.of(isEnabled ? 1 : 0));
}

/** 0 when none was stored. */
export function readAuthRevision(backend: Backend): number {
  const value = backend.get("auth", REVISION_KEY);
  return value === undefined ? 0 : decodeUint64(value);
}

export function writeAuthRevision(backend: Backend, revision: number): void {
  backend.put("auth", REVISION_KEY, encodeUint64(revision));
}

export function putUser(backend: Backend, user: User): void {
  backend.put("authUsers", user.name, toBinary(UserSchema, user));
}

export function deleteUser(backend: Backend, name: string): void {
  backend.delete("authUsers", utf8(name));
}

export function getUser(backend: Backend, name: string): User | undefined {
  const value = backend.get("authUsers", utf8(name));
  return value === undefined ? undefined : fromBinary(UserSchema, value);
}

/** In byte order of the names. */
export function listUsers(backend: Backend): User[] {
  return backend.list("authUsers").map(({ value }) => fromBinary(UserSchema, value));
}

export function putRole(backend: Backend, role: Role): void {
  backend.put("authRoles", role.name, toBinary(RoleSchema, role));
}

export function deleteRole(backend: Backend, name: string): void {
  backend.delete("authRoles", utf8(name));
}

export function getRole(backend: Backend, name: string): Role | undefined {
  const value = backend.get("authRoles", utf8(name));
  return value === undefined ? undefined : fromBinary(RoleSchema, value);
}

/** In byte order of the names. */
export function listRoles(backend: Backend): Role[] {
  return backend.list("authRoles").map(({ value }) => fromBinary(RoleSchema, value));
}
