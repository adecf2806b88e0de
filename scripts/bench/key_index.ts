/**
 * Measures the key index alone: `<runtime> scripts/bench/key_index.ts [keys] [sorted | reversed | random]`
 * (deno: `deno run -A`); the last is the order in which the keys are first put. Keys are 35 bytes long. One
 * index per process, because freeing another would count as a stall.
 *
 * The longest stall is the longest time between two operations, be it for a growing table, a split, the
 * garbage collector, or another process on the machine. The first line measures the last alone; a stall of
 * the index's own comes again in each run.
 */
import { ArenaKeyIndex } from "../../src/mvcc/key_index.ts";

const KEYS_DEFAULT = 1_000_000;
const PREFIX = "/registry/pods/default/pod-";
const DIGITS = 8;
const SLOW_MS = 1;

const keys = Number(globalThis.process.argv[2] ?? KEYS_DEFAULT);
const order = globalThis.process.argv[3] ?? "random";
const spacing = Math.floor(10 ** DIGITS / keys);
const key = new TextEncoder().encode(PREFIX + "0".repeat(DIGITS));
const prefix = new TextEncoder().encode(PREFIX);
const prefixEnd = prefix.slice();
prefixEnd[prefixEnd.length - 1]! += 1;

const shuffled = shuffledNumbers(keys);
const random = (i: number): number => shuffled[i % keys]!;
const orders: Record<string, (i: number) => number> = {
  sorted: (i) => i,
  reversed: (i) => keys - 1 - i,
  random,
};

/** Writes the key's number into the shared key; no garbage, so that stalls are the index's own. */
function setKey(number: number): Uint8Array {
  let rest = number * spacing;
  for (let at = key.length - 1; at >= prefix.length; at -= 1) {
    key[at] = 48 + (rest % 10);
    rest = Math.floor(rest / 10);
  }
  return key;
}

/** All whole numbers below `count` in an order that is the same in each run. */
function shuffledNumbers(count: number): Uint32Array {
  const numbers = Uint32Array.from({ length: count }, (_, i) => i);
  let state = 1;
  for (let i = count - 1; i > 0; i -= 1) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [numbers[i], numbers[j]] = [numbers[j]!, numbers[i]!];
  }
  return numbers;
}

let main = 1;
let checksum = 0;

/** Runs an operation `times` times and prints its rate and stalls; `note` may add to the line. */
function measure(name: string, times: number, operation: (i: number) => void, note = (): string => ""): void {
  let longest = 0;
  let slow = 0;
  const begin = performance.now();
  let last = begin;
  for (let i = 0; i < times; i += 1) {
    operation(i);
    const now = performance.now();
    const took = now - last;
    if (took > longest) longest = took;
    if (took > SLOW_MS) slow += 1;
    last = now;
  }
  const seconds = (last - begin) / 1000;
  const rate = Math.round(times / seconds).toLocaleString("en").padStart(11);
  const each = ((seconds * 1e6) / times).toFixed(2).padStart(10);
  const stall = longest.toFixed(2).padStart(7);
  console.log(`${name.padEnd(36)}${rate}/s ${each} µs  longest ${stall} ms, ${slow} over 1 ms  ${note()}`);
}

const index = new ArenaKeyIndex(new Uint8Array([3, 1, 4, 1, 5, 9, 2, 6]));
const numberOf = orders[order]!;
const empty = index.memoryBytes;
console.log(`${keys.toLocaleString("en")} keys of ${key.length} bytes`);
measure("nothing: the machine's own noise", keys * 5, (i) => checksum += setKey(random(i))[34]!);
measure(
  `put new, ${order}`,
  keys,
  (i) => index.put(setKey(numberOf(i)), ++main, 0),
  () => {
    const each = (index.memoryBytes - empty) / keys;
    return `${each.toFixed(1)} bytes a key, ${(each - key.length).toFixed(1)} without its bytes`;
  },
);
measure("get newest, random", keys, (i) => {
  if (index.seek(setKey(random(i + 12345)), main)) checksum += index.hitSub;
});
const before = index.memoryBytes;
const beforeUpdates = main;
measure(
  "put again, random",
  keys,
  (i) => index.put(setKey(random(i + 777)), ++main, 0),
  () => `${((index.memoryBytes - before) / keys).toFixed(1)} bytes a version`,
);
measure("get at an older revision, random", keys, (i) => {
  if (index.seek(setKey(random(i + 4321)), beforeUpdates)) checksum += index.hitVersion;
});
measure("count prefix, newest", 10_000, () => checksum += index.count(prefix, prefixEnd, main));
measure("count half of it, newest", 10_000, (i) => {
  checksum += index.count(setKey((i % 1000) + keys / 4), prefixEnd, main);
});
measure(
  "visit, limit 500",
  1000,
  (i) => {
    let left = 500;
    index.visit(setKey((i * 31) % (keys - 600)), prefixEnd, main, (slot) => {
      checksum += slot + index.hitVersion;
      left -= 1;
      return left > 0;
    });
  },
);

// Churn: of every ten operations six put, two delete and two put what was deleted, all at random; after as
// many as there are keys a compaction, in slices between which the others go on.
const churnSizes: string[] = [];
let deletes = 0;
for (let round = 0; round < 3; round += 1) {
  const compactMain = main;
  let compacting = true;
  measure(
    `churn with compaction, round ${round + 1}`,
    keys,
    (i) => {
      const at = random(i + round * 1000);
      if (i % 10 < 6) index.put(setKey(at), ++main, 0);
      else if (i % 10 < 8) deletes += index.tombstone(setKey(at), ++main, 0) ? 1 : 0;
      else index.put(setKey(random(i + keys + round * 1000 - 2)), ++main, 0);
      if (compacting && i % 8 === 0) compacting = !index.compactSlice(compactMain, 64, () => {});
    },
    () => `${(index.memoryBytes / 2 ** 20).toFixed(0)} MiB`,
  );
  const atMain = main;
  measure(
    "count prefix, 1000 changes ago",
    100,
    () => checksum += index.count(prefix, prefixEnd, main - 1000),
  );
  let from: Uint8Array = prefix;
  measure("count, 200,000 changes ago, a slice", 100, () => {
    checksum += index.count(from, prefixEnd, main - 200_000, 4096);
    from = index.resumeSlot < 0 ? prefix : index.keyBytes(index.resumeSlot);
  });
  measure(
    "compaction, 256 keys a slice",
    Math.ceil(keys / 256),
    () => {
      index.compactSlice(atMain, 256, () => {});
    },
  );
  while (!index.compactSlice(atMain, 4096, () => {}));
  churnSizes.push((index.memoryBytes / 2 ** 20).toFixed(0));
}
console.log(`size after each round: ${churnSizes.join(", ")} MiB; deletes ${deletes}; checksum ${checksum}`);
