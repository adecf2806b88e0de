import type { Log } from "../ports/log.ts";
import type { SettingsDraft } from "./flags.ts";
import { type FlagName, flagTable, legacyFlags } from "./flag_table.ts";
import { ConfigError } from "./config_error.ts";

const PREFIX = "ETCD_";
/** Variables whose values must not be logged. */
const SECRETS: readonly FlagName[] = ["discovery-password", "discovery-user"];

/** Variables that are no flags, but that container images put next to them. */
const SECRET_NAME = /PASS|SECRET|CREDENTIAL|TOKEN|KEY/;

/** The environment variable of a flag: "data-dir" is ETCD_DATA_DIR. */
export function envNameOf(flag: string): string {
  return PREFIX + flag.toUpperCase().replaceAll("-", "_");
}

/**
 * Sets from the environment what the command line has not set. Throws `ConfigError` with etcd's text when a
 * value is wrong, or when a variable and its flag are both set.
 */
export function applyEnv(
  env: Readonly<Record<string, string | undefined>>,
  draft: SettingsDraft,
  log: Log,
): void {
  const onCommandLine = new Set([...draft.explicit].map(envNameOf));
  const used = new Set(["ETCD_VERSION", ...legacyFlags.map(envNameOf)]);
  const version = env["ETCD_VERSION"];
  if (version !== undefined && version !== "") {
    log.warn("cannot set special environment variable", { key: "ETCD_VERSION", value: version });
  }
  let failure: ConfigError | undefined;
  for (const name of (Object.keys(flagTable) as FlagName[]).sort()) {
    const key = envNameOf(name);
    const value = env[key];
    if (value === undefined || value === "" || used.has(key) || onCommandLine.has(key)) continue;
    used.add(key);
    try {
      draft.set(name, value);
    } catch (error) {
      const reason = (error as Error).message;
      failure = new ConfigError(`invalid value ${JSON.stringify(value)} for ${key}: ${reason}`);
      continue;
    }
    log.info("recognized and used environment variable", {
      "variable-name": key,
      "variable-value": SECRETS.includes(name) ? "***" : value,
    });
  }
  for (const [key, value] of Object.entries(env)) {
    if (used.has(key)) continue;
    if (onCommandLine.has(key)) throw new ConfigError(SHADOWED, { "environment-variable": key });
    if (key.startsWith(PREFIX)) {
      const shown = SECRET_NAME.test(key) ? "***" : value;
      log.warn("unrecognized environment variable", { "environment-variable": `${key}=${shown}` });
    }
  }
  if (failure !== undefined) throw failure;
}

const SHADOWED = "conflicting environment variable is shadowed by corresponding command-line flag " +
  "(either unset environment variable or disable flag))";
