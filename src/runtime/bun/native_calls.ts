import type { LinkNative, NativeNumber } from "../../ports/native_calls.ts";

/** What of Bun's `bun:ffi` is used. */
interface BunFfi {
  linkSymbols(symbols: Record<string, BunFunction>): {
    readonly symbols: Record<string, (...numbers: number[]) => number>;
  };
}

interface BunFunction {
  readonly args: readonly string[];
  readonly returns: string;
  readonly ptr: bigint;
}

const typeNames: Readonly<Record<NativeNumber, string>> = {
  double: "f64",
  int32: "i32",
  uint32: "u32",
  uint64: "u64_fast", // A number, as long as it is a safe integer.
};

const ffi = await loadFfi();

/** A call through Node-API leaves 180 bytes of garbage in Bun 1.4, and takes 0.1 us more. */
export const linkNative: LinkNative = ({ address, takes, gives }) => {
  try {
    const native = { args: takes.map((type) => typeNames[type]), returns: typeNames[gives], ptr: address };
    return ffi?.linkSymbols({ native }).symbols["native"];
  } catch {
    return undefined;
  }
};

/** Not every build of Bun has it. */
async function loadFfi(): Promise<BunFfi | undefined> {
  // Named by a variable: compilers and the other runtimes do not know the module.
  const name = "bun:ffi";
  try {
    return await import(name) as BunFfi;
  } catch {
    return undefined;
  }
}
