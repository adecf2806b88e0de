import { test } from "node:test";
import { MemoryBackend } from "../../src/backend/memory_backend.ts";
import { EMPTY_BYTES, textOf, utf8 } from "../../src/base/bytes.ts";
import { decodeWatchResponse } from "../../src/gen/codec/etcdserverpb/watch_codec.ts";
import type { KeyValue } from "../../src/gen/mvccpb/kv_pb.ts";
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";
import { Store } from "../../src/mvcc/store.ts";
import { WatchHub } from "../../src/mvcc/watch_hub.ts";
import type { WatchReceiver, WatchStream } from "../../src/mvcc/watch_stream.ts";
import { type Watcher, watcherFlag } from "../../src/mvcc/watcher.ts";
import { type Command, runScript, scriptsUnder } from "../harness/datadriven.ts";
import { ScriptLeases } from "../harness/store_script.ts";

const STREAM_WATCHERS_MAX = 5;

/**
 * A store and its watchers as a script drives them:
 *
 *     put a=1 b=2          one revision            delete a       likewise
 *     fill 3000 key        as many revisions, each a put of the key
 *     compact 5            finish-compaction       removes what it may
 *     watch s a to=c from=3 id=7 noput nodelete prevkv       on stream s
 *     cancel s 7           close s                 progress s
 *     block s              unblock s               the stream's client takes no more; takes more
 *     deliver              what goes out with the replies
 *     step                 turns of the event loop until something is told
 *     settle               turns until nothing is left to do
 *     status
 *
 * Output is what the streams' clients are told.
 */
class WatchScript {
  readonly #store: Store;
  readonly #hub: WatchHub;
  readonly #streams = new Map<string, { readonly stream: WatchStream; receiver: { writable: boolean } }>();
  #steps: (() => void)[] = [];
  #told: string[] = [];

  constructor() {
    this.#store = new Store({
      backend: new MemoryBackend(),
      index: new ArenaKeyIndex(new Uint8Array(8)),
      leases: new ScriptLeases(),
    });
    this.#hub = new WatchHub(this.#store, (step) => this.#steps.push(step));
  }

  run(command: Command): string {
    this.#told = [];
    const answer = this.#run(command);
    return [...this.#told, ...(answer === "" ? [] : [answer])].join("\n");
  }

  #run({ name, args, words }: Command): string {
    const [first = "", second = ""] = words;
    switch (name) {
      case "put":
        for (const [key, [value]] of args) this.#put(key, value ?? "");
        return this.#commit();
      case "delete":
        for (const key of words) this.#writing().deleteRange(utf8(key), EMPTY_BYTES);
        return this.#commit();
      case "fill":
        for (let i = 0; i < Number(first); i += 1) this.#store.put(utf8(second), utf8(String(i)), 0n);
        return `rev=${this.#store.currentRevision}`;
      case "compact":
        this.#store.scheduleCompaction(Number(first));
        return "ok";
      case "finish-compaction":
        while (this.#store.compactionPending) this.#store.compactionStep();
        return "ok";
      case "watch":
        return this.#watch(first, second, args);
      case "cancel":
        return this.#stream(first).cancel(Number(second)) === undefined ? "no such watcher" : "canceled";
      case "close":
        this.#stream(first).close();
        return "closed";
      case "block":
        this.#stream(first);
        this.#streams.get(first)!.receiver.writable = false;
        return "ok";
      case "unblock":
        this.#streams.get(first)!.receiver.writable = true;
        this.#stream(first).resume();
        return "ok";
      case "progress":
        return this.#progress(first);
      case "deliver":
        this.#hub.deliver();
        return "";
      case "step":
        while (this.#told.length === 0 && this.#steps.length > 0) this.#steps.shift()!();
        return "";
      case "settle": {
        let steps = 0;
        for (let step = this.#steps.shift(); step !== undefined; step = this.#steps.shift()) {
          step();
          steps += 1;
        }
        return `steps=${steps}`;
      }
      case "status": {
        const { size, slowCount, waitingEvents, streamCount } = this.#hub;
        return `watchers=${size} slow=${slowCount} waiting=${waitingEvents} streams=${streamCount}`;
      }
      default:
        throw new Error(`unknown command ${name}`);
    }
  }

  #open: ReturnType<Store["beginWrite"]> | undefined;

  #writing(): ReturnType<Store["beginWrite"]> {
    return this.#open ??= this.#store.beginWrite();
  }

  #put(key: string, value: string): void {
    this.#writing().put(utf8(key), utf8(value), 0n);
  }

  #commit(): string {
    this.#writing().end();
    this.#open = undefined;
    return `rev=${this.#store.currentRevision}`;
  }

  #stream(name: string): WatchStream {
    let entry = this.#streams.get(name);
    if (entry === undefined || entry.stream.isClosed) {
      const receiver: WatchReceiver & { writable: boolean } = {
        writable: true,
        onEvents: (watcher, revision, run) => this.#told.push(describeEvents(name, watcher, revision, run)),
        onCompacted: (watcher, revision) => this.#told.push(`${name}/${watcher.id} compacted at ${revision}`),
      };
      entry = { stream: this.#hub.openStream(receiver, STREAM_WATCHERS_MAX), receiver };
      this.#streams.set(name, entry);
    }
    return entry.stream;
  }

  #watch(stream: string, key: string, args: Command["args"]): string {
    const to = args.get("to")?.[0];
    const watcher = this.#stream(stream).create({
      key: utf8(key),
      rangeEnd: to === undefined ? EMPTY_BYTES : to === "end" ? Uint8Array.of(0) : utf8(to),
      startRevision: Number(args.get("from")?.[0] ?? 0),
      id: Number(args.get("id")?.[0] ?? 0),
      flags: (args.has("noput") ? watcherFlag.noPut : 0) |
        (args.has("nodelete") ? watcherFlag.noDelete : 0) | (args.has("prevkv") ? watcherFlag.prevKv : 0),
    });
    return typeof watcher === "string" ? `refused: ${watcher}` : `${stream}/${watcher.id}`;
  }

  #progress(name: string): string {
    const stream = this.#stream(name);
    let isAnswered = false;
    this.#hub.afterDelivery(() => {
      isAnswered = true;
      const revision = this.#store.currentRevision;
      this.#told.push(stream.isAllCurrent ? `${name} current at ${revision}` : `${name} behind`);
    });
    return isAnswered ? "" : "later";
  }
}

function describeEvents(stream: string, watcher: Watcher, revision: number, run: Uint8Array): string {
  const { events } = decodeWatchResponse(run, 0, run.length);
  const texts = events.map(({ type, kv, prevKv }) =>
    (type === 0 ? describeKeyValue(kv!) : `-${textOf(kv!.key)}@${kv!.modRevision}`) +
    (prevKv === undefined ? "" : ` (was ${describeKeyValue(prevKv)})`)
  );
  const short = texts.length > 4 ? [texts[0], `… ${texts.length} events …`, texts.at(-1)] : texts;
  return `${stream}/${watcher.id} at ${revision}: ${short.join(", ")}`;
}

function describeKeyValue({ key, value, modRevision }: KeyValue): string {
  return `${textOf(key)}=${textOf(value)}@${modRevision}`;
}

for (const script of scriptsUnder("tests/mvcc/testdata/watch")) {
  test(`watch script: ${script.name}`, () => {
    const watch = new WatchScript();
    runScript(script, (command) => watch.run(command));
  });
}
