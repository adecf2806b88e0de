/** Bounds on what a client can make a connection spend. Sizes in octets, times in milliseconds. */
export interface Http1Limits {
  /** Request line and fields together. */
  readonly headBytesMax: number;
  readonly targetBytesMax: number;
  readonly fieldsMax: number;
  /** Extensions of one chunk, and of all chunks of a body. */
  readonly chunkExtensionBytesMax: number;
  readonly chunkExtensionsBytesMax: number;
  readonly trailerBytesMax: number;
  /** What may come ahead of its turn, when a client sends requests without waiting for responses. */
  readonly aheadBytesMax: number;
  /** What is left of a body that nobody wants is read up to this, so that the connection can carry on. */
  readonly unwantedBytesMax: number;
  /** Output that waits for the client; past it, `writable` is false. */
  readonly outputBytesMax: number;
  /** The same; past it, nothing is read. */
  readonly outputBytesPause: number;
  /** How long a connection is kept without a request. */
  readonly idleTimeoutMs: number;
  /** From the first octet of a head to its last. */
  readonly headTimeoutMs: number;
  /** A body has this time and, for each octet that has come, that of `bodyBytesPerSecondMin`. */
  readonly bodyTimeoutMs: number;
  readonly bodyBytesPerSecondMin: number;
  /** For how long a client may take none of its output. */
  readonly stallTimeoutMs: number;
  /** From the end of the last response to the closing of the socket, for the client to read it. */
  readonly lingerMs: number;
  /** How much is read meanwhile: unread input would make the kernel take the response back. */
  readonly lingerBytesMax: number;
  /** For how long an answer is waited for after the client has closed its sending side. */
  readonly halfCloseMs: number;
}

/** Defaults, each with its reason. */
export const defaultHttp1Limits: Http1Limits = {
  // As of HTTP/2 here: tokens and cookies of several KiB fit.
  headBytesMax: 64 << 10,
  // Sixteen times what browsers and proxies agree on; etcd's own paths have fewer than 50.
  targetBytesMax: 16 << 10,
  // As of HTTP/2 here; browsers send about fifteen.
  fieldsMax: 128,
  // No client of etcd sends any.
  chunkExtensionBytesMax: 256,
  chunkExtensionsBytesMax: 16 << 10,
  trailerBytesMax: 8 << 10,
  // What the socket may have delivered in one piece.
  aheadBytesMax: 64 << 10,
  // As Go's net/http.
  unwantedBytesMax: 256 << 10,
  // As of HTTP/2 here.
  outputBytesMax: 256 << 10,
  outputBytesPause: 1 << 20,
  idleTimeoutMs: 300_000,
  headTimeoutMs: 30_000,
  // The largest request has ten minutes: on any line that is of use it takes seconds.
  bodyTimeoutMs: 30_000,
  bodyBytesPerSecondMin: 4_096,
  // As of HTTP/2 here.
  stallTimeoutMs: 300_000,
  lingerMs: 2_000,
  lingerBytesMax: 16 << 20,
  // A script that shuts down its side after the request gets what takes no longer; a client that has gone does not
  // become the owner of a lock minutes later.
  halfCloseMs: 1_000,
};
