import { type Log, silentLog } from "../ports/log.ts";
import { loadRuntime } from "../runtime/detect.ts";
import { ConfigError } from "./config_error.ts";
import type { Etcd } from "./etcd.ts";
import { defaultSettings, type FlagName, flagTable, type Settings } from "./flag_table.ts";
import { SettingsDraft } from "./flags.ts";
import { validateSettings } from "./validate.ts";

/** Flags of the command that have no meaning in another program. */
type CommandOnly =
  | "version"
  | "config-file"
  | "logger"
  | "log-outputs"
  | "log-level"
  | "log-format"
  | "enable-log-rotation"
  | "log-rotation-config-json";

type CamelCase<Name extends string> = Name extends `${infer Head}-${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

/** How an option is given: durations and gates as on the command line ("10s", "Name=true"), lists as lists. */
type OptionOf<T> = T extends boolean ? boolean
  : T extends number ? number | string
  : T extends readonly string[] ? T
  : string;

/**
 * etcd's flags in camel case, with etcd's defaults: `dataDir`, `listenClientUrls`, … A number for a duration
 * is refused, except 0: durations are text, as "10s".
 */
export type StartEtcdOptions =
  & {
    readonly [Name in Exclude<FlagName, CommandOnly> as CamelCase<Name>]?:
      | OptionOf<Settings[Name]>
      | undefined;
  }
  & {
    /** Takes the server's log lines; by default nobody does. */
    readonly log?: Log;
    /**
     * The member cannot go on: its disk failed or an invariant broke. It answers nobody any more; end the
     * process. By default the error is thrown where nobody catches it, which does.
     */
    readonly onFatal?: (error: unknown) => void;
  };

/**
 * Starts an etcd member in this process; resolves when it serves. `advertiseClientUrls` defaults to what is
 * listened on. Throws `ConfigError` for options that it cannot run with.
 */
export async function startEtcd(options: StartEtcdOptions = {}): Promise<Etcd> {
  const { log = silentLog, onFatal = throwOutside, ...flags } = options;
  const draft = new SettingsDraft(defaultSettings());
  let silent: Partial<Settings> = {};
  for (const [option, value] of Object.entries(flags)) {
    if (value === undefined) continue;
    const name = flagOfOption.get(option);
    if (name === undefined) throw new ConfigError(`unknown option ${option}`);
    if (Array.isArray(value) && value.length === 0 && name.startsWith("listen-")) {
      // The command line cannot say this: no listener at all, for a member that only its process reaches.
      silent = { ...silent, [name]: [] };
      continue;
    }
    try {
      draft.set(name, Array.isArray(value) ? value.join(",") : String(value));
    } catch (error) {
      const reason = (error as Error).message;
      throw new ConfigError(`invalid value ${JSON.stringify(value)} for ${option}: ${reason}`);
    }
  }
  const settings = draft.explicit.has("listen-client-urls") && !draft.explicit.has("advertise-client-urls")
    ? { ...draft.settings, "advertise-client-urls": draft.settings["listen-client-urls"] }
    : draft.settings;
  validateSettings(settings, log);
  // Loaded here and not above, so that who imports the library for its types or its command does not pay.
  const { startMember } = await import("./start.ts");
  return startMember({ settings: { ...settings, ...silent }, runtime: await loadRuntime(), log, onFatal });
}

const commandOnly: ReadonlySet<string> = new Set<CommandOnly>([
  "version",
  "config-file",
  "logger",
  "log-outputs",
  "log-level",
  "log-format",
  "enable-log-rotation",
  "log-rotation-config-json",
]);

const flagOfOption: ReadonlyMap<string, FlagName> = new Map(
  (Object.keys(flagTable) as FlagName[])
    .filter((name) => !commandOnly.has(name))
    .map((name) => [name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase()), name]),
);

function throwOutside(error: unknown): void {
  queueMicrotask(() => {
    throw error;
  });
}
