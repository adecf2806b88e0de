import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { RequestsCommand, RequestsReport, RequestsSpec, WatchersSpec } from "./driver/specs.ts";

/** Drivers always run on the same runtime, whatever they drive. */
const RUNTIME = join("node_modules", ".bin", "bun");
const REPORT_TIMEOUT_MS = 300_000;

/** A load driver in a process of its own. */
export class DriverProcess {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  #isClosed = false;
  #wake = (): void => {};

  constructor(script: "requests" | "watchers", spec: RequestsSpec | WatchersSpec) {
    const file = join("scripts", "bench", "driver", `${script}.ts`);
    this.#child = spawn(RUNTIME, [file, JSON.stringify(spec)], { stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      this.#lines.push(line);
      this.#wake();
    });
    this.#child.once("close", () => {
      this.#isClosed = true;
      this.#wake();
    });
  }

  /** The next report. Throws when none comes, or the driver has given up, having said why on the standard error. */
  async next<Report>(): Promise<Report> {
    let problem = "has ended without a report";
    const timer = setTimeout(() => {
      problem = `has had nothing to report for ${REPORT_TIMEOUT_MS / 1000} s`;
      this.stop();
    }, REPORT_TIMEOUT_MS);
    while (this.#lines.length === 0) {
      if (this.#isClosed) throw new Error(`The load driver ${problem}`);
      await new Promise<void>((resolve) => this.#wake = resolve);
    }
    clearTimeout(timer);
    return JSON.parse(this.#lines.shift()!) as Report;
  }

  /** `again` is for the driver of watchers, the others for that of requests. */
  tell(command: RequestsCommand | "again"): void {
    this.#child.stdin!.write(`${command}\n`);
  }

  stop(): void {
    this.#child.kill("SIGKILL");
  }
}

/** Sends requests and waits for the report. */
export async function sendRequests(spec: RequestsSpec): Promise<RequestsReport> {
  const driver = new DriverProcess("requests", spec);
  try {
    return await driver.next<RequestsReport>();
  } finally {
    driver.stop();
  }
}
