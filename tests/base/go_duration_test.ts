import assert from "node:assert/strict";
import { test } from "node:test";
import { formatGoDuration, parseGoDuration } from "../../src/base/go_duration.ts";

/** Text, milliseconds, and how Go prints them. */
const durations: readonly (readonly [string, number, string])[] = [
  ["0", 0, "0s"],
  ["-0", 0, "0s"],
  ["0s", 0, "0s"],
  ["5s", 5_000, "5s"],
  ["+5s", 5_000, "5s"],
  ["-5s", -5_000, "-5s"],
  ["1m", 60_000, "1m0s"],
  ["2h", 7_200_000, "2h0m0s"],
  ["1h2m3.5s", 3_723_500, "1h2m3.5s"],
  ["1.5h", 5_400_000, "1h30m0s"],
  ["100ms", 100, "100ms"],
  ["1.25ms", 1.25, "1.25ms"],
  ["1us", 0.001, "1µs"],
  ["1µs", 0.001, "1µs"],
  ["1500ns", 0.0015, "1.5µs"],
  ["7ns", 0.000007, "7ns"],
  [".5s", 500, "500ms"],
  ["1.s", 1_000, "1s"],
  ["61s", 61_000, "1m1s"],
  ["36h", 129_600_000, "36h0m0s"],
];

test("parseGoDuration and formatGoDuration agree with Go", () => {
  for (const [text, ms, printed] of durations) {
    assert.equal(parseGoDuration(text) + 0, ms, text);
    assert.equal(formatGoDuration(ms), printed, text);
    assert.equal(parseGoDuration(printed), ms, printed);
  }
});

test("parseGoDuration refuses what Go refuses, in its words", () => {
  const refused: readonly (readonly [string, string])[] = [
    ["", `time: invalid duration ""`],
    ["-", `time: invalid duration "-"`],
    ["foo", `time: invalid duration "foo"`],
    [".", `time: invalid duration "."`],
    [".s", `time: invalid duration ".s"`],
    ["5", `time: missing unit in duration "5"`],
    ["-1", `time: missing unit in duration "-1"`],
    ["1h5", `time: missing unit in duration "1h5"`],
    ["5x", `time: unknown unit "x" in duration "5x"`],
    ["5 s", `time: unknown unit " s" in duration "5 s"`],
    ["1d", `time: unknown unit "d" in duration "1d"`],
    ["2562048h", `time: invalid duration "2562048h"`],
  ];
  for (const [text, message] of refused) {
    assert.throws(() => parseGoDuration(text), { name: "SyntaxError", message }, text);
  }
});
