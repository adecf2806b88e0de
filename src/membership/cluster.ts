import { EtcdError } from "../base/errors.ts";
import type { Member } from "./member.ts";

/** Who belongs to the cluster, as the applied configuration changes say. Pure: storing it is the caller's. */
export class Cluster {
  readonly id: bigint;
  readonly localId: bigint;
  readonly #members = new Map<bigint, Member>();
  readonly #removed = new Set<bigint>();
  /** "major.minor.patch" that all members can speak, or undefined before the leader has set it. */
  version: string | undefined;

  constructor(id: bigint, localId: bigint) {
    this.id = id;
    this.localId = localId;
  }

  /** Members by ascending id. */
  list(): readonly Member[] {
    return [...this.#members.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  get(id: bigint): Member | undefined {
    return this.#members.get(id);
  }

  get local(): Member | undefined {
    return this.#members.get(this.localId);
  }

  isRemoved(id: bigint): boolean {
    return this.#removed.has(id);
  }

  add(member: Member): void {
    if (this.#members.has(member.id)) throw new EtcdError("memberExists");
    this.#members.set(member.id, member);
  }

  /** Loads what the store holds, in place of what was known. */
  restore(members: readonly Member[], removed: readonly bigint[]): void {
    this.#members.clear();
    for (const member of members) this.#members.set(member.id, member);
    this.#removed.clear();
    for (const id of removed) this.#removed.add(id);
  }

  /** Sets what a member says of itself once it runs. Unknown members are ignored: they have been removed. */
  publish(id: bigint, name: string, clientUrls: readonly string[]): Member | undefined {
    const member = this.#members.get(id);
    if (member === undefined) return undefined;
    const published = { ...member, name, clientUrls: [...clientUrls] };
    this.#members.set(id, published);
    return published;
  }
}
