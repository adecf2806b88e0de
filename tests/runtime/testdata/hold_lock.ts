// Takes the lock at the given path, says whether it got it, and waits to be killed.
import process from "node:process";
import { FileError } from "../../../src/ports/files.ts";
import { loadRuntime } from "../../../src/runtime/detect.ts";

const runtime = await loadRuntime();
try {
  runtime.files.lock(process.argv[2]!);
  runtime.process.writeOut("locked\n");
} catch (error) {
  if (!(error instanceof FileError && error.kind === "locked")) throw error;
  runtime.process.writeOut("refused\n");
}
setTimeout(() => runtime.process.exit(3), 120_000);
