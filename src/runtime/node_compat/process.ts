import { readdirSync, readFileSync, writeSync } from "node:fs";
import { networkInterfaces } from "node:os";
import nodeProcess from "node:process";
import type { Process } from "../../ports/process.ts";

const STDOUT = 1;
const STDERR = 2;
const pauseCell = new Int32Array(new SharedArrayBuffer(4));

/** The process around the server, for the runtime of that name. */
export function createProcess(name: "node" | "bun" | "deno"): Process {
  const handlers: { readonly signal: "SIGTERM" | "SIGINT"; readonly run: () => void }[] = [];
  return {
    pid: nodeProcess.pid,
    platform: nodeProcess.platform,
    arch: nodeProcess.arch,
    runtime: { name, version: nodeProcess.versions[name] ?? nodeProcess.version },
    env: nodeProcess.env,
    args: nodeProcess.argv.slice(2),
    residentBytes: () => nodeProcess.memoryUsage.rss(),
    cpuSeconds() {
      const usage = nodeProcess.cpuUsage();
      return (usage.user + usage.system) / 1e6;
    },
    openFilesMax,
    openFiles,
    defaultHost,
    onSignal(signal, run) {
      const handler = (): void => run();
      handlers.push({ signal, run: handler });
      nodeProcess.on(signal, handler);
    },
    raise(signal) {
      // Without a handler the signal has its default action again.
      for (const handler of handlers) {
        if (handler.signal === signal) nodeProcess.removeListener(signal, handler.run);
      }
      nodeProcess.kill(nodeProcess.pid, signal);
    },
    exit: (code) => nodeProcess.exit(code),
    writeOut: (text) => writeText(STDOUT, text),
    writeErr: (text) => writeText(STDERR, text),
  };
}

/**
 * Writes synchronously, as a line that is still in a queue when the process ends would be lost. A reader
 * that is too slow stops the process here, as it stops any program that logs; one that is gone is ignored.
 */
function writeText(descriptor: number, text: string): void {
  const bytes = new TextEncoder().encode(text);
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(descriptor, bytes, written, bytes.length - written);
    } catch (error) {
      if ((error as { code?: string }).code !== "EAGAIN") return;
      Atomics.wait(pauseCell, 0, 0, 1);
    }
  }
}

function openFilesMax(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

function openFiles(): number | undefined {
  try {
    return readdirSync("/proc/self/fd").length;
  } catch {
    return undefined;
  }
}

/** Only IPv4 and Linux: the route is read from a table that Linux alone has. */
function defaultHost(): string | undefined {
  try {
    // Lines of "interface destination gateway …"; the default route's destination is all zeros.
    const route = /^(\S+)\s+00000000\s/m.exec(readFileSync("/proc/net/route", "latin1"))?.[1];
    return networkInterfaces()[route ?? ""]?.find(({ family }) => family === "IPv4")?.address;
  } catch {
    return undefined;
  }
}
