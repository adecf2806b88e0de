import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";

/**
 * The layers of `src/`, each with those it may import. Storage sits above the cores: cores declare ports,
 * storage implements them. `embed` and `cli` are where everything meets.
 */
const layers: Readonly<Record<string, readonly string[]>> = {
  base: [],
  gen: ["base"],
  ports: ["base"],
  raft: ["base", "ports"],
  mvcc: ["base", "ports"],
  lease: ["base", "ports"],
  auth: ["base", "ports"],
  membership: ["base", "ports"],
  backend: ["base", "ports", "gen", "mvcc", "lease", "auth", "membership", "raft"],
  wal: ["base", "ports", "gen", "raft"],
  snap: ["base", "ports", "gen", "mvcc", "raft", "backend"],
  server: ["base", "ports", "gen", "mvcc", "lease", "auth", "membership", "raft", "backend", "wal", "snap"],
  http2: ["base", "ports"],
  // The queue of connections to flush, and the timer of their deadlines, are one for both protocols.
  http1: ["base", "ports", "http2"],
  grpc: ["base", "ports", "http2"],
  client: ["base", "ports", "gen", "http2", "grpc"],
  peer: ["base", "ports", "gen", "raft", "membership", "server"],
  services: [
    "base",
    "ports",
    "gen",
    "http2",
    "grpc",
    "client",
    "mvcc",
    "lease",
    "auth",
    "membership",
    "server",
  ],
  gateway: ["base", "ports", "gen", "grpc", "http1", "http2", "mvcc", "membership", "server", "services"],
  runtime: ["base", "ports"],
  embed: ["*"],
  cli: ["*"],
};

/** Packages and the folders or files that may import them. */
const doors: Readonly<Record<string, readonly string[]>> = {
  lmdb: ["src/backend/lmdb_backend.ts"],
  hono: ["src/gateway/", "src/embed/"],
  valibot: ["src/embed/", "src/gateway/"],
  yaml: ["src/embed/"],
  "@connectrpc/connect": ["src/grpc/", "src/services/", "src/client/", "src/gateway/", "src/embed/etcd.ts"],
  "@bufbuild/protobuf": [
    "src/gen/",
    "src/services/",
    "src/server/",
    "src/backend/",
    "src/snap/",
    "src/gateway/",
    "src/grpc/",
    "src/client/",
    "src/cli/",
  ],
};

/** What only `src/runtime` may touch: the rest asks its ports. */
const runtimeGlobals = /(?<![.\w])(?:process|Bun|Deno|Buffer|setTimeout|setInterval|setImmediate)\b\s*[.(]/;
const impure = /\bMath\.random\b|\bDate\.now\b|\bnew Date\(\)|\bconsole\./;

/** Everything in `src/` that breaks a rule of the layout, a line each; empty when all is well. */
export function tidyComplaints(root: string): string[] {
  const complaints: string[] = [];
  for (const path of sourceFiles(join(root, "src"))) {
    const file = relative(root, path);
    const layer = file.split("/")[1]!;
    if (layer === "gen") continue;
    const complain = (what: string): void => void complaints.push(`${file}: ${what}`);
    if (!/^[a-z0-9_]+\.ts$/.test(file.split("/").at(-1)!)) complain("file names are snake_case");
    const code = withoutComments(readFileSync(path, "utf8"));
    if (/^export default\b/m.test(code)) complain("no default exports");
    if (layer !== "runtime") {
      const used = runtimeGlobals.exec(withoutText(code))?.[0];
      // A port that goes by the name of the global hides it.
      const isPort = used?.startsWith("process") && /[({,]\s*process\s*[,:})]/.test(code);
      if (used !== undefined && !isPort) complain(`${used.trim()} belongs in src/runtime: use a port`);
      if (impure.test(withoutText(code))) complain("ask a port for time, randomness and output");
    }
    for (const target of importsOf(code)) checkImport(file, layer, target, complain);
  }
  return complaints;
}

function checkImport(file: string, layer: string, target: string, complain: (what: string) => void): void {
  if (target.startsWith("node:")) {
    if (layer !== "runtime") complain(`${target} belongs in src/runtime`);
    return;
  }
  if (!target.startsWith(".")) {
    const name = Object.keys(doors).find((door) => target === door || target.startsWith(`${door}/`));
    if (name === undefined) complain(`${target} is no dependency of ours`);
    else if (!doors[name]!.some((door) => file.startsWith(door))) {
      complain(`${target} has another door: ${doors[name]}`);
    }
    return;
  }
  if (!target.endsWith(".ts")) complain(`import ${target} with its extension`);
  const imported = normalize(join(dirname(file), target)).split("/")[1]!;
  const allowed = layers[layer];
  if (allowed === undefined) complain(`src/${layer} is no layer: add it to the table`);
  else if (imported !== layer && !allowed.includes("*") && !allowed.includes(imported)) {
    complain(`src/${layer} may not import src/${imported}`);
  }
}

function importsOf(code: string): string[] {
  const imports = code.matchAll(
    /^\s*(?:import|export)\b[^;"']*?from\s*"([^"]+)"|\bimport\("([^"]+)"\)|^import "([^"]+)"/gm,
  );
  return [...imports].map(([, from, called, bare]) => (from ?? called ?? bare)!);
}

function withoutComments(code: string): string {
  return code.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$|\s\/\/ .*$/gm, "");
}

function withoutText(code: string): string {
  return code.replace(/`(?:\\.|[^`\\])*`|"(?:\\.|[^"\\\n])*"/g, '""');
}

function sourceFiles(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => join(directory, name))
    .sort();
}
