import { parse, YAMLError } from "yaml";
import * as v from "valibot";
import { textOf } from "../base/bytes.ts";
import { FileError, type Files } from "../ports/files.ts";
import { ConfigError } from "./config_error.ts";
import { fileErrorText } from "./file_error_text.ts";
import { type FlagName, flagTable, isFlagName } from "./flag_table.ts";
import type { SettingsDraft } from "./flags.ts";

const FILE_BYTES_MAX = 1024 * 1024;
const NS_PER_MS = 1e6;

type Section = Readonly<Record<string, FlagName | Readonly<Record<string, FlagName>>>>;

/** Flags that a file has in a section of its own, under these names. */
const sections: Readonly<Record<string, Section>> = {
  "client-transport-security": {
    "cert-file": "cert-file",
    "key-file": "key-file",
    "client-cert-file": "client-cert-file",
    "client-key-file": "client-key-file",
    "client-cert-auth": "client-cert-auth",
    "trusted-ca-file": "trusted-ca-file",
    "auto-tls": "auto-tls",
    "allowed-hostname": "client-cert-allowed-hostname",
  },
  "peer-transport-security": {
    "cert-file": "peer-cert-file",
    "key-file": "peer-key-file",
    "client-cert-file": "peer-client-cert-file",
    "client-key-file": "peer-client-key-file",
    "client-cert-auth": "peer-client-cert-auth",
    "trusted-ca-file": "peer-trusted-ca-file",
    "auto-tls": "peer-auto-tls",
    "allowed-cn": "peer-cert-allowed-cn",
    "allowed-hostname": "peer-cert-allowed-hostname",
    "skip-client-san-verification": "peer-skip-client-san-verification",
  },
  "discovery-config": {
    "token": "discovery-token",
    "endpoints": "discovery-endpoints",
    "dial-timeout": "discovery-dial-timeout",
    "request-timeout": "discovery-request-timeout",
    "keepalive-time": "discovery-keepalive-time",
    "keepalive-timeout": "discovery-keepalive-timeout",
    "secure": {
      "cert": "discovery-cert",
      "key": "discovery-key",
      "cacert": "discovery-cacert",
      "insecure-transport": "discovery-insecure-transport",
      "insecure-skip-tls-verify": "discovery-insecure-skip-tls-verify",
    },
    "auth": { "username": "discovery-user", "password": "discovery-password" },
  },
  "socket-options": { "reuse-port": "socket-reuse-port", "reuse-address": "socket-reuse-address" },
};

/** Flags that a file cannot set under their own names; etcd passes over such keys. */
const NOT_IN_FILES: ReadonlySet<string> = new Set<FlagName>([
  "version",
  "config-file",
  "client-crl-file",
  "peer-crl-file",
  "discovery-fallback",
  "raft-read-timeout",
  "raft-write-timeout",
  ...Object.values(sections).flatMap(flagsOf),
]);

/** A file's value, and the text that the flag of that value would have. */
const valueText = {
  string: v.string(),
  boolean: v.pipe(v.boolean(), v.transform(String)),
  integer: v.pipe(v.number(), v.integer(), v.transform(integerText)),
  nanoseconds: v.pipe(v.number(), v.integer(), v.transform((ns) => `${ns / NS_PER_MS}ms`)),
  list: v.pipe(v.array(v.string()), v.transform((items) => items.join(","))),
} as const satisfies Record<string, v.GenericSchema<unknown, string>>;

const expectation = {
  string: "a string",
  boolean: "true or false",
  integer: "a whole number",
  nanoseconds: "a whole number of nanoseconds",
  list: "a list of strings",
} as const;

/**
 * Sets from a configuration file, YAML or JSON, whose keys are the names of the flags; keys it does not
 * know are passed over, as etcd does, and reported. Throws `ConfigError`.
 */
export function applyConfigFile(
  path: string,
  files: Files,
  draft: SettingsDraft,
): { readonly unknownKeys: readonly string[] } {
  const root = readDocument(path, files);
  const unknownKeys: string[] = [];
  for (const [key, value] of Object.entries(root)) {
    const section = Object.hasOwn(sections, key) ? sections[key] : undefined;
    if (section !== undefined) applySection(path, key, section, value, draft);
    else if (isFlagName(key) && !NOT_IN_FILES.has(key)) applyValue(path, key, key, value, draft);
    else unknownKeys.push(key);
  }
  return { unknownKeys };
}

function readDocument(path: string, files: Files): Record<string, unknown> {
  let document: unknown;
  try {
    document = parse(textOf(files.read(path, FILE_BYTES_MAX)));
  } catch (error) {
    if (error instanceof FileError) {
      const reason = error.kind === "not found" ? "no such file or directory" : fileErrorText(error);
      throw new ConfigError(`${reason === "is a directory" ? "read" : "open"} ${path}: ${reason}`);
    }
    if (!(error instanceof YAMLError || error instanceof ReferenceError)) throw error;
    throw new ConfigError(`${path}: error converting YAML to JSON: yaml: ${firstLine(error.message)}`);
  }
  if (document === null || document === undefined) return {};
  if (!isObject(document)) throw new ConfigError(`${path}: the configuration must be a mapping of flags`);
  return document;
}

function applySection(
  path: string,
  key: string,
  section: Section,
  value: unknown,
  draft: SettingsDraft,
): void {
  if (value === null) return;
  if (!isObject(value)) throw new ConfigError(`${path}: invalid ${key}: it must be a mapping`);
  for (const [name, flag] of Object.entries(section)) {
    if (!Object.hasOwn(value, name)) continue;
    if (typeof flag === "string") applyValue(path, `${key}.${name}`, flag, value[name], draft);
    else applySection(path, `${key}.${name}`, flag, value[name], draft);
  }
}

function applyValue(path: string, key: string, flag: FlagName, value: unknown, draft: SettingsDraft): void {
  // A key without a value is a flag that was not set; so is "", where the value is read from text.
  if (value === null || value === undefined) return;
  const { kind } = flagTable[flag];
  const fileType = flag === "discovery-endpoints" ? "list" : kind.fileType;
  const given = fileType === "boolean" ? asBoolean(value) : value;
  const result = v.safeParse(valueText[fileType], given);
  if (!result.success) {
    throw new ConfigError(`${path}: ${key} must be ${expectation[fileType]}, not ${JSON.stringify(value)}`);
  }
  if (result.output === "" && fileType === "list") return;
  if (result.output === "" && READ_FROM_TEXT.has(flag)) return;
  try {
    draft.set(flag, result.output);
  } catch (error) {
    const reason = (error as Error).message;
    if (flag === "initial-cluster-state") {
      throw new ConfigError(`unexpected clusterState ${JSON.stringify(value)}`);
    }
    if (flag === "feature-gates") throw new ConfigError(reason);
    if (kind.fileType === "string") throw new ConfigError(`unexpected error setting up ${key}: ${reason}`);
    throw new ConfigError(`${path}: invalid value ${JSON.stringify(value)} for ${key}: ${reason}`);
  }
}

/** Strings that etcd reads on: empty ones leave the default. */
const READ_FROM_TEXT: ReadonlySet<FlagName> = new Set<FlagName>([
  "listen-peer-urls",
  "listen-client-urls",
  "listen-client-http-urls",
  "listen-metrics-urls",
  "initial-advertise-peer-urls",
  "advertise-client-urls",
  "initial-cluster-state",
  "cors",
  "host-whitelist",
  "feature-gates",
  "v2-deprecation",
]);

/** YAML 1.1, which etcd's reader follows here, has more words for booleans than the YAML 1.2 read above. */
function asBoolean(value: unknown): unknown {
  if (typeof value !== "string") return value;
  if (/^(?:y|yes|on)$/i.test(value)) return true;
  return /^(?:n|no|off)$/i.test(value) ? false : value;
}

/** The digits of a whole number; those past 2^53 are not exact, and need not be. */
function integerText(value: number): string {
  return BigInt(value).toString();
}

function flagsOf(section: Section): FlagName[] {
  return Object.values(section).flatMap((each) => typeof each === "string" ? [each] : flagsOf(each));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function firstLine(message: string): string {
  return message.split("\n")[0]!.replace(/:$/, "");
}
