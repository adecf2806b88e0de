/** C's double, int32_t and uint32_t, and a uint64_t below 2^53. */
export type NativeNumber = "double" | "int32" | "uint32" | "uint64";

/** A C function in a library that is loaded: numbers in, a number out. */
export interface NativeFunction {
  readonly address: bigint;
  readonly takes: readonly NativeNumber[];
  readonly gives: NativeNumber;
}

/** Makes a C function callable past Node-API; undefined where the runtime has no way to, or it is not worth it. */
export type LinkNative = (native: NativeFunction) => ((...numbers: number[]) => number) | undefined;
