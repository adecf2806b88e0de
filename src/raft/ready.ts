import type { Entry, HardState, Message, ReadState, Role, Snapshot } from "./types.ts";

/**
 * Work that the driver owes the core. Read-only.
 *
 *     for (let ready = node.ready(); ready !== undefined; ready = node.ready()) {
 *       peers.send(ready.messages);
 *       reads.settle(ready.readStates);
 *       if (ready.needsSave) startSaving(ready); // when it is durable: node.saved(ready), then look again
 *       apply(ready.committed);                  // when it is done: node.applied(index of the last)
 *     }
 *
 * A save may take its time: `ready()` can be called meanwhile, and what it returns then needs no save.
 */
export interface Ready {
  /** Set when the leader or the role has changed. */
  readonly softState: SoftState | undefined;
  /** Term, vote or commit changed. Stored BEFORE `messagesAfterSave` leave. */
  readonly hardState: HardState | undefined;
  /**
   * Replaces the whole log. Stored, and the state machine replaced by it, BEFORE `entries` are stored. Comes only
   * when everything that was handed out is applied.
   */
  readonly snapshot: Snapshot | undefined;
  /** Stored BEFORE `messagesAfterSave` leave. Replaces any stored entry at or after its first index. */
  readonly entries: readonly Entry[];
  /** True when the three fields above need an fsync, not just a write. */
  readonly mustSync: boolean;
  /**
   * Something is to be stored, and `RawNode.saved` is due. Invariant: false in every Ready between one that
   * needs a save and its `saved`.
   */
  readonly needsSave: boolean;
  /** May leave at once. Those for one member leave in this order. */
  readonly messages: readonly Message[];
  /** Speak of the state stored above: votes and acknowledgements. Leave AFTER it is durable. */
  readonly messagesAfterSave: readonly Message[];
  /**
   * To be applied in this order. Durable here already, so that they need not wait for the save. Invariant:
   * the next ones come only once these are applied.
   */
  readonly committed: readonly Entry[];
  /** Reads that may be served as soon as their index is applied. */
  readonly readStates: readonly ReadState[];
}

export interface SoftState {
  /** 0 when it is not known. */
  readonly leader: bigint;
  readonly role: Role;
}
