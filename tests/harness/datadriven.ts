import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** One step of a script: `name word key=value key=(a,b)`, then input lines, `----`, expected output. */
export interface Command {
  readonly name: string;
  /** Every argument by its key: `key=value` and `key=(a,b)` give their values, a bare word gives []. */
  readonly args: ReadonlyMap<string, string[]>;
  /** The bare words after the name, in order; unlike in `args`, repeated ones stay apart. */
  readonly words: readonly string[];
  /** The lines between the command and `----`, joined by "\n", without a final one. */
  readonly input: string;
}

export interface Script {
  /** File name without ".txt", for test names. */
  readonly name: string;
  readonly path: string;
}

const repository = new URL("../../", import.meta.url);
const separator = "----";

/** The `.txt` scripts in a directory given relative to the top of the repository, sorted by name. */
export function scriptsUnder(directory: string): Script[] {
  const base = fileURLToPath(new URL(`${directory.replace(/\/$/, "")}/`, repository));
  const names = readdirSync(base).filter((name) => name.endsWith(".txt")).sort();
  return names.map((name) => ({ name: name.slice(0, -".txt".length), path: base + name }));
}

/**
 * Runs every command of a script through `handler` and compares what it returns with the text after
 * `----`. An exception from the handler fails the test: errors that a script expects are output. With
 * REWRITE=1 in the environment the file is rewritten with the actual output instead; look at the diff.
 * Output with empty lines stands between double separators (`----` twice, before and after).
 */
export function runScript(script: Script | string, handler: (command: Command) => string): void {
  const path = typeof script === "string" ? fileURLToPath(new URL(script, repository)) : script.path;
  const source = readFileSync(path, "utf8");
  const rewrite = process.env["REWRITE"] === "1";
  const actual = replay(source, path, handler, !rewrite);
  if (rewrite && actual !== source) writeFileSync(path, actual);
}

/** The script's text with the actual output in place of the expected one. Exported for its own test. */
export function replay(
  source: string,
  path: string,
  handler: (command: Command) => string,
  compare: boolean,
): string {
  const lines = source.replace(/\n$/, "").split("\n");
  const result: string[] = [];
  let commands = 0;
  let at = 0;
  while (at < lines.length) {
    const line = lines[at]!;
    if (line.trim() === "" || line.startsWith("#")) {
      result.push(line);
      at += 1;
      continue;
    }
    const where = `${path}:${at + 1}`;
    const separatorAt = lines.indexOf(separator, at);
    if (separatorAt < 0) throw new Error(`${where}: no ${separator} after "${line}"`);
    const input = lines.slice(at + 1, separatorAt).join("\n");
    const expected = readExpected(lines, separatorAt + 1, where);
    const output = handler(parseCommand(line, input, where)).replace(/\n+$/, "");
    if (compare) assert.equal(output, expected.text, `${where}: ${line}`);
    result.push(...lines.slice(at, separatorAt), ...withSeparators(output));
    at = expected.end;
    commands += 1;
  }
  if (commands === 0) throw new Error(`${path}: no command`);
  return result.join("\n") + "\n";
}

function readExpected(
  lines: readonly string[],
  start: number,
  where: string,
): { readonly text: string; readonly end: number } {
  if (lines[start] !== separator) {
    let end = start;
    while (end < lines.length && lines[end] !== "") end += 1;
    return { text: lines.slice(start, end).join("\n"), end };
  }
  for (let at = start + 1; at + 1 < lines.length; at += 1) {
    if (lines[at] === separator && lines[at + 1] === separator) {
      return { text: lines.slice(start + 1, at).join("\n"), end: at + 2 };
    }
  }
  throw new Error(`${where}: the doubled ${separator} is not closed`);
}

function withSeparators(output: string): string[] {
  if (output === "") return [separator];
  if (/^\n|\n\n/.test(output)) return [separator, separator, output, separator, separator];
  return [separator, output];
}

/** A bare word, `key=value` or `key=(a, b)`; "double quotes" around a word or value protect spaces. */
const token = /([^\s="(),]+)=\(([^)]*)\)|([^\s="(),]+)=(?:"([^"]*)"|(\S*))|"([^"]*)"|(\S+)/g;

function parseCommand(line: string, input: string, where: string): Command {
  const args = new Map<string, string[]>();
  const words: string[] = [];
  for (const match of line.matchAll(token)) {
    const [whole, listKey, list, key, quotedValue, value, quotedWord] = match;
    if (listKey !== undefined) {
      args.set(
        listKey,
        list!.split(",").map((v) => v.trim()).filter((v) => v !== ""),
      );
    } else if (key !== undefined) args.set(key, [quotedValue ?? value!]);
    else words.push(quotedWord ?? whole);
  }
  const name = words.shift();
  if (name === undefined) throw new Error(`${where}: a command starts with its name`);
  for (const word of words) args.set(word, []);
  return { name, args, words, input };
}
