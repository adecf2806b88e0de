import assert from "node:assert/strict";
import { test } from "node:test";
import { type Command, replay, runScript, scriptsUnder } from "./datadriven.ts";

const script = `# A comment stays.
say hello to=(a, b) loud="very much" n=1 hello
line one
line two
----
old

quiet
----
`;

test("replay parses words, values, lists, quotes and input", () => {
  const seen: Command[] = [];
  replay(script, "s", (command) => (seen.push(command), "x"), false);
  assert.equal(seen.length, 2);
  assert.equal(seen[0]!.name, "say");
  assert.deepEqual(seen[0]!.words, ["hello", "hello"]);
  assert.deepEqual(
    [...seen[0]!.args],
    [["to", ["a", "b"]], ["loud", ["very much"]], ["n", ["1"]], ["hello", []]],
  );
  assert.equal(seen[0]!.input, "line one\nline two");
  assert.equal(seen[1]!.input, "");
});

test("replay rewrites only the output", () => {
  const rewritten = replay(script, "s", (command) => (command.name === "say" ? "new\n" : ""), false);
  assert.equal(rewritten, script.replace("old", "new"));
});

test("replay keeps output with empty lines between doubled separators", () => {
  const once = replay("a\n----\n", "s", () => "one\n\ntwo", false);
  assert.equal(once, "a\n----\n----\none\n\ntwo\n----\n----\n");
  assert.equal(replay(once, "s", () => "one\n\ntwo", true), once);
});

test("replay fails when the output differs, or the script is not one", () => {
  assert.throws(() => replay(script, "s", () => "x", true), /s:2/);
  assert.throws(() => replay("a\n", "s", () => "", true), /no ----/);
  assert.throws(() => replay("# nothing\n", "s", () => "", true), /no command/);
  assert.throws(() => replay("a\n----\n----\nx\n", "s", () => "x", true), /not closed/);
});

test("runScript runs the scripts that scriptsUnder finds", () => {
  const scripts = scriptsUnder("tests/harness/testdata");
  assert.deepEqual(scripts.map((found) => found.name), ["echo"]);
  runScript(scripts[0]!, (command) => command.input || command.words.join(" "));
  runScript("tests/harness/testdata/echo.txt", (command) => command.input || command.words.join(" "));
});
