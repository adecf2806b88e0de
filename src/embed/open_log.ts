import * as v from "valibot";
import { FileError } from "../ports/files.ts";
import type { LogLevel } from "../ports/log.ts";
import type { Runtime } from "../ports/runtime.ts";
import { ConfigError } from "./config_error.ts";
import { fileErrorText } from "./file_error_text.ts";
import type { Settings } from "./flag_table.ts";
import { LogFile, type LogRotation } from "./log_file.ts";
import { Logger, logLevels, type LogSink } from "./logger.ts";

const MIB = 1024 * 1024;
/** The rotation's size when the configuration gives none. */
const ROTATION_MIB = 100;

/** A logger with etcd's defaults: for lines before the settings are known. */
export function defaultLogger({ process, clock }: Runtime): Logger {
  return new Logger({ level: "info", format: "json", sinks: [{ write: process.writeErr }], clock });
}

/** The logger that the settings ask for. Throws `ConfigError`, with etcd's text where it has one. */
export function openLog(settings: Settings, runtime: Runtime): Logger {
  const { "log-outputs": outputs, "log-format": format } = settings;
  if (settings.logger === "capnslog") throw new ConfigError("--logger=capnslog is removed in v3.5");
  if (settings.logger !== "zap") {
    throw new ConfigError(`unknown logger option ${JSON.stringify(settings.logger)}`);
  }
  if (outputs.length > 1 && outputs.includes("default")) {
    throw new ConfigError(`multi logoutput for "default" is not supported yet`);
  }
  const rotation = settings["enable-log-rotation"] ? logRotation(settings) : undefined;
  const level = logLevel(settings["log-level"]);
  if (format !== "json" && format !== "console" && format !== "") {
    throw new ConfigError(`unknown log format: ${format}, supported values json, console`);
  }
  return new Logger({
    level,
    format: format === "" ? "json" : format,
    sinks: outputs.includes("/dev/null") ? [] : openSinks(outputs, runtime, rotation),
    clock: runtime.clock,
  });
}

function logLevel(text: string): LogLevel {
  const level = text === "" ? "info" : logLevels.find((each) => each === text || each.toUpperCase() === text);
  if (level === undefined) throw new ConfigError(`unrecognized level: ${JSON.stringify(text)}`);
  return level;
}

function openSinks(
  outputs: readonly string[],
  runtime: Runtime,
  rotation: LogRotation | undefined,
): LogSink[] {
  const { process, files, clock } = runtime;
  const standard = new Map<string, LogSink>();
  const sinks: LogSink[] = [];
  for (const output of outputs.length === 0 ? ["default"] : outputs) {
    if (output === "systemd/journal") {
      throw new ConfigError(
        "--log-outputs=systemd/journal is not supported: use stderr, which the journal reads",
      );
    }
    if (output === "stdout" || output === "/dev/stdout") standard.set("stdout", { write: process.writeOut });
    else if (["default", "stderr", "/dev/stderr"].includes(output)) {
      standard.set("stderr", { write: process.writeErr });
    } else {
      try {
        sinks.push(new LogFile(output, files, () => clock.wallMs(), rotation));
      } catch (error) {
        if (!(error instanceof FileError)) throw error;
        throw new ConfigError(`open sink ${JSON.stringify(output)}: open ${output}: ${fileErrorText(error)}`);
      }
    }
  }
  return [...standard.values(), ...sinks];
}

const rotationSchema = v.looseObject({
  maxsize: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
  maxage: v.optional(v.literal(0)),
  maxbackups: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0)), 0),
  localtime: v.optional(v.literal(false)),
  compress: v.optional(v.literal(false)),
});

function logRotation(settings: Settings): LogRotation {
  const files = settings["log-outputs"].filter((each) => !["default", "stderr", "stdout"].includes(each));
  if (files.length > 1 || (files.length === 0 && settings["log-outputs"].length === 1)) {
    throw new ConfigError(
      "--log-outputs requires a single file path when --log-rotate-config-json is defined",
    );
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(settings["log-rotation-config-json"]);
  } catch {
    throw new ConfigError("improperly formatted log rotation config: it is not JSON");
  }
  const result = v.safeParse(rotationSchema, parsed);
  if (!result.success) {
    const [issue] = result.issues;
    throw new ConfigError(`invalid log rotation config: ${v.getDotPath(issue) ?? "it"}: ${issue.message}`);
  }
  const { maxsize, maxbackups } = result.output;
  return { bytesMax: (maxsize || ROTATION_MIB) * MIB, backupsMax: maxbackups };
}
