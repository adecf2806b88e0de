import type { PeerInfo } from "./sockets.ts";

/**
 * One HTTP request and its response without the objects of the fetch API, which cost more than a small request
 * itself. Bytes are pushed both ways.
 */
export type HttpCallHandler = (call: HttpCall, answer: HttpAnswer) => HttpCallBody | undefined;

/** What a request says before its body. */
export interface HttpCall {
  readonly method: string;
  /** Path and query as they were sent. */
  readonly target: string;
  readonly peer: PeerInfo;
  /** A header's value, or the values joined by ", "; `name` is in lower case. */
  header(name: string): string | undefined;
}

/** Takes the body. After `onEnd` or `onAbort` no more of it comes. */
export interface HttpCallBody {
  /** `chunk` is the receiver's to keep. */
  onData(chunk: Uint8Array): void;
  onEnd(): void;
  /** The client went away before it had the whole answer. */
  onAbort(): void;
  /** `HttpAnswer.writable` is true again. */
  onWritable(): void;
}

/** The response. Calls after its end, or after the client went away, do nothing. */
export interface HttpAnswer {
  /** Sends all of it. The bytes may be reused at once. */
  send(status: number, headers: Readonly<Record<string, string>>, body: Uint8Array): void;
  /** Sends its head; `write` and `end` follow. */
  begin(status: number, headers: Readonly<Record<string, string>>): void;
  /** The stream keeps the bytes. */
  write(bytes: Uint8Array): void;
  end(): void;
  /** False while more waits than the client takes. */
  readonly writable: boolean;
}
