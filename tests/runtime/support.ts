import { readFileSync } from "node:fs";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ByteStream, ByteStreamHandler, ListenOptions, Rejection } from "../../src/ports/sockets.ts";
import { concatBytes, textOf } from "../../src/base/bytes.ts";
import { ConnectionSlots } from "../../src/base/connection_slots.ts";
import { within } from "../harness/deadline.ts";

const TEXT_SHOWN_MAX = 500;

export const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/** The text of a file under testdata. */
export function pem(name: string): string {
  return readFileSync(new URL(`testdata/${name}`, import.meta.url), "utf8");
}

/** Runs `body` with a fresh directory that is removed afterwards. */
export async function withDirectory(body: (path: string) => Promise<void> | void): Promise<void> {
  const path = mkdtempSync(join(tmpdir(), "etcd-runtime-"));
  try {
    await body(path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

/** Limits that no test reaches unless it sets its own. */
export const calm = {
  slots: new ConnectionSlots(100),
  handshakeTimeoutMs: 20_000,
  prefaceTimeoutMs: 20_000,
} as const satisfies ListenOptions;

/** Sends back what comes, in its own memory, and closes when the peer does. */
export function echo(stream: ByteStream): void {
  stream.handler = {
    onData(chunk) {
      stream.write(chunk);
    },
    onDrain() {},
    onEnd() {
      stream.end();
    },
    onClose() {},
  };
}

/** Keeps all that a stream delivers, and lets a test wait for it. */
export class Received implements ByteStreamHandler {
  readonly chunks: Uint8Array[] = [];
  length = 0;
  ended = false;
  closed = false;
  error: Error | undefined;
  drains = 0;
  #wake: () => void = () => {};

  onData(chunk: Uint8Array): void {
    this.chunks.push(chunk);
    this.length += chunk.length;
    this.#wake();
  }

  onDrain(): void {
    this.drains += 1;
    this.#wake();
  }

  onEnd(): void {
    this.ended = true;
    this.#wake();
  }

  onClose(error: Error | undefined): void {
    this.closed = true;
    this.error = error;
    this.#wake();
  }

  get bytes(): Uint8Array {
    return concatBytes(this.chunks);
  }

  get text(): string {
    return textOf(this.bytes);
  }

  /** Resolves once `condition` holds. */
  async until(what: string, condition: () => boolean): Promise<void> {
    const holds = new Promise<void>((resolve) => {
      this.#wake = () => {
        if (!condition()) return;
        this.#wake = () => {};
        resolve();
      };
      this.#wake();
    });
    await within(what, holds, () => this.#describe());
  }

  #describe(): string {
    const { length, ended, closed, drains, error } = this;
    const start = this.text.slice(0, TEXT_SHOWN_MAX);
    return `received ${length} bytes, ${
      JSON.stringify({ start, ended, closed, drains, error: String(error) })
    }`;
  }
}

export function rejections(): {
  readonly list: Rejection[];
  readonly onRejected: (rejection: Rejection) => void;
} {
  const list: Rejection[] = [];
  return { list, onRejected: (rejection) => void list.push(rejection) };
}
