/** A client of WebSockets: the one that the runtime has. */
import { within } from "./deadline.ts";

export class WebSocketClient {
  readonly #socket: WebSocket;
  readonly #arrived: string[] = [];
  readonly #wanted: ((message: string) => void)[] = [];
  /** The code with which it was closed. */
  readonly closed: Promise<number>;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => {
      const wanted = this.#wanted.shift();
      if (wanted === undefined) this.#arrived.push(data as string);
      else wanted(data as string);
    });
    const closed = new Promise<number>((resolve) => {
      socket.addEventListener("close", ({ code }) => resolve(code));
    });
    this.closed = closed;
  }

  static async open(port: number, path: string, protocols: string[] = []): Promise<WebSocketClient> {
    const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocols);
    const client = new WebSocketClient(socket);
    const opened = new Promise<void>((resolve, reject) => {
      socket.addEventListener("open", () => resolve());
      socket.addEventListener("error", () => reject(new Error(`${path}: the handshake failed`)));
    });
    await within(`a WebSocket to ${path}`, opened);
    return client;
  }

  get protocol(): string {
    return this.#socket.protocol;
  }

  /** Messages that nobody has asked for yet. */
  get arrived(): readonly string[] {
    return this.#arrived;
  }

  send(message: string | Uint8Array): void {
    this.#socket.send(message as string | Uint8Array<ArrayBuffer>);
  }

  /** The next message. */
  next(): Promise<string> {
    const first = this.#arrived.shift();
    if (first !== undefined) return Promise.resolve(first);
    return within("a message", new Promise<string>((resolve) => this.#wanted.push(resolve)));
  }

  /** Closes, and resolves with the code that came back. */
  close(): Promise<number> {
    this.#socket.close(1000);
    return this.whenClosed();
  }

  whenClosed(): Promise<number> {
    return within("the end of a WebSocket", this.closed);
  }
}
