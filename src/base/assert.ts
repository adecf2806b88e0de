/**
 * Stops on a broken invariant: a mistake of ours, never of a client. Bytes from outside are validated
 * and answered with an `EtcdError` instead. Each `%` of the message stands for one of the facts, so that
 * nothing is put together, on hot paths above all, while the invariant holds.
 */
export function assert(condition: boolean, message: string, ...facts: unknown[]): asserts condition {
  if (!condition) throw new AssertionError(message.replaceAll("%", () => String(facts.shift())));
}

/** A broken invariant. Nothing catches it to go on: the process logs it and ends. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** For a `switch` whose cases are all handled: does not compile when one is missing. */
export function unreachable(value: never): never {
  throw new AssertionError(`Unreachable: ${String(value)}`);
}
