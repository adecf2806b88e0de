import assert from "node:assert/strict";
import { test } from "node:test";
import { BootstrapError } from "../../src/server/bootstrap.ts";
import { StoreImage } from "../harness/crash_backend.ts";
import { CrashFiles } from "../harness/crash_files.ts";
import { CrashMember } from "../harness/crash_member.ts";

const WAL = "/data/member/wal/0000000000000000-0000000000000000.wal";
/** Within the first record that has an entry. */
const DAMAGED_AT = 150;

test("bootstrap() lets go of a data directory that it refuses", async () => {
  const disk = { files: new CrashFiles(), image: new StoreImage() };
  await runMember(disk);
  const { files } = disk;
  const bytes = files.read(WAL, Infinity);
  const damaged = bytes.slice();
  damaged[DAMAGED_AT]! ^= 1;
  files.plant(WAL, damaged);
  for (let attempt = 0; attempt < 2; attempt += 1) {
    await assert.rejects(new CrashMember(disk).start(), (error) => {
      assert.ok(error instanceof BootstrapError);
      assert.match(
        error.message,
        /wal: crc mismatch: .* \(file \/data\/member\/wal\/.*, offset \d+\): restore/,
      );
      return true;
    });
  }
  files.plant(WAL, bytes);
  await runMember(disk);
});

test("bootstrap() refuses a data directory in use", async () => {
  const disk = { files: new CrashFiles(), image: new StoreImage() };
  const member = new CrashMember(disk);
  await member.start();
  await assert.rejects(
    new CrashMember(disk).start(),
    /the data directory \/data is in use by another process/,
  );
  await member.put("still", "there");
  await member.server.stop();
  await runMember(disk);
});

test("bootstrap() goes on with a first start that was cut short, with the flags of that start only", async () => {
  const disk = { files: new CrashFiles(), image: new StoreImage() };
  const first = new CrashMember(disk);
  await first.open();
  // Made, and never run: the log has its head and nothing else.
  const copy = { files: disk.files.afterExit(), image: disk.image };
  await assert.rejects(
    new CrashMember(copy).start({ initialClusterToken: "another" }),
    /begun for member 8e9e05c52164694d of cluster cdf818194e3a8c32, and the flags make [0-9a-f]+ of [0-9a-f]+: start/,
  );
  await runMember(copy);
});

async function runMember(disk: ConstructorParameters<typeof CrashMember>[0]): Promise<void> {
  const member = new CrashMember(disk);
  await member.start();
  await member.put("key", "value");
  await member.server.stop();
}
