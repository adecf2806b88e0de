export type LogLevel = "debug" | "info" | "warn" | "error" | "dpanic" | "panic" | "fatal";

export type LogField = string | number | bigint | boolean | null | readonly LogField[] | {
  readonly [name: string]: LogField | undefined;
};

/** Structured log lines with etcd's messages and field names. Secrets never go in. */
export interface Log {
  enabled(level: LogLevel): boolean;
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

export interface LogFields {
  readonly [name: string]: LogField | undefined;
}

/** Says nothing. */
export const silentLog: Log = {
  enabled: () => false,
  debug() {},
  info() {},
  warn() {},
  error() {},
};
