/**
 * Stops on a broken invariant: a mistake of ours, never of a client. Bytes from outside are validated
 * and answered with an `EtcdError` instead.
 */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** A broken invariant. Nothing catches it to go on: the process logs it and ends. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** For a `switch` whose cases are all handled: does not compile when one is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`Unreachable: ${String(value)}`);
}
