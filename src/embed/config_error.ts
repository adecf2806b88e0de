import type { LogFields } from "../ports/log.ts";

/** A configuration that the server cannot run with. The message is etcd's where etcd has one. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  /** Set when etcd logs the message by itself, with these fields, instead of as the reason of another. */
  readonly fields: LogFields | undefined;

  constructor(message: string, fields?: LogFields) {
    super(message);
    this.fields = fields;
  }
}
