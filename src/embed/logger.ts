import type { Clock } from "../ports/clock.ts";
import type { Log, LogField, LogFields, LogLevel } from "../ports/log.ts";

/** Takes whole lines, each ended by a newline. */
export interface LogSink {
  write(line: string): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  readonly format: "json" | "console";
  readonly sinks: readonly LogSink[];
  readonly clock: Pick<Clock, "wallMs">;
}

/** Levels in order, the least grave first. */
export const logLevels: readonly LogLevel[] = ["debug", "info", "warn", "error", "dpanic", "panic", "fatal"];

/**
 * Of the lines with the same message in one second, the first this many are written and then one of as many.
 * A flood of the same complaint must not fill the disk.
 */
const SAME_MESSAGE_PER_SECOND = 100;
/** Messages counted at once; they are constants of the program, with few exceptions. */
const MESSAGES_MAX = 4096;

/**
 * Writes lines as etcd does: `{"level":"info","ts":"2026-01-02T03:04:05.678000Z","msg":"…",…}`, or in columns
 * for people. Lines have no `caller`: finding it out costs a stack per line.
 */
export class Logger implements Log {
  readonly #options: LoggerOptions;
  readonly #levelIndex: number;
  readonly #counts = new Map<string, number>();
  #second = 0;

  constructor(options: LoggerOptions) {
    this.#options = options;
    this.#levelIndex = logLevels.indexOf(options.level);
  }

  enabled(level: LogLevel): boolean {
    return logLevels.indexOf(level) >= this.#levelIndex;
  }

  debug(message: string, fields?: LogFields): void {
    this.write("debug", message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.write("info", message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.write("warn", message, fields);
  }

  error(message: string, fields?: LogFields): void {
    this.write("error", message, fields);
  }

  /** The last line of a process; ending it is up to the caller. */
  fatal(message: string, fields?: LogFields): void {
    this.write("fatal", message, fields);
  }

  write(level: LogLevel, message: string, fields: LogFields = {}): void {
    if (!this.enabled(level)) return;
    const nowMs = this.#options.clock.wallMs();
    if (!this.#sampled(level, message, nowMs)) return;
    const render = this.#options.format === "json" ? jsonLine : consoleLine;
    const line = render(level, timestamp(nowMs), message, fields);
    for (const sink of this.#options.sinks) sink.write(line);
  }

  #sampled(level: LogLevel, message: string, nowMs: number): boolean {
    const second = Math.floor(nowMs / 1000);
    if (second !== this.#second || this.#counts.size >= MESSAGES_MAX) {
      this.#counts.clear();
      this.#second = second;
    }
    const key = `${level} ${message}`;
    const count = (this.#counts.get(key) ?? 0) + 1;
    this.#counts.set(key, count);
    return count <= SAME_MESSAGE_PER_SECOND || count % SAME_MESSAGE_PER_SECOND === 0;
  }
}

/** "2026-01-02T03:04:05.678901Z": UTC with microseconds, as far as the clock has them. */
export function timestamp(wallMs: number): string {
  const ms = Math.floor(wallMs);
  const micros = Math.floor((wallMs - ms) * 1000);
  return `${new Date(ms).toISOString().slice(0, -1)}${String(micros).padStart(3, "0")}Z`;
}

function jsonLine(level: LogLevel, ts: string, message: string, fields: LogFields): string {
  let line = `{"level":"${level}","ts":"${ts}","msg":${JSON.stringify(message)}`;
  for (const [name, value] of Object.entries(fields)) {
    if (value !== undefined) line += `,${JSON.stringify(name)}:${fieldJson(value, ",", ":")}`;
  }
  return `${line}}\n`;
}

function consoleLine(level: LogLevel, ts: string, message: string, fields: LogFields): string {
  const pairs = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${JSON.stringify(name)}: ${fieldJson(value!, ", ", ": ")}`);
  const rest = pairs.length === 0 ? "" : `\t{${pairs.join(", ")}}`;
  // A message is one line: what it quotes may come from a client.
  return `${ts}\t${level}\t${message.replaceAll("\n", "\\n")}${rest}\n`;
}

/** JSON with numbers of 64 bits in full. */
function fieldJson(value: LogField, comma: string, colon: string): string {
  if (typeof value === "bigint") return String(value);
  if (typeof value === "number" && !Number.isFinite(value)) return JSON.stringify(String(value));
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((each) => fieldJson(each, comma, colon)).join(comma)}]`;
  const pairs = Object.entries(value as LogFields)
    .filter(([, each]) => each !== undefined)
    .map(([name, each]) => `${JSON.stringify(name)}${colon}${fieldJson(each!, comma, colon)}`);
  return `{${pairs.join(comma)}}`;
}
