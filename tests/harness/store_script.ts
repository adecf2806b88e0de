import { EtcdError } from "../../src/base/errors.ts";
import { EMPTY_BYTES, utf8 } from "../../src/base/bytes.ts";
import type { Backend } from "../../src/mvcc/backend.ts";
import type { StoreEvent } from "../../src/mvcc/event_sink.ts";
import { KvHashJob } from "../../src/mvcc/hash.ts";
import type { KeyIndex } from "../../src/mvcc/key_index_api.ts";
import type { KeyLeases } from "../../src/mvcc/key_leases.ts";
import { encodeTransientDeleted, KeyValueReader } from "../../src/mvcc/key_value.ts";
import { type RangeCursor, type RangeOptions, sortOrder, sortTarget } from "../../src/mvcc/range.ts";
import type {
  CompareShape,
  DeleteRangeRequestShape,
  PutRequestShape,
  RangeRequestShape,
  RequestOpShape,
  TxnRequestShape,
} from "../../src/mvcc/requests.ts";
import { Store } from "../../src/mvcc/store.ts";
import { checkDeleteRange, checkPut, checkRange, checkTxn } from "../../src/mvcc/txn_checks.ts";
import { executeDeleteRange, executePut, executeTxn } from "../../src/mvcc/txn_eval.ts";
import type { OperationOutcome, TxnOutcome } from "../../src/mvcc/txn_eval.ts";
import type { Command } from "./datadriven.ts";

const TXN_OPERATIONS_MAX = 128;

/** Leases as plain maps. Granted ones are listed by the script; their keys are seen by `leases`. */
export class ScriptLeases implements KeyLeases {
  readonly #keys = new Map<bigint, Set<string>>();
  readonly #leases = new Map<string, bigint>();

  grant(leaseId: bigint): void {
    this.#keys.set(leaseId, new Set());
  }

  exists(leaseId: bigint): boolean {
    return this.#keys.has(leaseId);
  }

  leaseOf(key: Uint8Array): bigint {
    return this.#leases.get(textOfKey(key)) ?? 0n;
  }

  attach(leaseId: bigint, key: Uint8Array): void {
    if (!this.#keys.has(leaseId)) return;
    this.#keys.get(leaseId)!.add(textOfKey(key));
    this.#leases.set(textOfKey(key), leaseId);
  }

  detach(leaseId: bigint, key: Uint8Array): void {
    if (!this.#keys.get(leaseId)?.delete(textOfKey(key))) throw new Error("The key is not attached");
    this.#leases.delete(textOfKey(key));
  }

  /** Drops the attached keys, as a restart does before the store is restored. */
  forgetKeys(): void {
    this.#leases.clear();
    for (const keys of this.#keys.values()) keys.clear();
  }

  describe(): string {
    const lines = [...this.#keys].map(([id, keys]) => `${id}: ${[...keys].sort().join(" ")}`.trimEnd());
    return lines.join("\n") || "none";
  }
}

/**
 * Runs the commands of a store script. Keys and values are plain words; `\0` stands for a zero byte, so that
 * a range end of `\0` is "from the key on". The commands:
 *   put KEY VALUE [lease=N] [prev] [ignore-value] [ignore-lease]      del KEY [END] [prev]
 *   range KEY [END] [rev=N] [limit=N] [order=none|ascend|descend] [target=key|version|create|mod|value]
 *         [keys] [count] [min-mod=N] [max-mod=N] [min-create=N] [max-create=N] [slices=KEYS]
 *   txn, with lines as `parseTxn` reads them
 *   compact REV [wait]     compact-step [N]     hashkv REV     hashes     revision
 *   grant N     leases     restart     hold-range KEY END, then hold-next [KEYS] and hold-close     events
 */
export class StoreScript {
  store: Store;
  readonly #backend: Backend;
  readonly #newIndex: () => KeyIndex;
  readonly leases = new ScriptLeases();
  readonly #batchLimit: number;
  #events: string[] = [];
  #cursor: RangeCursor | undefined;

  constructor(backend: Backend, newIndex: () => KeyIndex, compactionBatchLimit = 2) {
    this.#backend = backend;
    this.#newIndex = newIndex;
    this.#batchLimit = compactionBatchLimit;
    this.store = this.#open();
  }

  #open(): Store {
    const events = {
      onEvents: (main: number, list: readonly StoreEvent[]) => {
        list.forEach((event, sub) => {
          const isDelete = event.type === "delete";
          const keyValue = isDelete ? encodeTransientDeleted(event.key, main) : event.keyValue;
          const created = !isDelete && event.created ? " created" : "";
          this.#events.push(`${main}.${sub} ${event.type} ${describeKeyValue(keyValue)}${created}`);
        });
      },
    };
    const store = new Store({
      backend: this.#backend,
      index: this.#newIndex(),
      leases: this.leases,
      events,
      compactionBatchLimit: this.#batchLimit,
    });
    while (!store.restoreSlice(3));
    return store;
  }

  run(command: Command): string {
    try {
      return this.#run(command);
    } catch (error) {
      if (error instanceof EtcdError) return `error ${error.code}`;
      throw error;
    }
  }

  #run({ name, args, words, input }: Command): string {
    const { store } = this;
    const number = (key: string, fallback = 0) => Number(args.get(key)?.[0] ?? fallback);
    switch (name) {
      case "put": {
        const request = parsePut(words, args);
        checkPut(request);
        const { header, prevKv } = executePut(store, request);
        return `rev=${header.revision}${prevKv === undefined ? "" : `\nprev ${describeKeyValue(prevKv)}`}`;
      }
      case "del": {
        const request = parseDelete(words, args);
        checkDeleteRange(request);
        const { header, deleted, prevKvs } = executeDeleteRange(store, request);
        return [
          `rev=${header.revision} deleted=${deleted}`,
          ...prevKvs.map((kv) => `prev ${describeKeyValue(kv)}`),
        ]
          .join("\n");
      }
      case "range": {
        const request = parseRange(words, args);
        checkRange(request);
        const options = optionsOf(request);
        const slices = number("slices");
        return slices === 0 ? describeRange(store.range(options)) : this.#rangeInSlices(options, slices);
      }
      case "txn": {
        const request = parseTxn(input.split("\n"));
        checkTxn(request, TXN_OPERATIONS_MAX);
        return describeTxn(executeTxn(store, request, false), "").join("\n");
      }
      case "compact":
        store.scheduleCompaction(Number(words[0]));
        if (args.has("wait")) { while (store.compactionStep() !== "idle"); }
        return "ok";
      case "compact-step": {
        const states: string[] = [];
        for (let i = Number(words[0] ?? 1); i > 0; i -= 1) states.push(store.compactionStep());
        return states.join(" ");
      }
      case "hashkv": {
        const hashed = store.hashKv(Number(words[0]));
        if (!(hashed instanceof KvHashJob)) return `stored ${JSON.stringify(hashed)}`;
        while (!hashed.step(2));
        return JSON.stringify(hashed.result());
      }
      case "hashes":
        return store.compactionHashes.map((hash) => JSON.stringify(hash)).join("\n") || "none";
      case "revision":
        return `current=${store.currentRevision} compacted=${store.compactRevision} keys=${store.keyCount}`;
      case "grant":
        this.leases.grant(BigInt(words[0]!));
        return "ok";
      case "leases":
        return this.leases.describe();
      case "restart":
        this.leases.forgetKeys();
        this.store = this.#open();
        return `current=${this.store.currentRevision} compacted=${this.store.compactRevision}`;
      case "hold-range":
      case "loose-range":
        this.#cursor = store.openRange(
          {
            key: bytesOf(words[0]!),
            rangeEnd: bytesOf(words[1]!),
            limit: number("limit"),
            revision: number("rev"),
          },
          name === "hold-range",
        );
        return "ok";
      case "cursor-next": {
        const cursor = this.#cursor!;
        const kvs = cursor.next(Number(words[0]), Infinity).map(describeKeyValue);
        return [...kvs, cursor.done ? `done count=${cursor.count} more=${cursor.more}` : "not done"].join(
          "\n",
        );
      }
      case "cursor-close":
        this.#cursor!.close();
        return "ok";
      case "events": {
        const events = this.#events;
        this.#events = [];
        return events.join("\n") || "none";
      }
      default:
        throw new Error(`No such command: ${name}`);
    }
  }

  #rangeInSlices(options: RangeOptions, keysMax: number): string {
    const cursor = this.store.openRange(options, true);
    const kvs: Uint8Array[] = [];
    for (let i = 0; !cursor.done; i += 1) {
      if (i > 1000) throw new Error("The range does not end");
      kvs.push(...cursor.next(keysMax, 8));
    }
    return describeRange({ kvs, count: cursor.count, more: cursor.more, revision: cursor.revision });
  }
}

const reader = new KeyValueReader();

export function describeKeyValue(bytes: Uint8Array): string {
  const { key, value, createMain, modMain, version, lease } = reader.read(bytes);
  const text = value.length === 0 ? "" : `=${textOfKey(value)}`;
  const leaseText = lease === 0n ? "" : ` lease=${lease}`;
  return `${textOfKey(key)}${text} create=${createMain} mod=${modMain} version=${version}${leaseText}`;
}

interface DescribedRange {
  readonly kvs: readonly Uint8Array[];
  readonly count: number;
  readonly more: boolean;
  readonly revision: number;
}

export function describeRange({ kvs, count, more, revision }: DescribedRange): string {
  return [`rev=${revision} count=${count}${more ? " more" : ""}`, ...kvs.map(describeKeyValue)].join("\n");
}

function describeTxn(outcome: TxnOutcome, indent: string): string[] {
  const lines = [`${indent}rev=${outcome.header.revision} ${outcome.succeeded ? "succeeded" : "failed"}`];
  for (const { response } of outcome.responses) lines.push(...describeOperation(response, `${indent}  `));
  return lines;
}

function describeOperation(outcome: OperationOutcome, indent: string): string[] {
  switch (outcome.case) {
    case "responseRange":
      return describeRange({ ...outcome.value, revision: outcome.value.header.revision })
        .split("\n").map((line, i) => `${indent}${i === 0 ? "range " : "  "}${line}`);
    case "responsePut": {
      const { header, prevKv } = outcome.value;
      return [
        `${indent}put rev=${header.revision}`,
        ...(prevKv === undefined ? [] : [`${indent}  prev ${describeKeyValue(prevKv)}`]),
      ];
    }
    case "responseDeleteRange": {
      const { header, deleted, prevKvs } = outcome.value;
      const first = `${indent}del rev=${header.revision} deleted=${deleted}`;
      return [first, ...prevKvs.map((kv) => `${indent}  prev ${describeKeyValue(kv)}`)];
    }
    case "responseTxn":
      return describeTxn(outcome.value, indent);
    default:
      return [`${indent}nothing`];
  }
}

/** Bytes of a word: latin-1, with `\0` for a zero byte. */
export function bytesOf(word: string): Uint8Array {
  return word === `""` ? EMPTY_BYTES : utf8(word.replaceAll("\\0", "\0"));
}

export function textOfKey(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes).replaceAll("\0", "\\0");
}

type Arguments = ReadonlyMap<string, string[]>;

function bigArgument(args: Arguments, name: string): bigint {
  return BigInt(args.get(name)?.[0] ?? 0);
}

export function parsePut(words: readonly string[], args: Arguments): PutRequestShape {
  const isFlag = (word: string | undefined) => word?.startsWith("ignore-") ?? false;
  return {
    key: bytesOf(words[0] ?? ""),
    value: isFlag(words[1]) ? EMPTY_BYTES : bytesOf(words[1] ?? ""),
    lease: bigArgument(args, "lease"),
    prevKv: args.has("prev"),
    ignoreValue: args.has("ignore-value"),
    ignoreLease: args.has("ignore-lease"),
  };
}

export function parseDelete(words: readonly string[], args: Arguments): DeleteRangeRequestShape {
  const [key = "", end = ""] = words.filter((word) => word !== "prev");
  return { key: bytesOf(key), rangeEnd: bytesOf(end), prevKv: args.has("prev") };
}

export function parseRange(words: readonly string[], args: Arguments): RangeRequestShape {
  const [key = "", end = ""] = words.filter((word) => word !== "keys" && word !== "count");
  const order = args.get("order")?.[0] ?? "none";
  const target = args.get("target")?.[0] ?? "key";
  return {
    key: bytesOf(key),
    rangeEnd: bytesOf(end),
    revision: bigArgument(args, "rev"),
    limit: bigArgument(args, "limit"),
    sortOrder: sortOrder[order as keyof typeof sortOrder] ?? Number(order),
    sortTarget: sortTarget[target as keyof typeof sortTarget] ?? Number(target),
    serializable: false,
    keysOnly: args.has("keys"),
    countOnly: args.has("count"),
    minModRevision: bigArgument(args, "min-mod"),
    maxModRevision: bigArgument(args, "max-mod"),
    minCreateRevision: bigArgument(args, "min-create"),
    maxCreateRevision: bigArgument(args, "max-create"),
  };
}

function optionsOf(request: RangeRequestShape): RangeOptions {
  return {
    ...request,
    revision: Number(request.revision),
    limit: Number(request.limit),
    minModRevision: Number(request.minModRevision),
    maxModRevision: Number(request.maxModRevision),
    minCreateRevision: Number(request.minCreateRevision),
    maxCreateRevision: Number(request.maxCreateRevision),
  };
}

const compareTargets = ["version", "create", "mod", "value", "lease"];
const compareCases = ["version", "createRevision", "modRevision", "value", "lease"] as const;
const compareResults = ["=", ">", "<", "!="];

/**
 * Lines of a transaction: `if TARGET KEY[..END] RESULT OPERAND`, `then OPERATION`, `else OPERATION`, where an
 * operation is written as a command; `then txn` is followed by the lines of the nested one, indented by two.
 */
export function parseTxn(lines: readonly string[]): TxnRequestShape {
  const compare: CompareShape[] = [];
  const branches = { then: [] as RequestOpShape[], else: [] as RequestOpShape[] };
  for (let i = 0; i < lines.length; i += 1) {
    const words = lines[i]!.trim().split(/\s+/);
    if (words[0] === "") continue;
    if (words[0] === "if") {
      compare.push(parseCompare(words.slice(1)));
      continue;
    }
    if (words[0] !== "then" && words[0] !== "else") throw new Error(`Not a line of a txn: ${lines[i]}`);
    const nested: string[] = [];
    while (i + 1 < lines.length && lines[i + 1]!.startsWith("  ")) nested.push(lines[++i]!.slice(2));
    branches[words[0]].push(parseOperation(words.slice(1), nested));
  }
  return { compare, success: branches.then, failure: branches.else };
}

function parseOperation(all: readonly string[], nested: readonly string[]): RequestOpShape {
  const args = new Map<string, string[]>();
  const words: string[] = [];
  for (const word of all.slice(1)) {
    const [key, value] = word.split("=");
    if (value !== undefined) args.set(key!, [value]);
    else {
      words.push(word);
      args.set(word, []);
    }
  }
  switch (all[0]) {
    case "put":
      return { request: { case: "requestPut", value: parsePut(words, args) } };
    case "del":
      return { request: { case: "requestDeleteRange", value: parseDelete(words, args) } };
    case "range":
      return { request: { case: "requestRange", value: parseRange(words, args) } };
    case "txn":
      return { request: { case: "requestTxn", value: parseTxn(nested) } };
    default:
      return { request: { case: undefined } };
  }
}

function parseCompare([targetName = "", range = "", resultName = "", operand = ""]: string[]): CompareShape {
  const [key = "", end = ""] = range.split("..");
  const target = compareTargets.indexOf(targetName);
  const targetCase = compareCases[target]!;
  return {
    target,
    result: compareResults.indexOf(resultName),
    key: bytesOf(key),
    rangeEnd: bytesOf(end),
    targetUnion: targetCase === "value"
      ? { case: targetCase, value: bytesOf(operand) }
      : { case: targetCase, value: BigInt(operand) },
  };
}
