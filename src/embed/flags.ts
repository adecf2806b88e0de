import { type AnyFlag, type FlagName, flagTable, isFlagName, legacyFlag, legacyFlags } from "./flag_table.ts";
import { type Settings } from "./flag_table.ts";

/** Settings under way: values as they are set one after the other. */
export class SettingsDraft {
  readonly #values: Record<string, unknown>;
  readonly #explicit = new Set<FlagName>();

  constructor(base: Settings) {
    this.#values = { ...base };
  }

  /** Sets a flag from text. Throws `SyntaxError` with etcd's reason, and then changes nothing. */
  set(name: FlagName, text: string): void {
    this.#values[name] = flagTable[name].kind.parse(text, this.#values[name]);
    this.#explicit.add(name);
  }

  /** Flags that were set, to whatever value. */
  get explicit(): ReadonlySet<FlagName> {
    return this.#explicit;
  }

  get settings(): Settings {
    return this.#values as unknown as Settings;
  }
}

export type ParsedFlags =
  | { readonly kind: "ok"; readonly rest: readonly string[] }
  | { readonly kind: "help" }
  /** The command line makes no sense; etcd's text. */
  | { readonly kind: "error"; readonly message: string };

/**
 * Reads a command line by the rules of Go's `flag` package: one or two dashes, the value after "=" or in the
 * next argument, booleans without a value or after "=", the last of several wins, and "--" or the first
 * argument without a dash ends the flags.
 */
export function parseFlags(args: readonly string[], draft: SettingsDraft): ParsedFlags {
  for (let i = 0; i < args.length; i += 1) {
    const argument = args[i]!;
    if (argument.length < 2 || !argument.startsWith("-")) return { kind: "ok", rest: args.slice(i) };
    if (argument === "--") return { kind: "ok", rest: args.slice(i + 1) };
    const body = argument.slice(argument.startsWith("--") ? 2 : 1);
    if (/^[-=]/.test(body)) return { kind: "error", message: `bad flag syntax: ${argument}` };
    const equals = body.indexOf("=");
    const name = equals < 0 ? body : body.slice(0, equals);
    let value = equals < 0 ? undefined : body.slice(equals + 1);
    const flag = lookUp(name);
    if (flag === undefined) {
      if (name === "h" || name === "help") return { kind: "help" };
      return { kind: "error", message: `flag provided but not defined: -${name}` };
    }
    if (value === undefined && flag.kind.isBoolean !== true) {
      i += 1;
      value = args[i];
      if (value === undefined) return { kind: "error", message: `flag needs an argument: -${name}` };
    }
    if (!isFlagName(name)) continue;
    try {
      draft.set(name, value ?? "true");
    } catch (error) {
      const what = flag.kind.fileType === "boolean" ? "boolean value" : "value";
      const where = flag.kind.fileType === "boolean" ? `-${name}` : `flag -${name}`;
      const reason = (error as Error).message;
      return { kind: "error", message: `invalid ${what} ${JSON.stringify(value)} for ${where}: ${reason}` };
    }
  }
  return { kind: "ok", rest: [] };
}

function lookUp(name: string): AnyFlag | undefined {
  if (isFlagName(name)) return flagTable[name];
  return legacyFlags.includes(name) ? legacyFlag : undefined;
}
