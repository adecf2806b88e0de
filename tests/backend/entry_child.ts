/**
 * Applies entries of the made-up history from where its database stands, until it is killed or a commit
 * fails. Arguments: directory, number of entries to stop after, and "defrag" to defragment all the time.
 * Prints "open <index>" at the start, "fatal <durable index>" when a commit failed and "end" at the end.
 */
import { applyEntry } from "./entry_script.ts";
import { openLmdb, sleep } from "./lmdb_harness.ts";

const [directory = "", entries = "Infinity", mode = ""] = process.argv.slice(2);
let hasFailed = false;
const backend = openLmdb(directory, {
  batchIntervalMs: 3,
  batchLimit: 500,
  onFatal() {
    hasFailed = true;
    console.log(`fatal ${backend.durableIndex}`);
  },
});
let index = backend.durableIndex;
const last = index + Number(entries);
console.log(`open ${index}`);
if (mode === "defrag") void defragmentForever();
while (index < last) {
  for (let n = 0; n < 20 && index < last; n += 1) applyEntry(backend, index += 1);
  await sleep(1);
  if (hasFailed) {
    // What is written from here on must never reach the disk.
    for (let n = 0; n < 1000; n += 1) applyEntry(backend, index += 1);
    void backend.commit();
    await sleep(200);
    console.log(`durable ${backend.durableIndex}`);
    process.exit(3);
  }
}
await backend.close();
console.log("end");

async function defragmentForever(): Promise<void> {
  while (!hasFailed) {
    await backend.defragment();
    await sleep(1);
  }
}
