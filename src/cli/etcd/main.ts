import { GIT_SHA, goArch, runtimeVersion } from "../../embed/build_info.ts";
import { ConfigError } from "../../embed/config_error.ts";
import { applyConfigFile } from "../../embed/config_file.ts";
import { applyEnv } from "../../embed/env.ts";
import type { Etcd } from "../../embed/etcd.ts";
import { defaultSettings, deprecations, type FlagName, type Settings } from "../../embed/flag_table.ts";
import { parseFlags, SettingsDraft } from "../../embed/flags.ts";
import { parseGoDuration } from "../../base/go_duration.ts";
import { helpText, USAGE } from "../../embed/help.ts";
import type { Logger } from "../../embed/logger.ts";
import { defaultLogger, openLog } from "../../embed/open_log.ts";
import { ADVERTISE_MISSING, validateSettings } from "../../embed/validate.ts";
import { SocketError } from "../../ports/sockets.ts";
import type { Runtime } from "../../ports/runtime.ts";
import { SERVER_VERSION } from "../../server/version.ts";

/** Exit status of a command line that makes no sense, as Go's flag package has it. */
const EXIT_USAGE = 2;
const EXIT_FAILURE = 1;
/** Process id of what runs first in a container: the kernel gives it no default action for signals. */
const INIT_PID = 1;

/** The `etcd` command: reads flags, environment or file, and runs a member until a signal ends it. */
export async function runEtcd(runtime: Runtime): Promise<void> {
  const { process } = runtime;
  const startLog = defaultLogger(runtime);
  const [command] = process.args;
  if (command === "gateway" || command === "grpc-proxy") {
    process.writeErr(`etcd ${command} is not built yet\n`);
    process.exit(EXIT_FAILURE);
  }
  const { draft, rest } = readCommandLine(runtime);
  const configured = configure(runtime, draft, rest, startLog);
  // A server that ends must say why, whatever lines it was told to leave out.
  const log = configured.error === undefined || configured.log.enabled("warn") ? configured.log : startLog;
  log.info("Running: ", { args: ["etcd", ...withoutSecrets(process.args)] });
  if (configured.error !== undefined) {
    const { fields, message } = configured.error;
    if (fields !== undefined) log.fatal(message, fields);
    else log.warn("failed to verify flags", { error: message });
    if (message === ADVERTISE_MISSING) log.warn("advertise client URLs are not set", { error: message });
    return process.exit(EXIT_FAILURE);
  }
  await serve(runtime, log, configured.settings);
}

/** Reads the flags, or prints what they ask for and ends. */
function readCommandLine(
  { process }: Runtime,
): { readonly draft: SettingsDraft; readonly rest: readonly string[] } {
  const draft = new SettingsDraft(defaultSettings());
  const parsed = parseFlags(process.args, draft);
  if (parsed.kind === "help") {
    process.writeOut(helpText());
    return process.exit(0);
  }
  if (parsed.kind === "error") {
    process.writeErr(`${parsed.message}\n${USAGE}\n`);
    return process.exit(EXIT_USAGE);
  }
  if (draft.settings.version && parsed.rest.length === 0) {
    process.writeOut(versionText(process));
    return process.exit(0);
  }
  return { draft, rest: parsed.rest };
}

type Configured =
  | { readonly log: Logger; readonly settings: Settings; readonly error?: undefined }
  | { readonly log: Logger; readonly error: ConfigError };

/** The settings in effect and their log; or what is wrong with them, and the best log to say it in. */
function configure(
  { process, files, ...others }: Runtime,
  draft: SettingsDraft,
  rest: readonly string[],
  startLog: Logger,
): Configured {
  const runtime = { process, files, ...others };
  let log = startLog;
  try {
    if (rest.length > 0) throw new ConfigError(`${JSON.stringify(rest[0])} is not a valid flag`);
    const path = draft.settings["config-file"] || process.env["ETCD_CONFIG_FILE"] || "";
    let settings: Settings;
    let explicit: ReadonlySet<FlagName>;
    if (path !== "") {
      const fromFile = new SettingsDraft(defaultSettings());
      const { unknownKeys } = applyConfigFile(path, files, fromFile);
      ({ settings, explicit } = fromFile);
      settings = withoutDefaultCluster(settings, explicit);
      log = openLog(settings, runtime);
      log.info(LOADED_FILE, { path });
      if (unknownKeys.length > 0) {
        log.warn("configuration file has keys that mean nothing here", { path, keys: unknownKeys });
      }
    } else {
      applyEnv(process.env, draft, startLog);
      raiseRaftTimeouts(draft, startLog);
      ({ settings, explicit } = draft);
      settings = withoutDefaultCluster(withoutDefaultAdvertised(settings, explicit), explicit);
      log = openLog(settings, runtime);
    }
    try {
      validateSettings(settings, log);
    } finally {
      for (const [name, message] of Object.entries(deprecations)) {
        if (explicit.has(name as FlagName)) log.warn(message);
      }
    }
    return { log, settings };
  } catch (error) {
    if (error instanceof ConfigError) return { log, error };
    throw error;
  }
}

/** Peers send something at least every third of this. */
const RAFT_TIMEOUT_MIN = "5s";

function raiseRaftTimeouts(draft: SettingsDraft, log: Logger): void {
  for (const flag of ["raft-read-timeout", "raft-write-timeout"] as const) {
    if (draft.settings[flag] >= parseGoDuration(RAFT_TIMEOUT_MIN)) continue;
    draft.set(flag, RAFT_TIMEOUT_MIN);
    log.info(`${flag} increased to minimum value: ${RAFT_TIMEOUT_MIN}`);
  }
}

const LOADED_FILE = "loaded server configuration, other configuration command line flags and environment " +
  "variables will be ignored if provided";

/** Who listens elsewhere must say what to advertise: the default would be wrong. */
function withoutDefaultAdvertised(settings: Settings, explicit: ReadonlySet<FlagName>): Settings {
  return explicit.has("listen-client-urls") && !explicit.has("advertise-client-urls")
    ? { ...settings, "advertise-client-urls": [] }
    : settings;
}

/** Discovery finds the members: the default cluster would contradict it. */
function withoutDefaultCluster(settings: Settings, explicit: ReadonlySet<FlagName>): Settings {
  const discovers = settings["discovery-srv"] !== "" || settings["discovery-srv-name"] !== "" ||
    settings["discovery-endpoints"].length > 0;
  return discovers && !explicit.has("initial-cluster") ? { ...settings, "initial-cluster": "" } : settings;
}

/** Runs the member until a signal, or until it cannot go on. */
async function serve(runtime: Runtime, log: Logger, settings: Settings): Promise<void> {
  const { process } = runtime;
  const fail = (message: string, error: unknown): never => {
    log.fatal(message, errorFields(error));
    return process.exit(EXIT_FAILURE);
  };
  let etcd: Etcd | undefined;
  let signalled = false;
  const stop = (signal: "SIGTERM" | "SIGINT"): void => {
    // The second signal ends the process at once; so does the first while there is nothing to close.
    if (signalled || etcd === undefined) return end(signal);
    signalled = true;
    log.info("received signal; shutting down", { signal: signal === "SIGTERM" ? "terminated" : "interrupt" });
    etcd.close().then(() => end(signal), (error: unknown) => fail("failed to stop", error));
  };
  const end = (signal: "SIGTERM" | "SIGINT"): void => {
    if (process.pid === INIT_PID) process.exit(0);
    process.raise(signal);
  };
  process.onSignal("SIGTERM", () => stop("SIGTERM"));
  process.onSignal("SIGINT", () => stop("SIGINT"));
  try {
    // Loaded here and not above, so that --help and --version need not wait for the whole server.
    const { startMember } = await import("../../embed/start.ts");
    etcd = await startMember({ settings, runtime, log, onFatal: (error) => fail("server failed", error) });
    void notifyInit(process, log);
  } catch (error) {
    if (error instanceof ConfigError && error.fields !== undefined) {
      log.fatal(error.message, error.fields);
      process.exit(EXIT_FAILURE);
    }
    // etcd's words for every failure to start; about the configuration and the ports, people search for them.
    const isSetUp = error instanceof ConfigError || error instanceof SocketError;
    fail(isSetUp ? "discovery failed" : "failed to start etcd server", error);
  }
}

/** Under systemd, services that depend on this one start now. */
async function notifyInit(process: Runtime["process"], log: Logger): Promise<void> {
  try {
    if (await process.notifyReady()) log.info("successfully notified init daemon");
  } catch (error) {
    log.error("failed to notify systemd for readiness", { error: (error as Error).message });
  }
}

function errorFields(error: unknown): Record<string, string | undefined> {
  if (!(error instanceof Error)) return { error: String(error) };
  const { cause, stack } = error;
  const expected = error.name !== "Error" && !(error instanceof TypeError) && !(error instanceof RangeError);
  return {
    error: error.message,
    kind: error.name,
    path: (error as { readonly path?: string }).path,
    cause: cause instanceof Error && cause.message !== error.message ? cause.message : undefined,
    // A defect needs the place; a disk that is full does not.
    stacktrace: expected ? undefined : stack,
  };
}

function versionText(process: Runtime["process"]): string {
  return [
    `etcd Version: ${SERVER_VERSION}`,
    `Git SHA: ${GIT_SHA}`,
    `Go Version: ${runtimeVersion(process)}`,
    `Go OS/Arch: ${process.platform}/${goArch(process.arch)}`,
    "",
  ].join("\n");
}

const SECRET_FLAG = /^--?discovery-(?:password|user)(=|$)/;

/** The arguments as they may be logged. */
function withoutSecrets(args: readonly string[]): string[] {
  return args.map((argument, i) => {
    const match = SECRET_FLAG.exec(argument);
    if (match !== null) return match[1] === "=" ? argument.replace(/=.*/s, "=***") : argument;
    return i > 0 && SECRET_FLAG.exec(args[i - 1]!)?.[1] === "" ? "***" : argument;
  });
}
