import { ByteWriter } from "../base/byte_writer.ts";
import { decodeWatchRequest, encodeWatchResponse } from "../gen/codec/etcdserverpb/watch_codec.ts";
import {
  Watch,
  type WatchCreateRequest,
  WatchCreateRequest_FilterType as FilterType,
  type WatchRequest,
} from "../gen/etcdserverpb/watch_pb.ts";
import type { Method, StreamCall, StreamConsumer } from "../grpc/method.ts";
import { Code, RpcError } from "../grpc/status.ts";
import { eventEnds } from "../mvcc/event_batch.ts";
import type { WatchReceiver, WatchRefusal, WatchStream } from "../mvcc/watch_stream.ts";
import { type Watcher, watcherFlag, type WatchId } from "../mvcc/watcher.ts";
import type { PeerInfo } from "../ports/sockets.ts";
import type { Timer } from "../ports/clock.ts";
import type { EtcdServer } from "../server/server.ts";
import { wireErrors } from "./error_table.ts";
import type { HeaderEncoder } from "./header.ts";
import { streaming } from "./methods.ts";

/** Stands for no watcher, or for all of the stream. */
const NO_WATCH_ID = -1;
/** Watchers of one connection, over all its streams. */
const WATCHERS_PER_CONNECTION_MAX = 500_000;
/** Responses to requests that may wait for a client that reads nothing: a few megabytes. */
const UNREAD_ANSWERS_MAX = 100_000;
/** Room beside the request itself, as etcd counts it where it splits responses. */
const REQUEST_OVERHEAD_BYTES = 512 * 1024;
const PROGRESS_INTERVAL_MS_MIN = 100;
/** Spread of the intervals of streams that began together, in parts of the interval. */
const PROGRESS_JITTER = 0.1;
const GOLDEN_RATIO = 0.618033988749895;

const refusalTexts: Record<WatchRefusal, string> = {
  emptyRange: "mvcc: watcher range is empty",
  duplicateId: "mvcc: duplicate watch ID provided on the WatchStream",
  tooMany: "etcdserver: too many watchers",
};

/** A WatchResponse; `run` is its encoded `events` fields. */
interface WatchReply {
  header: Uint8Array;
  watchId: WatchId;
  created: boolean;
  canceled: boolean;
  compactRevision: number;
  cancelReason: string;
  fragment: boolean;
  run: Uint8Array | undefined;
}

/** etcdserverpb.Watch. */
export function watchMethods(server: EtcdServer, headers: HeaderEncoder): Method[] {
  const service = new WatchService(server, headers);
  return [
    streaming(Watch.method.watch, {
      decode: decodeWatchRequest,
      encode: encodeReply,
    }, (call: StreamCall<WatchReply>) => new WatchCall(service, call)),
  ];
}

function encodeReply(out: ByteWriter, reply: WatchReply): void {
  encodeWatchResponse(out, reply);
  if (reply.run !== undefined) out.write(reply.run);
}

/** What the calls of one server share. */
class WatchService {
  readonly server: EtcdServer;
  readonly fragmentBytes: number;
  readonly #headers: HeaderEncoder;
  readonly #connections = new WeakMap<PeerInfo, { watchers: number }>();
  #header: Uint8Array | undefined;
  #headerRevision = -1;
  #headerTerm = 0;
  #calls = 0;

  constructor(server: EtcdServer, headers: HeaderEncoder) {
    this.server = server;
    this.#headers = headers;
    this.fragmentBytes = server.config.maxRequestBytes + REQUEST_OVERHEAD_BYTES;
  }

  /** The encoded header: most often the same as the last. */
  header(revision: number): Uint8Array {
    const { term } = this.server;
    if (this.#header === undefined || this.#headerRevision !== revision || this.#headerTerm !== term) {
      this.#header = this.#headers.encode(revision, term);
      this.#headerRevision = revision;
      this.#headerTerm = term;
    }
    return this.#header;
  }

  /** Where the watchers of a client's connection are counted. */
  connectionOf(peer: PeerInfo): { watchers: number } {
    let connection = this.#connections.get(peer);
    if (connection === undefined) {
      connection = { watchers: 0 };
      this.#connections.set(peer, connection);
    }
    return connection;
  }

  /** An interval between notifications, not the same for every stream. */
  progressIntervalMs(): number {
    const intervalMs = Math.max(PROGRESS_INTERVAL_MS_MIN, this.server.config.watchProgressNotifyMs);
    this.#calls += 1;
    return intervalMs * (1 + PROGRESS_JITTER * (this.#calls * GOLDEN_RATIO % 1));
  }
}

/** One Watch call: requests in, responses out. It goes on after the client has half-closed it. */
class WatchCall implements StreamConsumer<WatchRequest>, WatchReceiver {
  readonly #service: WatchService;
  readonly #call: StreamCall<WatchReply>;
  readonly #stream: WatchStream;
  readonly #connection: { watchers: number };
  /** Used again for every response, since `send` encodes it at once. */
  readonly #reply: WatchReply = {
    header: new Uint8Array(0),
    watchId: 0,
    created: false,
    canceled: false,
    compactRevision: 0,
    cancelReason: "",
    fragment: false,
    run: undefined,
  };
  /** Watchers that want to be told of progress. */
  readonly #progress = new Set<Watcher>();
  #progressTimer: Timer | undefined;
  #progressRequested = false;
  #unreadAnswers = 0;

  constructor(service: WatchService, call: StreamCall<WatchReply>) {
    this.#service = service;
    this.#call = call;
    this.#stream = service.server.watchHub.openStream(this);
    this.#connection = service.connectionOf(call.context.peer);
  }

  // StreamConsumer

  onMessage({ requestUnion }: WatchRequest): void {
    if (requestUnion.case === "createRequest") this.#create(requestUnion.value);
    else if (requestUnion.case === "cancelRequest") this.#cancel(idOf(requestUnion.value.watchId));
    else if (requestUnion.case === "progressRequest") this.#requestProgress();
    // What else there may be is ignored, as in etcd.
  }

  onHalfClose(): void {}

  onWritable(): void {
    this.#unreadAnswers = 0;
    this.#stream.resume();
  }

  onClose(): void {
    this.#progressTimer?.cancel();
    this.#connection.watchers -= this.#stream.size;
    this.#stream.close();
  }

  // WatchReceiver

  get writable(): boolean {
    return this.#call.writable;
  }

  onEvents(watcher: Watcher, revision: number, run: Uint8Array): void {
    watcher.flags |= watcherFlag.eventsSent;
    const header = this.#service.header(revision);
    const splits = (watcher.flags & watcherFlag.fragment) !== 0 &&
      run.length + header.length >= this.#service.fragmentBytes / 2;
    if (splits) return this.#sendSplit(watcher.id, header, run);
    this.#sendEvents(watcher.id, header, run, false);
  }

  onCompacted(watcher: Watcher, compactRevision: number): void {
    this.#forget(watcher);
    // The revision of this header is 0, as etcd's is.
    this.#answer({ header: this.#service.header(0), watchId: watcher.id, canceled: true, compactRevision });
  }

  // Requests.

  #create(request: WatchCreateRequest): void {
    if (request.startRevision < 0n) return this.#refuse(wireErrors.compacted[1]);
    if (this.#connection.watchers >= WATCHERS_PER_CONNECTION_MAX) return this.#refuse(refusalTexts.tooMany);
    const watcher = this.#stream.create({
      key: request.key,
      rangeEnd: request.rangeEnd,
      startRevision: Number(request.startRevision),
      id: idOf(request.watchId),
      flags: flagsOf(request),
    });
    if (typeof watcher === "string") return this.#refuse(refusalTexts[watcher]);
    this.#connection.watchers += 1;
    if (request.progressNotify) this.#watchProgress(watcher);
    this.#answer({ header: this.#currentHeader(), watchId: watcher.id, created: true });
  }

  #refuse(cancelReason: string): void {
    const header = this.#currentHeader();
    this.#answer({ header, watchId: NO_WATCH_ID, created: true, canceled: true, cancelReason });
  }

  #cancel(id: WatchId): void {
    const watcher = this.#stream.cancel(id);
    if (watcher === undefined) return;
    this.#forget(watcher);
    this.#answer({ header: this.#currentHeader(), watchId: id, canceled: true });
  }

  #forget(watcher: Watcher): void {
    this.#connection.watchers -= 1;
    this.#progress.delete(watcher);
  }

  // Progress.

  /** Answered once everything that is current has been sent, if it can be then; else the client asks again. */
  #requestProgress(): void {
    if (this.#progressRequested) return;
    this.#progressRequested = true;
    this.#service.server.watchHub.afterDelivery(() => {
      this.#progressRequested = false;
      if (this.#call.writable && this.#stream.isAllCurrent) this.#sendProgress(NO_WATCH_ID);
    });
  }

  #watchProgress(watcher: Watcher): void {
    this.#progress.add(watcher);
    const { server } = this.#service;
    this.#progressTimer ??= server.ports.clock.every(
      this.#service.progressIntervalMs(),
      () => server.watchHub.afterDelivery(() => this.#notifyProgress()),
    );
  }

  /** Tells the watchers that were sent nothing since the last time. */
  #notifyProgress(): void {
    for (const watcher of this.#progress) {
      if (!this.#call.writable) return;
      const isQuiet = (watcher.flags & watcherFlag.eventsSent) === 0;
      watcher.flags &= ~watcherFlag.eventsSent;
      if (isQuiet && this.#stream.isCurrent(watcher)) this.#sendProgress(watcher.id);
    }
  }

  // Responses.

  #currentHeader(): Uint8Array {
    return this.#service.header(this.#service.server.store.currentRevision);
  }

  #sendProgress(watchId: WatchId): void {
    this.#sendEvents(watchId, this.#currentHeader(), undefined, false);
  }

  #sendEvents(watchId: WatchId, header: Uint8Array, run: Uint8Array | undefined, fragment: boolean): void {
    const reply = this.#reply;
    reply.header = header;
    reply.watchId = watchId;
    reply.fragment = fragment;
    reply.run = run;
    this.#call.send(reply);
  }

  /** The events of one response in as many as it takes for each to be small enough, or to have one event. */
  #sendSplit(watchId: WatchId, header: Uint8Array, run: Uint8Array): void {
    const { fragmentBytes } = this.#service;
    const ends = eventEnds(run);
    const rest = sizeOf({ header, watchId, fragment: false });
    if (ends.length < 2 || rest + run.length < fragmentBytes) {
      return this.#sendEvents(watchId, header, run, false);
    }
    const room = fragmentBytes - sizeOf({ header, watchId, fragment: true });
    let start = 0;
    for (let i = 1; i < ends.length; i += 1) {
      if (ends[i]! - start < room) continue;
      const end = ends[i - 1]!;
      this.#sendEvents(watchId, header, run.subarray(start, end), true);
      start = end;
    }
    this.#sendEvents(watchId, header, run.subarray(start), false);
  }

  /** Sends what answers a request, and gives up on a client that asks and never reads. */
  #answer(reply: Partial<WatchReply>): void {
    if (!this.#call.writable) {
      this.#unreadAnswers += 1;
      if (this.#unreadAnswers > UNREAD_ANSWERS_MAX) {
        return this.#call.fail(
          new RpcError(Code.ResourceExhausted, "etcdserver: too many watch responses that were not read"),
        );
      }
    }
    this.#call.send(reply as WatchReply);
  }
}

function sizeOf(reply: Pick<WatchReply, "header" | "watchId" | "fragment">): number {
  const out = new ByteWriter(128);
  encodeWatchResponse(out, reply);
  return out.length;
}

function idOf(id: bigint): WatchId {
  const number = Number(id);
  return Number.isSafeInteger(number) ? number : id;
}

function flagsOf({ filters, prevKv, fragment }: WatchCreateRequest): number {
  let flags = (prevKv ? watcherFlag.prevKv : 0) | (fragment ? watcherFlag.fragment : 0);
  for (const filter of filters) {
    if (filter === FilterType.NOPUT) flags |= watcherFlag.noPut;
    else if (filter === FilterType.NODELETE) flags |= watcherFlag.noDelete;
  }
  return flags;
}
