import { spawn } from "node:child_process";
import { readdirSync, readFileSync, writeSync } from "node:fs";
import { networkInterfaces } from "node:os";
import nodeProcess from "node:process";
import type { Process, ProcessStatistics } from "../../ports/process.ts";

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
    statistics,
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
    notifyReady,
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

const NOTIFY_TIMEOUT_MS = 5_000;

/** By systemd's own program: no runtime has the datagrams of Unix sockets that the protocol is made of. */
function notifyReady(): Promise<boolean> {
  if ((nodeProcess.env["NOTIFY_SOCKET"] ?? "") === "") return Promise.resolve(false);
  return new Promise((resolve, reject) => {
    const child = spawn("systemd-notify", ["--ready"], { stdio: "ignore", timeout: NOTIFY_TIMEOUT_MS });
    child.once("error", reject);
    child.once("exit", (status, signal) => {
      if (status === 0) resolve(true);
      else reject(new Error(`systemd-notify ended with ${status ?? signal}`));
    });
  });
}

function openFilesMax(): number | undefined {
  const soft = /^Max open files\s+(\d+)/m.exec(readText("/proc/self/limits"))?.[1];
  return soft === undefined ? undefined : Number(soft);
}

/** Where Linux tells it, see proc(5). */
function statistics(): ProcessStatistics | undefined {
  // The second field is the program's name in brackets; what follows it begins with field 3.
  const fields = /^.*\) (.*)/s.exec(readText("/proc/self/stat"))?.[1]?.split(" ");
  if (fields === undefined) return undefined;
  const softLimit = /^Max address space\s+(\d+)/m.exec(readText("/proc/self/limits"))?.[1];
  // Two lines begin with "IpExt:": one of names, one of numbers.
  const [names = [], numbers = []] = [...readText("/proc/self/net/netstat").matchAll(/^IpExt: (.*)$/gm)]
    .map(([, line]) => line!.split(" "));
  const ipExt = (name: string): number => Number(numbers[names.indexOf(name)] ?? 0);
  return {
    threads: Number(fields[20 - 3]),
    virtualBytes: Number(fields[23 - 3]),
    virtualBytesMax: softLimit === undefined ? Infinity : Number(softLimit),
    networkReceivedBytes: ipExt("InOctets"),
    networkSentBytes: ipExt("OutOctets"),
  };
}

/** Empty for a file that is not there. */
function readText(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
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
