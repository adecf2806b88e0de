import assert from "node:assert/strict";
import { test } from "node:test";
import { Logger, timestamp } from "../../src/embed/logger.ts";
import type { LogLevel } from "../../src/ports/log.ts";

function logger(
  level: LogLevel,
  format: "json" | "console",
): { log: Logger; lines: string[]; clock: { ms: number } } {
  const lines: string[] = [];
  const clock = { ms: Date.UTC(2026, 0, 2, 3, 4, 5, 678) };
  const log = new Logger({
    level,
    format,
    sinks: [{ write: (line) => void lines.push(line) }],
    clock: { wallMs: () => clock.ms },
  });
  return { log, lines, clock };
}

test("Logger writes JSON as etcd does", () => {
  const { log, lines } = logger("info", "json");
  log.info('message "x"\n', {
    text: "a\u2028b",
    id: 18446744073709551615n,
    number: 1.5,
    none: undefined,
    nothing: null,
    nan: NaN,
    list: ["a", 1n],
    nested: { deep: [true] },
  });
  assert.deepEqual(lines, [
    '{"level":"info","ts":"2026-01-02T03:04:05.678000Z","msg":"message \\"x\\"\\n","text":"a\u2028b",' +
    '"id":18446744073709551615,"number":1.5,"nothing":null,"nan":"NaN","list":["a",1],"nested":{"deep":[true]}}\n',
  ]);
});

test("Logger writes columns for people", () => {
  const { log, lines } = logger("debug", "console");
  log.warn("one\ntwo", { a: [1, "x"], b: { c: 1 } });
  log.debug("plain");
  assert.deepEqual(lines, [
    '2026-01-02T03:04:05.678000Z\twarn\tone\\ntwo\t{"a": [1, "x"], "b": {"c": 1}}\n',
    "2026-01-02T03:04:05.678000Z\tdebug\tplain\n",
  ]);
});

test("Logger leaves out what is below its level", () => {
  const { log, lines } = logger("warn", "json");
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error("d");
  log.fatal("e");
  assert.deepEqual(lines.map((line) => (JSON.parse(line) as { msg: string }).msg), ["c", "d", "e"]);
  assert.deepEqual([log.enabled("info"), log.enabled("warn"), log.enabled("fatal")], [false, true, true]);
});

test("Logger thins out a flood of the same message, second by second", () => {
  const { log, lines, clock } = logger("info", "json");
  for (let i = 0; i < 1000; i += 1) log.info("same");
  log.info("other");
  assert.equal(lines.length, 100 + 9 + 1);
  clock.ms += 1000;
  log.info("same");
  assert.equal(lines.length, 111);
});

test("timestamp has microseconds when the clock does", () => {
  assert.equal(timestamp(0.25), "1970-01-01T00:00:00.000250Z");
});
