import { ByteWriter } from "../base/byte_writer.ts";
import type { DataSource } from "../http2/api.ts";
import { Code, RpcError } from "./status.ts";

/** The longest message that is sent, as with grpc-go: its clients could not take a longer one either. */
export const SENT_BYTES_MAX = 0x7fff_ffff;

/**
 * A reply too large to be held: its length is known, and its encoded bytes are made as they are read. Whoever
 * gets one reads it to its end or closes it.
 */
export abstract class LongReply implements DataSource {
  abstract readonly length: number;
  /** Called when there is something again after `read` had nothing; set by who reads. */
  onReadable: (() => void) | undefined;
  /** Appends up to `bytesMax` bytes to `out` and returns how many; 0 when there are none now. */
  abstract read(out: ByteWriter, bytesMax: number): number;
  /** The same in whole fields of the message, some 64 KiB of them; for who makes something else of them. */
  abstract readFields(out: ByteWriter): number;
  /** Has `onReadable` called in a coming turn: for who has done enough in this one. */
  abstract waitTurn(): void;
  abstract close(): void;
}

/** The words are grpc-go's. */
export function replyTooLarge(length: number): RpcError {
  const text = `grpc: trying to send message larger than max (${length} vs. ${SENT_BYTES_MAX})`;
  return new RpcError(Code.ResourceExhausted, text);
}

/** Reads a reply to its end, for a protocol that wants it whole; not all of it in one turn. */
export function gatherReply(reply: LongReply): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    if (reply.length > SENT_BYTES_MAX) {
      reply.close();
      throw replyTooLarge(reply.length);
    }
    const out = new ByteWriter(reply.length);
    reply.onReadable = () => {
      try {
        while (out.length < reply.length) {
          if (reply.read(out, reply.length - out.length) === 0) return;
        }
        resolve(out.bytes);
      } catch (error) {
        reply.close();
        reject(error);
      }
    };
    reply.onReadable();
  });
}
