import { ByteWriter } from "../base/byte_writer.ts";
import { JsonError } from "./json_reader.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;

/** Cuts a stream of JSON objects, with or without white space between them, into its objects. */
export class JsonSplitter {
  readonly #onObject: (bytes: Uint8Array) => void;
  readonly #bytesMax: number;
  #pending = new ByteWriter(256);
  #depth = 0;
  #inString = false;
  #isEscaped = false;

  /** An object of more than `bytesMax` is refused. */
  constructor(bytesMax: number, onObject: (bytes: Uint8Array) => void) {
    this.#bytesMax = bytesMax;
    this.#onObject = onObject;
  }

  /** Throws `JsonError`; what it has thrown for, or the handler has, is not gone on with. */
  push(chunk: Uint8Array): void {
    let start = 0;
    for (let at = 0; at < chunk.length; at += 1) {
      const byte = chunk[at]!;
      if (this.#inString) {
        if (this.#isEscaped) this.#isEscaped = false;
        else if (byte === BACKSLASH) this.#isEscaped = true;
        else if (byte === QUOTE) this.#inString = false;
      } else if (byte === OBJECT_OPEN) {
        if (this.#depth === 0) start = at;
        this.#depth += 1;
      } else if (this.#depth === 0) {
        if (byte > 0x20) throw new JsonError("proto: syntax error: a message is to begin with {");
      } else if (byte === QUOTE) {
        this.#inString = true;
      } else if (byte === OBJECT_CLOSE && --this.#depth === 0) {
        this.#keep(chunk.subarray(start, at + 1));
        const object = this.#pending.toBytes();
        this.#pending.clear();
        this.#onObject(object);
      }
    }
    if (this.#depth > 0) this.#keep(chunk.subarray(start));
  }

  #keep(bytes: Uint8Array): void {
    if (this.#pending.length + bytes.length > this.#bytesMax) throw new JsonError("message is too large");
    this.#pending.write(bytes);
  }

  /** Whether the stream may end here: between two objects. */
  get atBoundary(): boolean {
    return this.#depth === 0;
  }
}
