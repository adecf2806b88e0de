#!/usr/bin/env node
/* What npm links as `etcd`. */
import process from "node:process";
import { loadInstalledTypeScript } from "../../runtime/strip_types.mjs";

const NODE_MAJOR_MIN = 24;

if (Number(process.versions.node.split(".")[0]) < NODE_MAJOR_MIN) {
  console.error(
    `etcd needs Node ${NODE_MAJOR_MIN} or later, Bun or Deno: this is Node ${process.versions.node}`,
  );
  process.exit(1);
}
loadInstalledTypeScript();
const { runEtcd } = await import("./main.ts");
const { loadRuntime } = await import("../../runtime/detect.ts");
await runEtcd(await loadRuntime());
