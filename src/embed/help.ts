import { envNameOf } from "./env.ts";
import { featureGates } from "./feature_gates.ts";
import { flagSections } from "./flag_table.ts";

/** Shown with every complaint about the command line. */
export const USAGE = `Usage:

  etcd [flags]
    Start an etcd server.

  etcd --version
    Print the version.

  etcd -h | --help
    Print this and every flag.

  etcd --config-file <path>
    Take the whole configuration from a YAML or JSON file, whose keys are the flags' names. Other flags and
    the environment are then ignored. Durations in the file are whole numbers of nanoseconds.
`;

const EXAMPLES = `
Examples:

  A server for this machine alone, with its data in ./demo.etcd:

    etcd --name demo

  A server for a network, with TLS, a larger quota and the last hour of history:

    etcd --name infra0 --data-dir /var/lib/etcd \\
      --listen-client-urls https://10.0.1.10:2379 --advertise-client-urls https://10.0.1.10:2379 \\
      --cert-file server.crt --key-file server.key --trusted-ca-file ca.crt --client-cert-auth \\
      --quota-backend-bytes 8589934592 --auto-compaction-retention 1h
`;

const TAGS = `
Every flag can be set by an environment variable too: ${
  envNameOf("data-dir")
} is --data-dir. Setting both is an error.
`;

/** Where the default is made of something else. */
const shownDefaults: Readonly<Record<string, string>> = { "data-dir": "${name}.etcd" };

/** Everything `--help` prints. */
export function helpText(): string {
  const sections = flagSections.map(([title, flags]) => {
    const entries = Object.entries(flags).map(
      ([name, { kind, default: value, help, unsupported, noEffect }]) => {
        const remark = unsupported !== undefined
          ? ` Only the default is supported: ${unsupported}.`
          : noEffect !== undefined
          ? ` No effect: ${noEffect}.`
          : "";
        const gates = name === "feature-gates" ? gateLines() : "";
        return `  --${name} '${shownDefaults[name] ?? kind.format(value)}'\n    ${help}${remark}\n${gates}`;
      },
    );
    return `\n${title}:\n\n${entries.join("")}`;
  });
  return USAGE + TAGS + sections.join("") + EXAMPLES;
}

function gateLines(): string {
  return [...featureGates]
    .map(([name, gate]) => `      ${name}=true|false (${gate.stage} - default=${gate.default})\n`)
    .join("");
}
