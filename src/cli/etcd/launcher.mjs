#!/usr/bin/env node
/*
 * What npm links as `etcd`. Node runs this package's TypeScript as it is, but not within a node_modules folder;
 * there the types are taken out here, as each module is loaded. Bun and Deno run mod.ts themselves.
 */
import { readFileSync } from "node:fs";
import * as nodeModule from "node:module";
import process from "node:process";

const NODE_MAJOR_MIN = 24;

if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) {
  console.error(
    `etcd needs Node ${NODE_MAJOR_MIN} or later, Bun or Deno: this is Node ${process.versions.node}`,
  );
  process.exit(1);
}
if (!process.versions.bun && import.meta.url.includes("/node_modules/")) {
  nodeModule.registerHooks({
    load(url, context, next) {
      if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
      const source = nodeModule.stripTypeScriptTypes(readFileSync(new URL(url), "utf8"));
      return { format: "module", source, shortCircuit: true };
    },
  });
}
const { runEtcd } = await import("./main.ts");
const { loadRuntime } = await import("../../runtime/detect.ts");
await runEtcd(await loadRuntime());
