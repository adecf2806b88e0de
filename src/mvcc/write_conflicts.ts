import { compareBytes } from "../base/bytes.ts";
import { EtcdError } from "../base/errors.ts";
import type { RequestOpShape, TxnRequestShape } from "./requests.ts";

/**
 * Throws `duplicateKey` when a transaction could write a key twice on one path of execution. The rules are
 * etcd's (checkIntervals in server/etcdserver/api/v3rpc/key.go). Two writes meet in the innermost list of
 * operations that holds both, directly or in nested transactions; there, two puts of a key conflict, and a
 * put conflicts with a delete over its key, with two exceptions:
 *   - they are in the two branches of one nested transaction, of which one is executed;
 *   - a put in one nested transaction and a delete in a *later* one (etcd does not look for this).
 * Two deletes never conflict. Nor does a delete whose `range_end` is not past its key. That includes "\0",
 * which deletes every key from the first on: etcd's check does not see it so, and lets it pass.
 *
 * One walk visits lists with everything before and around them marked, and unmarks the first branch of a
 * nested transaction while it visits the second. Taking the smaller branch first makes that n log n
 * marks for n writes, however the transactions are nested.
 */
export function checkWriteConflicts(txn: TxnRequestShape): void {
  checkBranch(txn.success);
  checkBranch(txn.failure);
}

function checkBranch(operations: readonly RequestOpShape[]): void {
  const counts = countWrites(operations);
  // Without a put there is no conflict, nor with a single write: nearly all transactions end here.
  if (counts.puts === 0 || counts.puts + counts.deletes < 2) return;
  const writes = new WriteList();
  const list = collect(operations, writes);
  new ConflictWalk(writes.rank()).visit(list);
}

function countWrites(operations: readonly RequestOpShape[]): { puts: number; deletes: number } {
  let puts = 0;
  let deletes = 0;
  for (const { request } of operations) {
    if (request.case === "requestPut") puts += 1;
    else if (request.case === "requestDeleteRange") deletes += 1;
    else if (request.case === "requestTxn") {
      const success = countWrites(request.value.success);
      const failure = countWrites(request.value.failure);
      puts += success.puts + failure.puts;
      deletes += success.deletes + failure.deletes;
    }
  }
  return { puts, deletes };
}

/** A list of operations: numbers of its own writes, its nested transactions, and the size of it all. */
interface OperationList {
  readonly puts: number[];
  readonly deletes: number[];
  readonly nested: { readonly smaller: OperationList; readonly larger: OperationList }[];
  writes: number;
}

function collect(operations: readonly RequestOpShape[], writes: WriteList): OperationList {
  const list: OperationList = { puts: [], deletes: [], nested: [], writes: 0 };
  for (const { request } of operations) {
    if (request.case === "requestPut") list.puts.push(writes.add(request.value.key, undefined));
    else if (request.case === "requestDeleteRange") {
      const { key, rangeEnd } = request.value;
      if (rangeEnd.length === 0) list.deletes.push(writes.add(key, undefined));
      else if (compareBytes(key, rangeEnd) < 0) list.deletes.push(writes.add(key, rangeEnd));
    } else if (request.case === "requestTxn") {
      const success = collect(request.value.success, writes);
      const failure = collect(request.value.failure, writes);
      const isOrdered = success.writes <= failure.writes;
      list.nested.push({ smaller: isOrdered ? success : failure, larger: isOrdered ? failure : success });
      list.writes += success.writes + failure.writes;
    }
  }
  list.writes += list.puts.length + list.deletes.length;
  return list;
}

/** All writes of a branch; `rank` replaces their keys by positions in key order. */
class WriteList {
  readonly #starts: Uint8Array[] = [];
  readonly #ends: (Uint8Array | undefined)[] = [];

  /** Takes in a write of [start, end), of `start` alone when `end` is undefined; returns its number. */
  add(start: Uint8Array, end: Uint8Array | undefined): number {
    this.#ends.push(end);
    return this.#starts.push(start) - 1;
  }

  rank(): RankedWrites {
    const count = this.#starts.length;
    const bounds = [...this.#starts];
    const owners = Array.from(this.#starts, (_, i) => i);
    this.#ends.forEach((end, i) => {
      if (end === undefined) return;
      bounds.push(end);
      owners.push(count + i);
    });
    const order = Array.from(bounds, (_, i) => i).sort((a, b) => compareBytes(bounds[a]!, bounds[b]!));
    const starts = new Int32Array(count);
    const ends = new Int32Array(count).fill(-1);
    let rank = 0;
    order.forEach((at, i) => {
      if (i > 0 && compareBytes(bounds[order[i - 1]!]!, bounds[at]!) !== 0) rank += 1;
      const owner = owners[at]!;
      if (owner < count) starts[owner] = rank;
      else ends[owner - count] = rank;
    });
    for (let i = 0; i < count; i += 1) if (ends[i] === -1) ends[i] = starts[i]! + 1;
    return { starts, ends, rankCount: rank + 1 };
  }
}

/** Write i covers the ranks [starts[i], ends[i]). */
interface RankedWrites {
  readonly starts: Int32Array;
  readonly ends: Int32Array;
  readonly rankCount: number;
}

class ConflictWalk {
  readonly #writes: RankedWrites;
  /** Marked puts per rank. */
  readonly #puts: Int32Array;
  /** Marked deletes over a rank, as a Fenwick tree of differences: the sum of [0, rank] is their number. */
  readonly #deletes: Int32Array;

  constructor(writes: RankedWrites) {
    this.#writes = writes;
    this.#puts = new Int32Array(writes.rankCount);
    this.#deletes = new Int32Array(writes.rankCount + 2);
  }

  /** Checks a list against itself and what is marked, and leaves all its writes marked. */
  visit(list: OperationList): void {
    if (list.writes === 0) return;
    for (const write of list.deletes) this.#markDelete(write, 1);
    for (const { smaller, larger } of list.nested) {
      this.visit(smaller);
      if (larger.writes === 0) continue;
      this.#mark(smaller, -1);
      this.visit(larger);
      this.#mark(smaller, 1);
    }
    for (const write of list.puts) {
      const rank = this.#writes.starts[write]!;
      if (this.#puts[rank] !== 0 || this.#deletesOver(rank) > 0) throw new EtcdError("duplicateKey");
      this.#puts[rank] = 1;
    }
  }

  /** Marks (1) or unmarks (-1) everything in a list. */
  #mark(list: OperationList, sign: 1 | -1): void {
    if (list.writes === 0) return;
    for (const write of list.deletes) this.#markDelete(write, sign);
    for (const write of list.puts) {
      const rank = this.#writes.starts[write]!;
      this.#puts[rank] = this.#puts[rank]! + sign;
    }
    for (const { smaller, larger } of list.nested) {
      this.#mark(smaller, sign);
      this.#mark(larger, sign);
    }
  }

  #markDelete(write: number, sign: 1 | -1): void {
    this.#addDifference(this.#writes.starts[write]!, sign);
    this.#addDifference(this.#writes.ends[write]!, -sign);
  }

  #addDifference(rank: number, difference: number): void {
    const tree = this.#deletes;
    for (let i = rank + 1; i < tree.length; i += i & -i) tree[i] = tree[i]! + difference;
  }

  #deletesOver(rank: number): number {
    let sum = 0;
    for (let i = rank + 1; i > 0; i -= i & -i) sum += this.#deletes[i]!;
    return sum;
  }
}
