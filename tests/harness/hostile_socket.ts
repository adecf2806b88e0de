/** A connection that sends what it likes: bytes go out as they are, and what comes back is kept, up to a limit. */
import { connect, type Socket } from "node:net";
import { concatBytes, utf8 } from "../../src/base/bytes.ts";
import {
  FLAG_ACK,
  FRAME_GOAWAY,
  FRAME_HEADER_BYTES,
  FRAME_SETTINGS,
  PREFACE,
  uint31At,
  uint32At,
} from "../../src/http2/frames.ts";
import { WAIT_MS_MAX } from "./deadline.ts";

const KEPT_BYTES_MAX = 1 << 20;
const SETTINGS_ACK = Uint8Array.of(0, 0, 0, FRAME_SETTINGS, FLAG_ACK, 0, 0, 0, 0);

export class HostileSocket {
  readonly #socket: Socket;
  readonly #kept: Uint8Array[] = [];
  #keptBytes = 0;
  #isClosed = false;
  #onChange: () => void = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Uint8Array) => {
      if (this.#keptBytes < KEPT_BYTES_MAX) {
        this.#kept.push(chunk.slice());
        this.#keptBytes += chunk.length;
      }
      this.#onChange();
    });
    socket.on("error", () => {});
    socket.on("end", () => socket.end());
    socket.on("drain", () => this.#onChange());
    socket.on("close", () => {
      this.#isClosed = true;
      this.#onChange();
    });
  }

  static connect(port: number): Promise<HostileSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({ host: "127.0.0.1", port, noDelay: true, allowHalfOpen: true });
      const timer = setTimeout(() => socket.destroy(new Error("no connection")), WAIT_MS_MAX);
      socket.once("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
      socket.once("connect", () => {
        clearTimeout(timer);
        resolve(new HostileSocket(socket));
      });
    });
  }

  /** A connection that has begun to speak HTTP/2, with these SETTINGS; those of the server are acknowledged. */
  static async http2(port: number, settings: Uint8Array): Promise<HostileSocket> {
    const socket = await HostileSocket.connect(port);
    await socket.send(concatBytes([utf8(PREFACE), settings, SETTINGS_ACK]));
    return socket;
  }

  get closed(): boolean {
    return this.#isClosed;
  }

  /** What the server has sent. */
  get received(): Uint8Array {
    return concatBytes(this.#kept);
  }

  /** Sends, and waits until the kernel takes more or the connection is closed. */
  async send(bytes: Uint8Array): Promise<void> {
    if (this.#isClosed || this.#socket.destroyed || !this.#socket.writable) return;
    if (!this.#socket.write(bytes)) {
      await this.until(() => this.#socket.writableLength === 0, 10_000);
    }
    // Also the reader's turn, and that of whoever else this process serves.
    await new Promise((resolve) => setImmediate(resolve));
  }

  /** Reads no more. */
  pause(): void {
    this.#socket.pause();
  }

  /** Whether `condition` came true in time; true also when the connection is closed. */
  until(condition: () => boolean, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (answer: boolean): void => {
        clearTimeout(timer);
        this.#onChange = () => {};
        resolve(answer);
      };
      const timer = setTimeout(() => done(this.#isClosed || condition()), timeoutMs);
      this.#onChange = () => {
        if (this.#isClosed || condition()) done(true);
      };
      this.#onChange();
    });
  }

  destroy(): Promise<boolean> {
    this.#socket.resume();
    this.#socket.destroy();
    return this.until(() => false, WAIT_MS_MAX);
  }

  /** Code and text of the GOAWAY that came, as "11 too many resets". */
  get goAway(): string | undefined {
    for (const { type, payload } of framesOf(this.received)) {
      if (type !== FRAME_GOAWAY) continue;
      const code = uint32At(payload, 4);
      return `${code} ${new TextDecoder().decode(payload.subarray(8))}`.trimEnd();
    }
    return undefined;
  }

  /** Numbers of the frames of `type` that came. */
  count(type: number): number {
    return framesOf(this.received).filter((frame) => frame.type === type).length;
  }
}

interface ReceivedFrame {
  readonly type: number;
  readonly id: number;
  readonly payload: Uint8Array;
}

function framesOf(bytes: Uint8Array): ReceivedFrame[] {
  const frames: ReceivedFrame[] = [];
  let at = 0;
  while (at + FRAME_HEADER_BYTES <= bytes.length) {
    const end = at + FRAME_HEADER_BYTES + (bytes[at]! << 16 | bytes[at + 1]! << 8 | bytes[at + 2]!);
    if (end > bytes.length) break;
    const payload = bytes.subarray(at + FRAME_HEADER_BYTES, end);
    frames.push({ type: bytes[at + 3]!, id: uint31At(bytes, at + 5), payload });
    at = end;
  }
  return frames;
}
