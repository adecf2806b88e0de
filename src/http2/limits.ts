/** Bounds on what a peer can make a connection spend. Sizes in octets, times in milliseconds. */
export interface Http2Limits {
  /** Streams a peer may have open at a time; those beyond are refused. */
  readonly streamsMax: number;
  /** Window of one stream for what we receive. */
  readonly streamWindowBytes: number;
  /** Window of a connection for what we receive. */
  readonly connectionWindowBytes: number;
  /** Sum of the sizes of a block's fields, as RFC 9113 section 6.5.2 counts them. */
  readonly headerListBytesMax: number;
  /** Fields in one header block, pseudo-headers included. */
  readonly headerFieldsMax: number;
  /** Encoded size of one header block, over all of its frames. */
  readonly headerBlockBytesMax: number;
  /** CONTINUATION frames of one header block. */
  readonly continuationsMax: number;
  /** Output a connection holds that the kernel has not taken; past it, data parks. */
  readonly outputBytesMax: number;
  /** The same for output that does not park (heads, trailers, answers to control frames); past it, reading stops. */
  readonly outputBytesPause: number;
  /** Data parked on all streams of a connection; past it, new requests are refused. */
  readonly parkedBytesMax: number;
  /** `onWritable` is called when a stream's parked output falls to this. */
  readonly parkedLowBytes: number;
  /** Resets of young streams, and errors of streams, that a peer may cause at once … */
  readonly resetsBurst: number;
  /** … and per second in the long run. */
  readonly resetsPerSecond: number;
  /** Frames that move no request forward which a peer may send at once … */
  readonly idleFramesBurst: number;
  /** … and per second in the long run. */
  readonly idleFramesPerSecond: number;
  /** From the connection's beginning to the client's preface and SETTINGS. */
  readonly prefaceTimeoutMs: number;
  /** From the beginning of a frame, or of a header block, to its end. */
  readonly frameTimeoutMs: number;
  /** From our SETTINGS to their acknowledgement. */
  readonly settingsTimeoutMs: number;
  /** For how long a stream or connection with output may take none of it. */
  readonly stallTimeoutMs: number;
  /** From the error that ends a connection to the closing of its socket, for GOAWAY to arrive. */
  readonly lingerMs: number;
  /** From the first GOAWAY of a graceful shutdown to the last, unless the peer's PING answers before. */
  readonly drainPingMs: number;
}

/** Defaults, each with its reason. */
export const defaultLimits: Http2Limits = {
  // etcd's own default is 2^32 - 1. This is more than any known client has open on one connection, and the
  // state of so many idle streams stays below 10 MB.
  streamsMax: 10_000,
  // The largest request is about 2 MiB: one or two round trips, and 1 GbE at 8 ms of round trip.
  streamWindowBytes: 1 << 20,
  // Sixteen streams at full speed; what a peer can make us hold for consumers that push back.
  connectionWindowBytes: 16 << 20,
  // A token of several KiB and what proxies add fit many times over. Go's default of 16 MiB is no limit.
  headerListBytesMax: 64 << 10,
  // As node:http2; etcd's clients send about ten.
  headerFieldsMax: 128,
  // A block within the list limit does not get near this, however badly it is encoded.
  headerBlockBytesMax: 128 << 10,
  // Eight frames of 16 KiB hold the largest block.
  continuationsMax: 16,
  // Sixteen frames of 16 KiB: enough to keep a socket busy for the time of a turn.
  outputBytesMax: 256 << 10,
  // Heads and trailers of ten thousand small replies. More piles up only for a peer that sends and does not read.
  outputBytesPause: 1 << 20,
  // A hundred responses of 1.5 MiB to a client that reads slowly, and so much again.
  parkedBytesMax: 256 << 20,
  parkedLowBytes: 32 << 10,
  // A client that cancels thousands of old streams at once pays nothing: only streams younger than about a
  // second count, and every request that completes pays for one reset.
  resetsBurst: 2_000,
  resetsPerSecond: 200,
  // Go's client sends about two WINDOW_UPDATEs and now and then a PING for the data it gets; these are paid for by
  // the data. What remains are a few frames per connection.
  idleFramesBurst: 5_000,
  idleFramesPerSecond: 500,
  prefaceTimeoutMs: 10_000,
  // 16 KiB in 30 s: a line slower than 4.4 kbit/s is an attack or of no use.
  frameTimeoutMs: 30_000,
  settingsTimeoutMs: 30_000,
  // Go's clients read whatever their application does. This leaves time for a process in a debugger.
  stallTimeoutMs: 300_000,
  lingerMs: 1_000,
  // As grpc-go.
  drainPingMs: 5_000,
};

/** What clients may do with PING, as grpc-go's enforcement policy has it. */
export interface PingPolicy {
  /** Least time between PINGs while requests are open. */
  readonly minTimeMs: number;
  /** Allows that also while no request is open; otherwise two hours apply then. */
  readonly permitWithoutStream: boolean;
}

/** etcd's defaults: `--grpc-keepalive-min-time`. */
export const defaultPingPolicy: PingPolicy = { minTimeMs: 5_000, permitWithoutStream: false };

/** When this side asks an idle peer whether it still lives. */
export interface Keepalive {
  /** Time without anything received after which a PING is sent. */
  readonly idleMs: number;
  /** Time without anything received after the PING, at the end of which the connection is dropped. */
  readonly timeoutMs: number;
  /** Asks also while no request is open. */
  readonly withoutStreams: boolean;
}

/** etcd's defaults: `--grpc-keepalive-interval` and `--grpc-keepalive-timeout`. */
export const defaultServerKeepalive: Keepalive = {
  idleMs: 7_200_000,
  timeoutMs: 20_000,
  withoutStreams: true,
};

/** A client asks only when told to: a server may hold it against it. */
export const noKeepalive: Keepalive = { idleMs: Infinity, timeoutMs: 20_000, withoutStreams: false };

/** Limits of a client: how many streams it opens, and what becomes of them, is the server's to say. */
export const defaultClientLimits: Http2Limits = {
  ...defaultLimits,
  resetsBurst: Infinity,
  // A server may stop reading until its answers are read. A client that did the same would wait for it for ever.
  outputBytesPause: Infinity,
};
