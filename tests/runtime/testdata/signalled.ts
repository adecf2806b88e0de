// "raise": says when it is ready, handles SIGTERM once and lets it end the process. "exit": writes much and exits.
import process from "node:process";
import { loadRuntime } from "../../../src/runtime/detect.ts";

const runtime = await loadRuntime();
if (process.argv[2] === "raise") {
  runtime.process.onSignal("SIGTERM", () => {
    runtime.process.writeOut("handled\n");
    runtime.process.raise("SIGTERM");
  });
  runtime.process.writeOut("ready\n");
  setTimeout(() => runtime.process.exit(3), 60_000);
} else {
  runtime.process.writeErr("ü€\n");
  runtime.process.writeOut("x".repeat(1_000_000) + "\n");
  runtime.process.exit(7);
}
