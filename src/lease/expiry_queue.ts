import type { Lease } from "./lease.ts";

/**
 * Leases by `dueMs`, the earliest first: a binary heap that knows the place of each lease. A lease that is
 * renewed keeps its place; it is moved when its old time has come, so that a renewal costs nothing here.
 *
 * Example: due at 5, 9 and 7, the heap is [5, 9, 7]; the lease due at 5 put off until 8 makes it [7, 9, 8].
 */
export class ExpiryQueue {
  #heap: Lease[] = [];

  get length(): number {
    return this.#heap.length;
  }

  /** The lease that is due first. */
  get first(): Lease | undefined {
    return this.#heap[0];
  }

  /** Adds a lease, or moves one that is in here, to its time. */
  schedule(lease: Lease, dueMs: number): void {
    const earlier = dueMs < lease.dueMs;
    lease.dueMs = dueMs;
    if (lease.queueSlot < 0) {
      lease.queueSlot = this.#heap.length;
      this.#heap.push(lease);
      this.#rise(lease);
    } else if (earlier) this.#rise(lease);
    else this.#sink(lease);
  }

  /** Passed over when the lease is not in here. */
  remove(lease: Lease): void {
    const slot = lease.queueSlot;
    if (slot < 0) return;
    lease.queueSlot = -1;
    const last = this.#heap.pop()!;
    if (last === lease) return;
    this.#place(last, slot);
    this.#rise(last);
    this.#sink(last);
  }

  clear(): void {
    for (const lease of this.#heap) lease.queueSlot = -1;
    this.#heap = [];
  }

  #rise(lease: Lease): void {
    let slot = lease.queueSlot;
    while (slot > 0) {
      const parentSlot = (slot - 1) >> 1;
      const parent = this.#heap[parentSlot]!;
      if (parent.dueMs <= lease.dueMs) break;
      this.#place(parent, slot);
      slot = parentSlot;
    }
    this.#place(lease, slot);
  }

  #sink(lease: Lease): void {
    const heap = this.#heap;
    let slot = lease.queueSlot;
    for (;;) {
      let childSlot = 2 * slot + 1;
      if (childSlot >= heap.length) break;
      const right = childSlot + 1;
      if (right < heap.length && heap[right]!.dueMs < heap[childSlot]!.dueMs) childSlot = right;
      const child = heap[childSlot]!;
      if (child.dueMs >= lease.dueMs) break;
      this.#place(child, slot);
      slot = childSlot;
    }
    this.#place(lease, slot);
  }

  #place(lease: Lease, slot: number): void {
    this.#heap[slot] = lease;
    lease.queueSlot = slot;
  }
}
