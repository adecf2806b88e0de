/** Random requests to the KV and Lease services and HashKV: few keys, so that they meet, and values at the edges of each rule. */
import {
  create,
  type DescMessage,
  type DescMethod,
  type Message,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { concatBytes, EMPTY_BYTES, equalBytes, utf8 } from "../../src/base/bytes.ts";
import type { Prng } from "../../src/base/prng.ts";
import {
  type CompactionRequest,
  type CompactionRequestSchema,
  type Compare_CompareResult,
  type Compare_CompareTarget,
  type CompareSchema,
  type DeleteRangeRequestSchema,
  KV,
  type PutRequestSchema,
  type RangeRequest,
  type RangeRequest_SortOrder,
  type RangeRequest_SortTarget,
  type RangeRequestSchema,
  type RequestOpSchema,
  type TxnRequest,
  type TxnRequestSchema,
} from "../../src/gen/etcdserverpb/kv_pb.ts";
import { Lease, type LeaseGrantRequestSchema } from "../../src/gen/etcdserverpb/lease_pb.ts";
import { type HashKVRequest, Maintenance } from "../../src/gen/etcdserverpb/maintenance_pb.ts";

/** A request with the method it is for. */
export interface Step {
  readonly method: DescMethod;
  readonly request: Message;
}

/** What a request may do that etcd has not always answered as it does now. */
export type RequestFeature =
  | "RangeStream"
  | "invalid sort option"
  | "compaction at 0"
  | "HashKV at a revision";

const NUL = Uint8Array.of(0);
/** The last one is a single 0xff, and one key is the other with a zero byte behind it. */
const fewKeys: readonly Uint8Array[] = [
  ..."abcdefghijklmnop".split("").map(utf8),
  utf8("a\0"),
  utf8("aa"),
  utf8("ab"),
  utf8("b/1"),
  utf8("b/2"),
  NUL,
  Uint8Array.of(0xff),
];
const LEASES = 6;
const BAD_TTLS: readonly bigint[] = [9_000_000_001n, 2n ** 63n - 1n];
const INT64_MAX = 2n ** 63n - 1n;
/** How many of the last revisions reads and compactions look back to. */
const REVISIONS_BACK = 40;

type RangeInit = MessageInitShape<typeof RangeRequestSchema>;
type PutInit = MessageInitShape<typeof PutRequestSchema>;
type DeleteInit = MessageInitShape<typeof DeleteRangeRequestSchema>;
type TxnInit = MessageInitShape<typeof TxnRequestSchema>;
type CompareInit = MessageInitShape<typeof CompareSchema>;
type OperationInit = MessageInitShape<typeof RequestOpSchema>;
type CompactionInit = MessageInitShape<typeof CompactionRequestSchema>;

export interface GeneratorOptions {
  readonly keys?: readonly Uint8Array[];
  readonly avoided?: ReadonlySet<RequestFeature>;
}

export class RequestGenerator {
  readonly #prng: Prng;
  readonly #keys: readonly Uint8Array[];
  readonly #avoided: ReadonlySet<RequestFeature>;
  /** The newest revision, for requests that name one; the test says what it is. */
  revision = 1;

  constructor(prng: Prng, options: GeneratorOptions = {}) {
    this.#prng = prng;
    this.#keys = options.keys ?? fewKeys;
    this.#avoided = options.avoided ?? new Set();
  }

  next(): Step {
    const step = this.#draw();
    const feature = featureOf(step);
    return feature !== undefined && this.#avoided.has(feature) ? this.next() : step;
  }

  #draw(): Step {
    const { put, range, rangeStream, deleteRange, txn, compact } = KV.method;
    const { hashKV } = Maintenance.method;
    const { leaseGrant, leaseRevoke, leaseTimeToLive, leaseLeases } = Lease.method;
    if (this.#chance(0.05)) {
      const roll = this.#prng.below(100);
      if (roll < 50) return step(leaseGrant, this.#grant());
      if (roll < 75) return step(leaseRevoke, { ID: this.#lease() });
      if (roll < 95) return step(leaseTimeToLive, { ID: this.#lease(), keys: this.#chance(0.8) });
      return step(leaseLeases, {});
    }
    const roll = this.#prng.below(100);
    if (roll < 30) return step(put, this.#put(true));
    if (roll < 55) return step(range, this.#range());
    if (roll < 60) return step(rangeStream, this.#rangeStream());
    if (roll < 67) return step(deleteRange, this.#delete());
    if (roll < 91) return step(txn, this.#txn(0));
    if (roll < 94) return step(compact, this.#compaction());
    return step(hashKV, { revision: this.#revision(0.4) });
  }

  #chance(probability: number): boolean {
    return this.#prng.chance(probability);
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#prng.below(values.length)]!;
  }

  #key(): Uint8Array {
    return this.#chance(0.01) ? EMPTY_BYTES : this.#pick(this.#keys);
  }

  #value(): Uint8Array {
    const length = this.#chance(0.05) ? this.#prng.below(300) : this.#prng.below(4);
    return Uint8Array.from({ length }, () => this.#prng.below(256));
  }

  /** A value of an enum that ends at `max`, and now and then one that it does not have. */
  #enumValue(zeroChance: number, max: number): number {
    if (this.#chance(zeroChance)) return 0;
    return this.#chance(0.01) ? this.#pick([max + 1, -1, 99]) : this.#prng.below(max + 1);
  }

  /** Empty for one key, more often than not. */
  #rangeEnd(key: Uint8Array, singleChance: number): Uint8Array {
    if (this.#chance(singleChance)) return EMPTY_BYTES;
    switch (this.#prng.below(4)) {
      case 0:
        return NUL; // All keys from `key` on.
      case 1:
        return concatBytes([key, Uint8Array.of(0xff)]);
      default:
        return this.#pick(this.#keys); // Before `key` as often as behind it.
    }
  }

  /** A revision to read at: often none, and else near the newest one, future and negative ones included. */
  #revision(noneChance: number): bigint {
    if (this.#chance(noneChance)) return 0n;
    if (this.#chance(0.02)) return this.#pick([-1n, -INT64_MAX - 1n, INT64_MAX, 1n]);
    return BigInt(Math.max(0, this.revision + 2 - this.#prng.below(REVISIONS_BACK)));
  }

  #bound(): bigint {
    return this.#chance(0.8) ? 0n : this.#revision(0);
  }

  /** One of few, of which some are there. */
  #lease(): bigint {
    return this.#chance(0.05) ? -1n : BigInt(1 + this.#prng.below(LEASES));
  }

  /** None that expires while the test runs, and none whose id the server chooses. */
  #grant(): MessageInitShape<typeof LeaseGrantRequestSchema> {
    return { ID: this.#lease(), TTL: this.#chance(0.1) ? this.#pick(BAD_TTLS) : 5_000n };
  }

  #range(): RangeInit {
    const key = this.#key();
    return {
      key,
      rangeEnd: this.#rangeEnd(key, 0.3),
      limit: this.#chance(0.6) ? 0n : this.#pick([1n, 2n, 3n, 5n, 10n, 100n, INT64_MAX, -1n]),
      revision: this.#revision(0.6),
      sortOrder: this.#enumValue(0.5, 2) as RangeRequest_SortOrder,
      sortTarget: this.#enumValue(0.4, 4) as RangeRequest_SortTarget,
      serializable: this.#chance(0.3),
      keysOnly: this.#chance(0.2),
      countOnly: this.#chance(0.1),
      minModRevision: this.#bound(),
      maxModRevision: this.#bound(),
      minCreateRevision: this.#bound(),
      maxCreateRevision: this.#bound(),
    };
  }

  /** Mostly without what a stream does not support. */
  #rangeStream(): RangeInit {
    const range = this.#range();
    // Sorted by another target without an order, etcd's stream has gaps and another count: a defect of its paging.
    if (this.#chance(0.1)) return range.sortOrder === 0 ? { ...range, sortTarget: 0 } : range;
    const { key, rangeEnd, limit, revision, keysOnly, countOnly } = range;
    return {
      key: key!,
      rangeEnd: rangeEnd!,
      limit: limit!,
      revision: revision!,
      keysOnly: keysOnly!,
      countOnly: countOnly!,
      sortOrder: this.#prng.below(2) as RangeRequest_SortOrder,
    };
  }

  #put(ignores: boolean): PutInit {
    const ignoreValue = ignores && this.#chance(0.06);
    return {
      key: this.#key(),
      value: ignoreValue && this.#chance(0.8) ? EMPTY_BYTES : this.#value(),
      lease: this.#chance(0.1) ? this.#lease() : 0n,
      prevKv: this.#chance(0.3),
      ignoreValue,
      ignoreLease: ignores && this.#chance(0.04),
    };
  }

  #delete(): DeleteInit {
    const key = this.#key();
    return { key, rangeEnd: this.#rangeEnd(key, 0.6), prevKv: this.#chance(0.4) };
  }

  /**
   * With a bound. etcd does not see that a delete from a key on conflicts with a put of such a key; when the put comes
   * later, a compaction at that very revision loses it, and etcd ends itself when it is read.
   */
  #deleteInTxn(): DeleteInit {
    const request = this.#delete();
    return equalBytes(request.rangeEnd!, NUL) ? { ...request, rangeEnd: this.#pick(this.#keys) } : request;
  }

  #compaction(): CompactionInit {
    // Only behind a physical compaction is it settled what HashKV says about its revision.
    return { revision: this.#revision(0.05), physical: true };
  }

  #txn(depth: number): TxnInit {
    // etcd panics on a put that keeps the value or lease of a key that was deleted in the same transaction.
    const ignores = this.#chance(0.5);
    return {
      compare: this.#list(this.#chance(0.3) ? 0 : 3, () => this.#compare()),
      success: this.#list(4, () => this.#operation(depth, ignores)),
      failure: this.#list(3, () => this.#operation(depth, ignores)),
    };
  }

  #list<T>(max: number, item: () => T): T[] {
    return Array.from({ length: this.#prng.below(max + 1) }, item);
  }

  #operation(depth: number, ignores: boolean): OperationInit {
    const roll = this.#prng.below(100);
    if (roll < 1) return {};
    if (roll < 45) return { request: { case: "requestPut", value: this.#put(ignores) } };
    if (roll < 75) return { request: { case: "requestRange", value: this.#range() } };
    if (roll < 88 || depth === 3) {
      return ignores
        ? { request: { case: "requestPut", value: this.#put(ignores) } }
        : { request: { case: "requestDeleteRange", value: this.#deleteInTxn() } };
    }
    const nested = ignores ? this.#nested(depth, ignores) : this.#txn(depth + 1);
    return { request: { case: "requestTxn", value: nested } };
  }

  #nested(depth: number, ignores: boolean): TxnInit {
    return {
      compare: this.#list(2, () => this.#compare()),
      success: this.#list(3, () => this.#operation(depth + 1, ignores)),
      failure: this.#list(3, () => this.#operation(depth + 1, ignores)),
    };
  }

  #compare(): CompareInit {
    const key = this.#key();
    const result = this.#enumValue(0, 3) as Compare_CompareResult;
    const target = this.#enumValue(0, 4) as Compare_CompareTarget;
    return {
      key,
      rangeEnd: this.#rangeEnd(key, 0.7),
      result,
      target,
      targetUnion: this.#operand(this.#chance(0.05) ? this.#prng.below(6) : target),
    };
  }

  /** What a target is compared with; now and then that of another target, or none. */
  #operand(target: number): NonNullable<CompareInit["targetUnion"]> {
    switch (target) {
      case 0:
        return { case: "version", value: BigInt(this.#prng.below(4)) };
      case 1:
        return { case: "createRevision", value: this.#revision(0.4) };
      case 2:
        return { case: "modRevision", value: this.#revision(0.3) };
      case 3:
        return { case: "value", value: this.#value() };
      case 4:
        return { case: "lease", value: this.#chance(0.6) ? 0n : this.#lease() };
      default:
        return { case: undefined };
    }
  }
}

function featureOf({ method, request }: Step): RequestFeature | undefined {
  if (method.name === "RangeStream") return "RangeStream";
  if (request.$typeName === "etcdserverpb.CompactionRequest") {
    return (request as CompactionRequest).revision <= 0n ? "compaction at 0" : undefined;
  }
  if (request.$typeName === "etcdserverpb.HashKVRequest") {
    return (request as HashKVRequest).revision !== 0n ? "HashKV at a revision" : undefined;
  }
  if (request.$typeName === "etcdserverpb.RangeRequest") {
    return hasInvalidSort(request as RangeRequest) ? "invalid sort option" : undefined;
  }
  if (request.$typeName === "etcdserverpb.TxnRequest") {
    return rangesOf(request as TxnRequest).some(hasInvalidSort) ? "invalid sort option" : undefined;
  }
  return undefined;
}

function hasInvalidSort({ sortOrder, sortTarget }: RangeRequest): boolean {
  return sortOrder < 0 || sortOrder > 2 || sortTarget < 0 || sortTarget > 4;
}

function rangesOf({ success, failure }: TxnRequest): RangeRequest[] {
  return [...success, ...failure].flatMap(({ request }) => {
    if (request.case === "requestTxn") return rangesOf(request.value);
    return request.case === "requestRange" ? [request.value] : [];
  });
}

function step<I extends DescMessage>(
  method: DescMethod & { readonly input: I },
  request: MessageInitShape<I>,
): Step {
  return { method, request: create(method.input, request) as MessageShape<I> & Message };
}

/** A message as one line: fields that are set, bytes as quoted latin-1. */
export function describeMessage(message: Message): string {
  return JSON.stringify(message, (name, value: unknown) => {
    if (name === "$typeName" || name === "$unknown") return undefined;
    if (typeof value === "bigint") return value === 0n ? undefined : String(value);
    if (value instanceof Uint8Array) {
      return value.length === 0 ? undefined : String.fromCharCode(...value.subarray(0, 64));
    }
    return value === 0 || value === false || (Array.isArray(value) && value.length === 0) ? undefined : value;
  });
}
