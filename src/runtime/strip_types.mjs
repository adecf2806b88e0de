/*
 * Node runs TypeScript as it is, but not within a node_modules folder: there the types are taken out here, as each
 * module is loaded. Bun needs nothing. Deno is like Node, but with a hook it no longer loads LMDB's own module.
 */
import { readFileSync } from "node:fs";
import * as nodeModule from "node:module";
import process from "node:process";

/** Lets the modules of a package that npm installed be loaded; to be called before the first of them is. */
export function loadInstalledTypeScript() {
  if (process.versions.bun || !import.meta.url.includes("/node_modules/")) return;
  if (process.versions.deno) {
    throw new Error("Deno runs etcd from a clone (deno run -A mod.ts), not from node_modules");
  }
  nodeModule.registerHooks({
    load(url, context, next) {
      if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
      const source = nodeModule.stripTypeScriptTypes(readFileSync(new URL(url), "utf8"));
      return { format: "module", source, shortCircuit: true };
    },
  });
}
