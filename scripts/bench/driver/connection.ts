import { ByteWriter } from "../../../src/base/byte_writer.ts";
import { textOf, utf8 } from "../../../src/base/bytes.ts";
import type { HeaderField } from "../../../src/http2/api.ts";
import {
  ClientConnection,
  clientOptions,
  type ClientStream,
  type ResponseHandler,
} from "../../../src/http2/client_connection.ts";
import { loadRuntime } from "../../../src/runtime/detect.ts";

const CONNECT_TIMEOUT_MS = 5_000;
const PREFIX_BYTES = 5;

const { sockets, clock } = await loadRuntime();

/** HPACK (RFC 7541): literals that enter the dynamic table, and where its newest entry stands. */
const LITERAL_INDEXED = 0x40;
const INDEXED = 0x80;
const NEWEST_INDEX = 62;

/**
 * A connection for calls of one method. As with other clients of etcd, the fields of the first request go into
 * the dynamic table, and further requests refer to them.
 */
export class DriverConnection {
  readonly #connection: ClientConnection;
  readonly #later: Uint8Array;
  #next: Uint8Array;

  private constructor(connection: ClientConnection, fields: readonly HeaderField[]) {
    this.#connection = connection;
    this.#next = literalBlock(fields);
    this.#later = new Uint8Array(fields.map((_, i) => INDEXED | (NEWEST_INDEX + fields.length - 1 - i)));
  }

  /** The process gives up when a connection ends. */
  static async connect(port: number, path: string): Promise<DriverConnection> {
    const address = { kind: "tcp", host: "127.0.0.1", port } as const;
    const stream = await sockets.connect(address, { timeoutMs: CONNECT_TIMEOUT_MS });
    const connection = new ClientConnection(
      stream,
      clientOptions(clock, {
        onGoAway: (errorCode, reason) => giveUp(`the server closes: error ${errorCode}, ${textOf(reason)}`),
        onClosed: (error) => giveUp(`a connection ended: ${error?.message ?? "closed"}`),
      }),
    );
    return new DriverConnection(connection, [
      [":method", "POST"],
      [":scheme", "http"],
      [":path", path],
      [":authority", `127.0.0.1:${port}`],
      ["content-type", "application/grpc"],
      ["user-agent", "bench"],
      ["te", "trailers"],
    ]);
  }

  open(handler: ResponseHandler): ClientStream {
    const stream = this.#connection.open(this.#next, handler, false);
    this.#next = this.#later;
    if (stream === undefined) throw new Error("The connection takes no more requests");
    return stream;
  }
}

function literalBlock(fields: readonly HeaderField[]): Uint8Array {
  const out = new ByteWriter();
  for (const field of fields) {
    out.byte(LITERAL_INDEXED);
    for (const text of field) {
      out.byte(text.length); // All are shorter than 127 bytes.
      out.write(utf8(text));
    }
  }
  return out.toBytes();
}

/** Sends one message of a call. */
export function sendMessage(stream: ClientStream, message: Uint8Array, endStream: boolean): void {
  const out = stream.startData();
  out.reserve(PREFIX_BYTES + message.length);
  out.byte(0);
  for (let shift = 24; shift >= 0; shift -= 8) out.byte((message.length >>> shift) & 255);
  out.write(message);
  stream.finishData(endStream);
}

/** Milliseconds since 1970, comparable between the processes of this machine, with fractions. */
export function nowMs(): number {
  return performance.timeOrigin + performance.now();
}

/** Prints a line for the process that started this one. */
export function tell(report: object): void {
  console.log(JSON.stringify(report));
}

/** Ends the process with a reason. */
export function giveUp(reason: string): never {
  console.error(reason);
  process.exit(1);
}
